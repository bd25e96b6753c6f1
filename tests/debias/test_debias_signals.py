"""Alignment of two models' tokens, the file of signals, and batches that carry them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_debias import PieceTokenizer, saliency_of

from bertwright.debias import signals
from bertwright.debias.alignment import Aligned, align, by_words, locate
from bertwright.debias.batches import SignalBatches
from bertwright.debias.signals import Signals, join, of_rows
from bertwright.errors import DataError, InputError
from bertwright.recipe.debias_settings import Settings
from bertwright.tasks.batches import TrainBatches, encode, encode_windows
from bertwright.training.order import Place

TEXTS = [("the big house burns", "a house burns, it is said"), ("nobody sleeps", "somebody  never sleeps")]
GOLDS = ["SUPPORTS", "REFUTES"]
LABELS = ("REFUTES", "SUPPORTS")
LOGITS = np.array([[-1.0, 2.0], [0.5, 0.25]], dtype=np.float32)


def made(**changes: object) -> Signals:
    """Return signals of the two rows, as an expert of three letters a piece would give them."""
    lengths = np.bincount(locate(TEXTS, PieceTokenizer(3), max_length=64).row)
    saliency = [saliency_of(int(n), seed) for seed, n in enumerate(lengths)]
    return replace(
        of_rows(["a", "b"], TEXTS, GOLDS, LABELS, LOGITS, saliency=saliency, about={"expert": "toy"}), **changes
    )


@pytest.mark.parametrize("max_length", [64, 13, 8])
@pytest.mark.parametrize("separators", [1, 2])
def test_located_tokens_are_those_of_the_rows(max_length: int, separators: int) -> None:
    """Each token of a laid-out row, cut or not, stands where its characters are; special ones stand nowhere."""
    tokenizer = PieceTokenizer(3)
    rows = encode(TEXTS, np.zeros(2), tokenizer, max_length=max_length, separators=separators)
    found = locate(TEXTS, tokenizer, max_length=max_length, separators=separators)
    assert rows.lengths.tolist() == np.bincount(found.row).tolist()
    for token in range(len(found.row)):
        row, column = int(found.row[token]), int(found.column[token])
        number = rows.ids[row][found.position[token]]
        if column < 0:
            assert number in (tokenizer.cls_id, tokenizer.sep_id)
        else:
            piece = TEXTS[row][column][found.start[token] : found.end[token]]
            assert tokenizer.encode([piece])[0] == [number]


def test_tokens_are_spread_over_words_by_their_characters() -> None:
    """A piece that reaches over a space gives each word its share, and every token's shares sum to one."""
    texts = [("ab cd, e",)]

    class Wide:
        def encode_with_offsets(self, texts: list[str]) -> list[object]:
            offsets = [(0, 5), (1, 1), (5, 6), (6, 8)]
            return [type("Encoded", (), {"offsets": offsets, "ids": [0] * 4})()]

    found = by_words(locate(texts, Wide(), max_length=20), ["ab cd, e"], 0)
    # Words: "ab", "cd", ",", "e". The first piece is "ab cd", the second empty, the last " e".
    assert [(0, 1, 0.5), (1, 1, 0.5), (2, 3, 1.0), (3, 4, 1.0)] == [
        (int(u), int(t), float(s)) for u, t, s in zip(found.unit, found.token, found.share, strict=True)
    ]


def words_by_hand(text: str, size: int, saliency: np.ndarray) -> list[float]:
    """Return the saliency of each word of letters, piece by piece."""
    sums, token = [], 0
    for word in text.split():
        pieces = -(-len(word) // size)
        sums.append(float(saliency[token : token + pieces].sum()))
        token += pieces
    return sums


def test_models_that_cut_words_otherwise_are_compared_over_words() -> None:
    """Pieces of three letters and of two give one sum a word, in the column that the expert reads alone."""
    texts = [("one two", "forever and aday"), ("three", "never")]
    main = locate(texts, PieceTokenizer(3), max_length=64)
    claims = [(row[1],) for row in texts]
    expert = locate(claims, PieceTokenizer(2), max_length=64)
    saliency = saliency_of(len(expert.row))
    aligned = align(main, expert, saliency, texts, columns=[1])
    found = aligned.batch(np.array([0, 1]))
    # The expert's tokens of row 0: [CLS], four, two and two pieces, [SEP]; of row 1: [CLS], three, [SEP].
    np.testing.assert_allclose(found["unit_expert"][0], words_by_hand(claims[0][0], 2, saliency[1:9]), rtol=1e-6)
    np.testing.assert_allclose(found["unit_expert"][1], [saliency[11:14].sum(), 0, 0], rtol=1e-6)
    # The main model's row 0 is [CLS] one two [SEP] for-eve-r and ada-y [SEP].
    assert [[4, 5, 6], [7, 0, 0], [8, 9, 0]] == found["unit_tokens"][0].tolist()
    assert [[1, 1, 1], [1, 0, 0], [1, 1, 0]] == found["unit_shares"][0].tolist()
    assert [0, 0] == aligned.lost.tolist()


def test_rows_of_a_batch_come_in_its_order() -> None:
    """A batch of some rows, in any order, has each row's own units."""
    main = locate(TEXTS, PieceTokenizer(3), max_length=64)
    aligned = align(main, main, saliency_of(len(main.row)), TEXTS, columns=[0, 1])
    both, second = aligned.batch(np.array([1, 0])), aligned.batch(np.array([1]))
    size, pieces = second["unit_expert"].shape[1], second["unit_tokens"].shape[2]
    np.testing.assert_array_equal(aligned.expert[aligned.units[1] : aligned.units[2]], second["unit_expert"][0])
    np.testing.assert_array_equal(both["unit_expert"][:1, :size], second["unit_expert"])
    np.testing.assert_array_equal(both["unit_tokens"][:1, :size, :pieces], second["unit_tokens"])


def test_the_same_tokens_are_compared_one_by_one() -> None:
    """A claim-only expert is compared at the claim's own places, behind the evidence, and not from the row's begin."""
    main = locate(TEXTS, PieceTokenizer(3), max_length=64)
    claims = [(row[1],) for row in TEXTS]
    expert = locate(claims, PieceTokenizer(3), max_length=64)
    saliency = saliency_of(len(expert.row))
    aligned = align(main, expert, saliency, TEXTS, columns=[1], compare="tokens")
    found = aligned.batch(np.array([0]))
    own = np.flatnonzero((main.row == 0) & (main.column == 1))
    assert main.position[own].tolist() == found["unit_tokens"][0, :, 0].tolist()
    np.testing.assert_array_equal(saliency[1 : 1 + len(own)], found["unit_expert"][0])


def test_what_one_model_lost_is_left_out_and_counted() -> None:
    """Where the pair was cut and the claim was not, the words that both read are compared."""
    main = locate(TEXTS, PieceTokenizer(3), max_length=10)
    claims = [(row[1],) for row in TEXTS]
    expert = locate(claims, PieceTokenizer(3), max_length=64)
    for compare in ("words", "tokens"):
        aligned = align(main, expert, saliency_of(len(expert.row)), TEXTS, columns=[1], compare=compare)
        seen = [int(((main.row == row) & (main.column == 1)).sum()) for row in (0, 1)]
        assert all(0 < units <= limit for units, limit in zip(np.diff(aligned.units), seen, strict=True))
        assert (compare == "words") == bool(aligned.lost.sum())


def test_special_tokens_are_compared_where_both_models_have_the_same() -> None:
    """Specials in: three more units a pair; refused for an expert that reads one column."""
    main = locate(TEXTS, PieceTokenizer(3), max_length=64)
    given = {"columns": [0, 1], "compare": "tokens"}
    sizes = [
        np.diff(align(main, main, saliency_of(len(main.row)), TEXTS, specials=how, **given).units)  # type: ignore[arg-type]
        for how in ("out", "in")
    ]
    assert (sizes[0] + 3).tolist() == sizes[1].tolist()
    expert = locate([(row[1],) for row in TEXTS], PieceTokenizer(3), max_length=64)
    with pytest.raises(InputError, match="different number of them .* set specials: out"):
        align(main, expert, saliency_of(len(expert.row)), TEXTS, columns=[1], specials="in")


def test_other_tokens_cannot_be_compared_one_by_one() -> None:
    """Two tokenizers are refused with the setting that helps; so are saliencies of other texts."""
    main, expert = (locate(TEXTS, PieceTokenizer(size), max_length=64) for size in (3, 2))
    with pytest.raises(InputError, match="do not; set compare: words"):
        align(main, expert, saliency_of(len(expert.row)), TEXTS, columns=[0, 1], compare="tokens")
    with pytest.raises(DataError, match="found 7 saliencies of an expert for .* make the signals again"):
        align(main, expert, saliency_of(7), TEXTS, columns=[0, 1])


@pytest.mark.parametrize("logits", ["fp16", "fp32"])
def test_signals_come_back_from_their_file(tmp_path: Path, logits: str) -> None:
    """What is written is read; saliencies are shares of a row's largest, so that its cosines stay."""
    before = made()
    signals.write(tmp_path / "s.parquet", before, logits=logits)
    after = signals.read(tmp_path / "s.parquet")
    assert (before.ids, before.labels, {"expert": "toy"}) == (after.ids, after.labels, after.about)
    np.testing.assert_array_equal(before.content, after.content)
    np.testing.assert_array_equal(before.logits, after.logits)
    assert after.saliency is not None and after.bounds is not None and before.bounds is not None
    np.testing.assert_array_equal(before.saliency, after.saliency)
    raw = saliency_of(int(before.bounds[1]), 0)
    np.testing.assert_allclose(raw / raw.max(), after.saliency[: before.bounds[1]], rtol=1e-3)


def test_signals_of_an_expert_of_unknown_inside_have_no_saliency(tmp_path: Path) -> None:
    """Logits alone can be written, read, joined and cut."""
    signals.write(tmp_path / "s.parquet", made(saliency=None, bounds=None))
    found = join(signals.read(tmp_path / "s.parquet"), ["b", "a"], TEXTS[::-1], GOLDS[::-1], LABELS)
    assert found.saliency is None
    np.testing.assert_array_equal(LOGITS[::-1], found.logits)


def test_signals_are_joined_by_id_and_labels_by_name() -> None:
    """Rows in another order get their own signals, and columns the order of the task's labels."""
    one = made()
    found = join(one, ["b", "a"], TEXTS[::-1], GOLDS[::-1], LABELS[::-1])
    np.testing.assert_array_equal(LOGITS[::-1, ::-1], found.logits)
    assert (
        found.bounds is not None and found.saliency is not None and one.bounds is not None and one.saliency is not None
    )
    first = int(one.bounds[1])
    np.testing.assert_array_equal(np.concatenate([one.saliency[first:], one.saliency[:first]]), found.saliency)


@pytest.mark.parametrize(
    ("ids", "texts", "golds", "labels", "message"),
    [
        (["a"], TEXTS[:1], GOLDS[:1], LABELS, r"1 row\(s\) are not in the training set \(ids b\); found signals of 2"),
        (["a", "b", "c"], [*TEXTS, TEXTS[0]], [*GOLDS, "REFUTES"], LABELS, r"1 row\(s\) have no signals \(ids c\)"),
        (["a", "b"], [TEXTS[0], ("nobody", "sleeps")], GOLDS, LABELS, r"another text or label .* \(ids b\)"),
        (["a", "b"], TEXTS, ["SUPPORTS", "SUPPORTS"], LABELS, r"another text or label .* \(ids b\)"),
        (["a", "a"], TEXTS, GOLDS, LABELS, "id 'a' stands twice in the rows"),
        (["a", "b"], TEXTS, GOLDS, ("REFUTES", "NEI"), "found the labels REFUTES, SUPPORTS, expected REFUTES, NEI"),
    ],
)
def test_signals_of_other_rows_are_refused(
    ids: list[str], texts: list[tuple[str, str]], golds: list[str], labels: tuple[str, ...], message: str
) -> None:
    """A missing row, one too much, a changed text or label, a repeated id, other labels: each has its sentence."""
    with pytest.raises(DataError, match=message):
        join(made(), ids, texts, golds, labels)


def test_files_without_signals_are_refused(tmp_path: Path) -> None:
    """A file that is not there, is no parquet, or holds something else says so."""
    path = tmp_path / "s.parquet"
    with pytest.raises(DataError, match="is not there; name a file of signals"):
        signals.read(path)
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match="not a readable parquet file"):
        signals.read(path)
    pq.write_table(pa.table({"text": ["x"]}), path)
    with pytest.raises(DataError, match=r"without an expert's signals in it \(its columns are text\)"):
        signals.read(path)
    with pytest.raises(DataError, match="no finite numbers in fp16; correct the expert, or keep the logits in fp32"):
        signals.write(path, made(logits=LOGITS * 1e6))


def test_signals_take_a_tenth_of_a_dense_array(tmp_path: Path) -> None:
    """At forty tokens a row of 128 places, as MNLI's are, the file is under a tenth of rows x 128 numbers of fp64."""
    generator = np.random.default_rng(0)
    rows, count = 2000, 40
    saliency = [generator.lognormal(0, 1, count) for _ in range(rows)]
    texts = [(f"text {row}",) for row in range(rows)]
    logits = generator.normal(0, 3, (rows, 3))
    one = of_rows([str(row) for row in range(rows)], texts, ["x"] * rows, ("x", "y", "z"), logits, saliency=saliency)
    signals.write(tmp_path / "s.parquet", one)
    assert (tmp_path / "s.parquet").stat().st_size <= rows * 128 * 8 / 10


def toy_batches(settings: Settings, max_length: int = 64) -> tuple[SignalBatches, Signals, Aligned]:
    """Return batches of the two rows with all signals beside them."""
    tokenizer, expert = PieceTokenizer(2), join(made(), ["a", "b"], TEXTS, GOLDS, LABELS)
    encoded = encode(TEXTS, np.array([1, 0]), tokenizer, max_length=max_length)
    main, other = (locate(TEXTS, PieceTokenizer(size), max_length=64) for size in (2, 3))
    assert expert.saliency is not None
    aligned = align(main, other, expert.saliency, TEXTS, columns=[0, 1])
    inner = TrainBatches(encoded, batch=2, micro_batch=1, seed=0)
    partial = encode([row[1:] for row in TEXTS], np.array([1, 0]), tokenizer, max_length=64)
    return (
        SignalBatches(inner, encoded, settings, expert=expert, aligned=aligned, partial=partial),
        expert,
        aligned,
    )


def test_batches_carry_the_signals_of_their_rows() -> None:
    """Each micro-batch has its rows' own logits, units and partial input; theta follows the training."""
    batches, expert, aligned = toy_batches(Settings("poe", lowest_theta=0.8))
    found = batches.step(Place(0, 0, 0.5), 0, 1)
    assert (1, 2) == (batches.steps_per_epoch, batches.rows(Place()))
    assert [0.9, 0.9] == [pytest.approx(one["theta"]) for one in found]
    for one in found:
        rows = one["rows"].numpy()
        np.testing.assert_array_equal(expert.logits[rows], one["expert"].numpy())
        np.testing.assert_array_equal(aligned.batch(rows)["unit_expert"], one["unit_expert"].numpy())
        assert one["bias_ids"].shape[1] < one["ids"].shape[1]


def test_windows_of_long_rows_have_no_signals() -> None:
    """An expert's signals are of whole rows; windows are refused, not guessed at."""
    rows = encode_windows(TEXTS, np.array([1, 0]), PieceTokenizer(1), max_length=12, stride=4)
    with pytest.raises(InputError, match="leave `window_stride` out"):
        SignalBatches(TrainBatches(rows, batch=2, micro_batch=2, seed=0), rows, Settings())
