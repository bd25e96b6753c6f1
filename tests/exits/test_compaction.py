"""Inference that stops: every family, any batch, rows alone or together, and packing that pays or does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from toy_encoders import config, rows, shaken

from bertwright.encoder.config import FAMILIES
from bertwright.encoder.models import Classifier, build_classifier
from bertwright.errors import InputError
from bertwright.exits.answers import EveryExit
from bertwright.exits.compaction import ExitingClassifier, answer_everywhere, answer_exiting
from bertwright.exits.costs import Costs, measure
from bertwright.exits.measures import confidence, entropy
from bertwright.exits.policies import Policy, State, parse
from bertwright.exits.ramps import Ramps, build_ramps
from bertwright.tasks.batches import Encoded

POLICIES = ("entropy", "confidence", "patience", "learned", "one threshold a ramp")


def toys(family: str, classes: int = 3, pooling: str = "head", **changes: Any) -> tuple[Classifier, Ramps]:
    """Return a toy classifier with ramps after each inner layer, all weights moved from their start."""
    model = shaken(build_classifier(config(family, **changes), classes, seed=0))
    ramps = shaken(build_ramps(model, pooling=pooling, scored=True))
    with torch.no_grad():
        ramps.output_weight.mul_(3)  # so that rows are of all degrees of sureness
    return model, ramps


def encoded(family: str, count: int, classes: int = 3) -> Encoded:
    """Return rows of 1 to 24 drawn tokens, with labels."""
    shape, generator = config(family), np.random.default_rng(4)
    lengths = generator.integers(1, 25, count)
    ids = tuple(generator.integers(5, shape.vocabulary, length) for length in lengths)
    segments = tuple((np.arange(length) > length // 2).astype(np.int64) for length in lengths)
    return Encoded(ids, segments, generator.integers(0, classes, count), shape.pad_id, 0)


def splitting(name: str, every: EveryExit) -> Policy:
    """Return a policy at whose thresholds some rows leave at one exit and some at others: what half of them pass."""
    if name == "patience":
        return parse("patience:1")
    middle = {
        "entropy": lambda: np.median(entropy(every.logits[:-1])),
        "confidence": lambda: np.median(confidence(every.logits[:-1])),
        "learned": lambda: np.median(every.scores if every.scores is not None else 0),
    }
    if name in middle:
        return Policy(name, (float(middle[name]()),))
    return Policy("entropy", (0.0, *(float(one) for one in np.median(entropy(every.logits[1:-1]), axis=1))))


class Told:
    """A policy that lets each row leave at the ramp it is told."""

    def __init__(self, ramps: list[int]) -> None:
        self.ramps = np.array(ramps)

    def begin(self, count: int) -> State:
        """Keep the rows' ramps where the state keeps answers."""
        return State(np.zeros(count, dtype=bool), answers=self.ramps)

    def looks_at(self, ramp: int) -> bool:
        """Look at all."""
        return True

    def decide(self, ramp: int, logits: np.ndarray, state: State, scores: np.ndarray | None = None) -> np.ndarray:
        """Let go who was told to."""
        assert state.answers is not None and len(state.answers) == len(logits)
        return np.asarray(state.answers == ramp)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_never_is_the_plain_model_to_the_last_bit(family: str, dtype: torch.dtype) -> None:
    """A policy that lets no row leave costs nothing and changes nothing."""
    model, ramps = toys(family)
    model.to(dtype)
    batch = rows(model.encoder.config)
    with torch.inference_mode():
        expected = model(**batch).float().numpy()
    found = ExitingClassifier(model, ramps.to(dtype), parse("never"))(**batch)
    assert np.array_equal(expected, found.logits)
    assert [4] * 4 == found.layers.tolist()


@pytest.mark.parametrize(
    ("family", "pooling"),
    [*((one, "head") for one in FAMILIES), ("bert", "mean"), ("roberta", "mean"), ("modern", "mean")],
)
@pytest.mark.parametrize("name", POLICIES)
def test_rows_together_are_answered_as_alone(family: str, name: str, pooling: str) -> None:
    """Of 60 rows: logits within 1e-5, and the same exits but for rows that came within 1e-5 of a threshold."""
    model, ramps = toys(family, pooling=pooling)
    data = encoded(family, 60)
    policy = splitting(name, answer_everywhere(model, ramps, data, "classification"))
    exiting = ExitingClassifier(model, ramps, policy)
    found = answer_exiting(exiting, data)
    elsewhere = 0
    for row in range(60):
        alone = exiting(torch.from_numpy(data.ids[row])[None], None, torch.from_numpy(data.segments[row])[None])
        if alone.layers[0] != found.layers[row]:
            assert found.near[row] or alone.near[0]
            elsewhere += 1
        else:
            np.testing.assert_allclose(alone.logits[0], found.logits[row], atol=1e-5)
    assert elsewhere <= found.near.sum() <= 2
    assert 1 < len(set(found.layers.tolist()))


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_leave_with_their_ramp_s_answer_in_their_order(family: str) -> None:
    """Rows told to leave somewhere have what the ramp there answers when no row leaves; the last have the head's."""
    model, ramps = toys(family)
    data = encoded(family, 30)
    every = answer_everywhere(model, ramps, data, "classification")
    told = np.random.default_rng(5).integers(0, 4, 30)
    # `answer_exiting` goes by length: what is told has to be in that order.
    order = np.argsort(-data.lengths, kind="stable")
    for pays in (None, lambda *_: False, lambda rows, left, layers: layers == 1):
        found = answer_exiting(ExitingClassifier(model, ramps, Told(list(told[order])), pays=pays), data)
        assert (told + 1).tolist() == found.layers.tolist()
        np.testing.assert_allclose(every.logits[told, np.arange(30)], found.logits, atol=1e-5)


def test_a_policy_over_a_whole_set_gives_the_exits_of_inference() -> None:
    """What calibration sees is what inference does: the same exits for every policy."""
    model, ramps = toys("bert")
    data = encoded("bert", 60)
    every = answer_everywhere(model, ramps, data, "classification")
    for name in POLICIES:
        policy = splitting(name, every)
        found = answer_exiting(ExitingClassifier(model, ramps, policy), data)
        expected = np.array(every.layers)[every.leaving([policy])[0]]
        assert expected[~found.near].tolist() == found.layers[~found.near].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_odd_batches_are_answered(family: str) -> None:
    """No rows, one row, one token; a batch that is gone before the last layer."""
    model, ramps = toys(family)
    exiting = ExitingClassifier(model, ramps, parse("confidence:0.2"))
    none = exiting(torch.zeros((0, 7), dtype=torch.long))
    assert ((0, 3), (0,)) == (none.logits.shape, none.layers.shape)
    for shape in ((1, 1), (1, 9), (5, 1)):
        found = exiting(torch.full(shape, 7))
        assert [1] * shape[0] == found.layers.tolist()
        assert np.isfinite(found.logits).all()


def test_layers_above_the_last_row_are_not_run() -> None:
    """When all rows are gone, so is the work: blocks see the rows that are left, and no block sees none."""
    model, ramps = toys("bert")
    seen: list[int] = []
    for block in model.encoder.blocks:
        block.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    ExitingClassifier(model, ramps, Told([0, 2, 1, 0]))(torch.full((4, 6), 7))
    assert [4, 2, 1] == seen


def test_a_ramp_that_lets_no_row_leave_is_not_computed() -> None:
    """Thresholds of 0 switch ramps off; patience needs all of them."""
    model, ramps = toys("bert")
    looked = [
        sorted(ExitingClassifier(model, ramps, parse(t))._ramps) for t in ("entropy:0,0.1,0", "patience:2", "never")
    ]
    assert [[2], [1, 2, 3], []] == looked


def test_mean_pooling_sees_real_tokens_alone() -> None:
    """Ramps of a head that takes means: padding beside a row changes nothing, and packed masks stay with their rows."""
    model, ramps = toys("modern", pooling="mean")
    batch = rows(model.encoder.config)
    found = ExitingClassifier(model, ramps, Told([3, 0, 2, 1]))(**batch)
    for row, ramp in enumerate([3, 0, 2, 1]):
        size = int(batch["mask"][row].sum())
        alone = ExitingClassifier(model, ramps, Told([ramp]))(batch["ids"][row : row + 1, :size])
        np.testing.assert_allclose(alone.logits[0], found.logits[row], atol=1e-5)


def test_half_precision_leaves_where_full_precision_does() -> None:
    """In bf16 most rows leave at the same layer; answers are numbers and close."""
    model, ramps = toys("bert")
    data = encoded("bert", 60)
    policy = splitting("entropy", answer_everywhere(model, ramps, data, "classification"))
    full = answer_exiting(ExitingClassifier(model, ramps, policy), data)
    half = answer_exiting(ExitingClassifier(model.bfloat16(), ramps.bfloat16(), policy), data)
    same = full.layers == half.layers
    assert same.mean() > 0.8
    np.testing.assert_allclose(full.logits[same], half.logits[same], atol=0.3)


def test_packing_pays_by_what_was_measured() -> None:
    """By hand: three rows less over two layers save 6 ms; packing ten costs 4 ms. Where rows are free it never pays."""
    costs = Costs(block=(0.005, 0.001), gather=(0.002, 0.0002), embeddings=0.001, ramp=0.0005, head=0.002)
    assert costs.pays(13, 10, 2)
    assert not costs.pays(11, 10, 4)
    assert not Costs((0.005, 0.0), (0.002, 0.0002), 0.0, 0.0, 0.0).pays(32, 1, 12)
    assert (0.0075, 0.02, 0.028) == pytest.approx(costs.of_exits((1, 3, 4)))


def test_costs_are_measured_on_the_model() -> None:
    """Every part takes some time, and a whole model more than its first exit."""
    model, ramps = toys("modern")
    costs = measure(model, ramps, 16, rows=8)
    assert min(costs.embeddings, costs.ramp, costs.head, sum(costs.block)) > 0
    assert costs.of_exits((1, 2, 3, 4))[0] < costs.of_exits((1, 2, 3, 4))[-1]


def test_flex_attention_is_refused() -> None:
    """Its masks are made for a whole batch; the message says what to call."""
    model, ramps = toys("bert")
    model.encoder.attention_form("flex")
    with pytest.raises(InputError, match="attention_form\\('sdpa'\\)"):
        ExitingClassifier(model, ramps, parse("never"))
    model.encoder.attention_form("sdpa")
    data = encoded("bert", 20)
    found = answer_exiting(ExitingClassifier(model, ramps, parse("entropy:0.9")), data)
    model.encoder.attention_form("matmul")
    expected = answer_exiting(ExitingClassifier(model, ramps, parse("entropy:0.9")), data)
    np.testing.assert_allclose(expected.logits, found.logits, atol=1e-5)


def test_a_policy_that_does_not_fit_is_refused_at_once() -> None:
    """Before any row is answered."""
    model = shaken(build_classifier(config("bert"), 3, seed=0))
    with pytest.raises(InputError, match="needs ramps with a learned score"):
        ExitingClassifier(model, build_ramps(model), parse("learned:0.9"))
