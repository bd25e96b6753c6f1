"""Answers from an exported folder, held against torch; packs that come and go."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_exports import TEXTS, MakeToy, ramped, toy
from toy_packs import loaded, toy_pack, toy_task

from bertwright.deploy.export import Form
from bertwright.deploy.probe import fitted
from bertwright.deploy.proof import Probe, expected
from bertwright.deploy.rows import Answer, Row
from bertwright.deploy.runtime import Runtime
from bertwright.errors import DataError, Diverged, InputError
from bertwright.pack import write

NAMES = ["abc"[row % 3] for row in range(len(TEXTS))]
MIXED = [Row((text,), name) for text, name in zip(TEXTS, NAMES, strict=True)]


def apart(found: list[Answer], wanted: list[np.ndarray]) -> float:
    """Return the largest difference of logits."""
    return max(float(np.abs(np.array(a.logits) - b).max()) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("family", ["bert", "bert-preln", "modern", "roberta", "distilbert"])
def test_mixed_rows_are_answered_as_torch_does(make_toy: MakeToy, family: str, pooling: str) -> None:
    """Rows of packs of 2, 3 and 4 labels in one batch have torch's fp32 logits, in every family."""
    own = make_toy(family, pooling=pooling)
    assert 1e-5 > apart(own.runtime().predict_rows(MIXED), own.torch_logits(NAMES, TEXTS))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_large_batches_are_handed_on_without_a_copy(
    make_toy: MakeToy, monkeypatch: pytest.MonkeyPatch, pooling: str
) -> None:
    """Above some numbers of states they stay with ONNX Runtime between segments; answers and exits are the same."""
    own = make_toy("bert", pooling=pooling)
    rows = [*MIXED, *(Row((text,), "leaving") for text in TEXTS)]
    found = []
    for few in (1 << 16, 0):
        monkeypatch.setattr("bertwright.deploy.sessions._FEW", few)
        here = own.runtime()
        here.add(ramped(own, "c", "entropy:0.9"), "leaving")
        found.append(here.predict_rows(rows))
    assert found[0] == found[1]
    assert {1, 3} <= {one.layer for one in found[0]}


def test_segments_of_two_layers_answer_the_same(make_toy: MakeToy) -> None:
    """How many layers a segment has does not show in the answers."""
    own = make_toy("bert", form=Form("fp32", segment=2))
    assert [(0, 1), (2,)] == [segment.layers for segment in own.runtime().manifest.segments]
    assert 1e-5 > apart(own.runtime().predict_rows(MIXED), own.torch_logits(NAMES, TEXTS))


@pytest.mark.parametrize("family", ["bert", "modern"])
def test_int8_answers_nearly_the_same(make_toy: MakeToy, family: str) -> None:
    """int8 is near fp32 and is not fp32."""
    own = make_toy(family, form=Form("int8"))
    difference = apart(own.runtime().predict_rows(MIXED), own.torch_logits(NAMES, TEXTS))
    assert 1e-4 < difference < 0.02


def test_a_row_is_answered_alike_in_any_company(make_toy: MakeToy) -> None:
    """In int8 too, a row's logits are those it has alone: steps are of its own tokens, not of the batch."""
    here = make_toy("bert", form=Form("int8")).runtime()
    alone = [np.array(here.predict_rows([row])[0].logits) for row in MIXED]
    assert 2e-6 > apart(here.predict_rows(MIXED), alone)


def test_answers_say_label_and_probabilities(make_toy: MakeToy) -> None:
    """A label is the largest logit's, probabilities are their softmax, the layer the last."""
    (answer,) = make_toy().runtime().predict([TEXTS[3]], "b")
    powers = np.exp(answer.logits)
    assert f"label {int(np.argmax(answer.logits))}" == answer.label
    assert answer.probabilities is not None
    np.testing.assert_allclose(list(answer.probabilities.values()), powers / powers.sum(), rtol=1e-5)
    assert (3, False, "b") == (answer.layer, answer.truncated, answer.pack)


def test_several_labels_and_numbers(make_toy: MakeToy) -> None:
    """Several labels are those above one half; a regression has a number and no probabilities."""
    own = make_toy()
    here = own.runtime()
    here.add(replace(own.packs["c"], task=replace(own.packs["c"].task, kind="multi-label")), "several")
    common = {"tokenizer": own.tokenizer.identity(), "task": toy_task("one", 1, kind="regression")}
    here.add(toy_pack(own.loaded, classes=1, **common), "number")
    (several,), (number,) = here.predict(TEXTS[:1], "several"), here.predict(TEXTS[:1], "number")
    assert tuple(f"label {n}" for n, logit in enumerate(several.logits) if logit > 0) == several.label
    assert several.probabilities is not None
    assert 1 / (1 + np.exp(-several.logits[2])) == pytest.approx(several.probabilities["label 2"])
    assert number.logits[0] == pytest.approx(number.label)
    assert number.probabilities is None


@pytest.mark.parametrize(
    ("policy", "form", "scored"),
    [
        ("entropy:0.9", "pooler", False),
        ("patience:1", "linear", False),
        ("learned:0.5", "pooler", True),
    ],
)
@pytest.mark.parametrize(
    ("family", "pooling", "seen"),
    [("bert", "cls", "head"), ("bert", "cls", "mean"), ("bert-preln", "cls", "mean"), ("modern", "mean", "head")],
)
def test_rows_leave_where_torch_lets_them(
    make_toy: MakeToy, family: str, pooling: str, seen: str, policy: str, form: str, scored: bool
) -> None:
    """Logits and layers are torch's, beside rows of other packs that never leave; both ways are taken."""
    own = make_toy(family, pooling=pooling)
    here, probe = own.runtime(), Probe("leaving", "texts", tuple((text,) for text in TEXTS))
    pack = ramped(own, "c", policy, form=form, pooling=seen, scored=scored)
    want = expected(own.loaded, pack, own.tokenizer, probe)
    here.add(pack, "leaving")
    found = here.predict_rows([row for text in TEXTS for row in (Row((text,), "leaving"), Row((text,), "c"))])
    assert 1 < len(set(want.layers.tolist()))
    assert want.layers.tolist() == [one.layer for one in found[::2]]
    assert 1e-3 > apart(found[::2], list(want.logits))  # ramps make small differences large
    assert {3} == {one.layer for one in found[1::2]}
    assert 1e-5 > apart(found[1::2], own.torch_logits(["c"] * len(TEXTS), TEXTS))


def test_a_policy_can_be_given_with_the_rows(make_toy: MakeToy) -> None:
    """`exit` stands before the pack's own policy, and needs ramps that fit."""
    own = make_toy()
    here = own.runtime()
    here.add(ramped(own, "a", "never"), "leaving")
    assert {3} == {one.layer for one in here.predict(TEXTS, "leaving")}
    assert {1} == {one.layer for one in here.predict(TEXTS, "leaving", exit="entropy:9")}
    with pytest.raises(InputError, match="pack b has no ramps"):
        here.predict(TEXTS, "b", exit="entropy:0.2")
    with pytest.raises(InputError, match="learned needs ramps with a learned score"):
        here.predict(TEXTS, "leaving", exit="learned:0.5")


def test_a_flight_gives_rows_when_they_leave(make_toy: MakeToy) -> None:
    """Step by step: who leaves is given once, and what is left becomes fewer and narrower."""
    own = make_toy()
    here = own.runtime()
    here.add(ramped(own, "a", "entropy:9"), "leaving")
    short, long = Row((TEXTS[0],), "b"), Row((TEXTS[8],), "leaving")
    flight = here.begin([here.encode(short), here.encode(long)])
    before = flight.tokens_left
    assert [1] == [number for number, _ in flight.step()]
    assert (1, 1) == (flight.layer, flight.rows_left)
    assert here.encode(short).tokens == flight.tokens_left < before / 2
    assert [] == flight.step() == flight.finished
    assert [0] == [number for number, _ in flight.step()]
    assert 0 == flight.rows_left
    assert [] == flight.step()


@pytest.mark.parametrize(
    ("family", "pooling", "precision"),
    [("bert", "cls", "int8"), ("modern", "mean", "fp32"), ("distilbert", "cls", "fp32")],
)
def test_rows_that_stay_go_through_all_layers_at_once(
    make_toy: MakeToy, family: str, pooling: str, precision: str
) -> None:
    """One step answers rows of several packs without ramps that are looked at, as segment by segment."""
    own = make_toy(family, pooling=pooling, form=Form(precision))
    here = Runtime(own.folder, threads=2)
    rows = [here.encode(Row((text,), name)) for text in TEXTS[:4] for name in ("a", "b")]
    flight = here.begin(rows)
    found = dict(flight.step())
    assert (3, 0, len(rows)) == (flight.layer, flight.rows_left, len(found))
    many = here.begin(rows * 3)
    assert [] == many.step() and 1 == many.layer
    for place, answer in enumerate(many.run()):
        np.testing.assert_allclose(answer.logits, found[place % len(rows)].logits, atol=1e-5)


def test_no_rows_no_answers(make_toy: MakeToy) -> None:
    """Nothing asked, nothing answered."""
    assert [] == make_toy().runtime().predict_rows([])


def test_small_batches_answer_the_same(make_toy: MakeToy) -> None:
    """Rows come back in their order, however few tokens a batch may have."""
    own = make_toy()
    one = Runtime(own.folder, threads=1, tokens=8)
    assert 1e-5 > apart(one.predict_rows(MIXED), own.torch_logits(NAMES, TEXTS))


def test_long_texts_are_cut_or_become_windows(make_toy: MakeToy, tmp_path: Path) -> None:
    """A long text is cut and says so; with windows its logits are their mean; an empty one is answered."""
    own = make_toy()
    here = own.runtime()
    long = " ".join(TEXTS)
    windowed = replace(own.packs["a"], task=replace(own.packs["a"].task, window_stride=5))
    here.add(windowed, "windows")
    empty, cut = here.predict(["", long], "a")
    assert (False, True) == (empty.truncated, cut.truncated)
    assert 1e-5 > apart([empty, cut], own.torch_logits(["a", "a"], ["", long]))
    (found,) = here.predict([long], "windows")
    want = expected(own.loaded, windowed, own.tokenizer, Probe("windows", "texts", ((long,),)))
    assert not found.truncated
    assert 1 < len(here.encode(Row((long,), "windows")).ids)
    assert 1e-5 > apart([found], list(want.logits))


def test_pairs_are_laid_out_as_in_training(make_toy: MakeToy) -> None:
    """A pack of two texts has segments 0 and 1, and wants two texts."""
    own = make_toy()
    pair = replace(own.packs["a"], task=replace(own.packs["a"].task, text=("left", "right {side}")))
    here = own.runtime()
    here.add(pair, "pair")
    assert ("left", "side") == here.packs["pair"].columns
    (found,) = here.predict([(TEXTS[1], TEXTS[4])], "pair")
    want = expected(own.loaded, pair, own.tokenizer, Probe("pair", "texts", ((TEXTS[1], TEXTS[4]),)))
    assert 1e-5 > apart([found], list(want.logits))
    with pytest.raises(InputError, match=r"pack pair reads 2 texts \(left, side\), and the row has 1"):
        here.predict([TEXTS[1]], "pair")


def test_packs_come_and_go(make_toy: MakeToy, tmp_path: Path) -> None:
    """A pack is added by its file's name, replaced by one of the same name, and removed; others stay as they were."""
    own = make_toy()
    here, path = own.runtime(), tmp_path / "new.pack"
    write(path, own.packs["a"])
    before = here.predict_rows(MIXED)
    assert "new" == here.add(path)
    assert ["a", "b", "c", "new"] == list(here.packs)
    assert here.packs["a"].hash == here.packs["new"].hash
    write(path, own.packs["c"])
    here.add(path)
    assert 4 == len(here.packs["new"].labels)
    assert [one.logits for one in here.predict(TEXTS, "c")] == [one.logits for one in here.predict(TEXTS, "new")]
    here.remove("new")
    assert ["a", "b", "c"] == list(here.packs)
    assert before == here.predict_rows(MIXED)
    for ask in (lambda: here.predict(TEXTS, "new"), lambda: here.remove("new")):
        with pytest.raises(InputError, match="no pack called 'new' is here; there are a, b, c"):
            ask()


def test_a_flight_keeps_the_packs_it_began_with(make_toy: MakeToy) -> None:
    """What is replaced and removed in the middle of a batch does not touch it."""
    own = make_toy()
    here = own.runtime()
    rows = [here.encode(row) for row in MIXED]
    flight = here.begin(rows)
    flight.step()
    here.add(own.packs["b"], "a")
    here.remove("c")
    assert 1e-5 > apart(flight.run(), own.torch_logits(NAMES, TEXTS))


def test_packs_are_exchanged_while_threads_ask(make_toy: MakeToy) -> None:
    """Every answer is wholly one pack's or wholly the other's."""
    own = make_toy()
    here = own.runtime()
    allowed = [{one.logits for one in here.predict([text], name)} for text in TEXTS[:1] for name in ("a", "b")]
    found: list[set[tuple[float, ...]]] = []

    def work() -> None:
        found.append({here.predict(TEXTS[:1], "changing")[0].logits for _ in range(40)})

    here.add(own.packs["a"], "changing")
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(30):
        here.add(own.packs["ab"[number % 2]], "changing")
    for thread in threads:
        thread.join()
    assert set.union(*found) <= set.union(*allowed)
    assert 2 == len(found)


def test_what_cannot_be_answered_is_refused(make_toy: MakeToy) -> None:
    """A text for a list, a number for a text, half a character: each says what was found."""
    here = make_toy().runtime()
    with pytest.raises(InputError, match="found one text where a list of texts was expected"):
        here.predict("a text", "a")
    with pytest.raises(InputError, match="pack a, note: found a int, expected a text"):
        here.predict_rows([Row((3,), "a")])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="pack a, note: half of a character"):
        here.predict(["so \ud83d"], "a")


def test_packs_of_other_encoders_are_refused(make_toy: MakeToy) -> None:
    """Another encoder or tokenizer, a ramp inside a segment, a policy without ramps: the packs that were stay."""
    own = make_toy()
    here = own.runtime()
    other = toy_pack(loaded("bert", seed=5), tokenizer=own.tokenizer.identity())
    with pytest.raises(DataError, match="of the same shape, with other weights"):
        here.add(other, "a")
    with pytest.raises(DataError, match="was made with tokenizer"):
        here.add(toy_pack(own.loaded), "a")
    with pytest.raises(DataError, match=r"policy is entropy:0\.2, and it has no ramps"):
        here.add(replace(own.packs["a"], policy={"policy": "entropy:0.2"}), "a")
    with pytest.raises(DataError, match=r"policy is 3; expected a text"):
        here.add(replace(own.packs["a"], policy={"policy": 3}), "a")
    pack = ramped(own, "a", "never")
    coarse = make_toy("bert", form=Form("fp32", segment=2)).runtime()
    with pytest.raises(DataError, match="a ramp after layer 1, and rows can leave this export after layers 2, 3"):
        coarse.add(pack, "a")
    with pytest.raises(DataError, match=r"ramp tensor 1/output.weight has the shape \(2, 15\); expected \(2, 16\)"):
        here.add(replace(pack, ramps={**pack.ramps, "1/output.weight": np.zeros((2, 15))}), "a")
    assert ["a", "b", "c"] == list(here.packs)


def test_numbers_that_are_none_are_told(make_toy: MakeToy) -> None:
    """A logit that is not finite is an error that names the pack, and no answer; others of its batch have theirs."""
    own = make_toy()
    here = own.runtime()
    entry = here._entries["a"]
    here._entries["a"] = replace(entry, head=replace(entry.head, output=(entry.head.output[0], np.full(2, np.nan))))
    with pytest.raises(Diverged, match="pack a answers with"):
        here.predict(TEXTS[:1], "a")
    flight, mixed = here.begin([here.encode(Row((TEXTS[0],), name)) for name in ("b", "a", "c")]), {}
    while flight.rows_left:
        mixed.update(flight.step())
    assert isinstance(mixed[1], Diverged)
    assert [here.predict(TEXTS[:1], name)[0].label for name in "bc"] == [mixed[0].label, mixed[2].label]


def test_wrong_threads_are_refused(make_toy: MakeToy) -> None:
    """Threads and tokens are whole numbers from 1 on."""
    with pytest.raises(InputError, match="-1 threads"):
        Runtime(make_toy().folder, threads=-1)


def test_a_processor_that_overflows_wants_seven_bits(
    make_toy: MakeToy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 bits are refused where sums of products overflow, 7 are taken."""
    monkeypatch.setattr("bertwright.deploy.runtime.overflows", lambda: True)
    with pytest.raises(InputError, match="export the encoder again with --bits 7"):
        make_toy("bert", form=Form("int8")).runtime()
    assert ["a", "b", "c"] == list(toy(tmp_path / "seven", form=Form("int8", bits=7)).runtime().packs)


def test_a_probe_fits_threads_and_batches_to_the_machine(make_toy: MakeToy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fewest threads and the smallest batches that cost at most 5 %: here two threads halve the time, 512 fill."""

    def took(runtime: Runtime, rows: int, length: int) -> float:
        return {1: 2.0, 2: 1.0, 3: 0.97}[runtime.threads] * (1 if rows == 1 else rows if rows * length >= 512 else 20)

    monkeypatch.setattr("bertwright.deploy.probe.processors", lambda: 3)
    monkeypatch.setattr("bertwright.deploy.probe._milliseconds", took)
    here, found = fitted(make_toy().folder)
    assert {1: 2.0, 2: 1.0, 3: 0.97} == found.row_ms
    assert (2, 512, 512, 2) == (found.threads, found.tokens, here.tokens, here.threads)


def test_drawn_rows_run_through_all_layers(make_toy: MakeToy) -> None:
    """What the probe times is a whole pass that ends."""
    here = make_toy().runtime()
    assert [3, 3] == [one.layer for one in here.begin(here.drawn(2, 7)).run()]
