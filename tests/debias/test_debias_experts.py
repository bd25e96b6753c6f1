"""Folds, partial input, an expert's quality, and experts that come in a user's file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from bertwright.debias.experts import folds, partial, read_expert
from bertwright.debias.intervals import wilson
from bertwright.debias.quality import Reached, mean_weight, not_biased, quality
from bertwright.errors import DataError, InputError

LABELS = ("REFUTES", "SUPPORTS")


def test_folds_are_even_in_size_and_in_each_class() -> None:
    """No fold has two rows, or two rows of a class, more than another."""
    golds = np.array([0] * 37 + [1] * 11 + [2] * 5)
    found = folds([f"r{n}" for n in range(53)], golds, 5, seed=0)
    for chosen in (golds >= 0, *(golds == label for label in range(3))):
        counts = np.bincount(found[chosen], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_folds_hang_on_seed_and_ids_and_not_on_the_order_of_rows() -> None:
    """Rows in another order stay in their folds, another seed deals anew, and a group stays together."""
    ids, golds = [f"r{n}" for n in range(40)], np.arange(40) % 2
    found = folds(ids, golds, 4, seed=1)
    mixed = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(found[mixed], folds([ids[n] for n in mixed], golds[mixed], 4, seed=1))
    assert (found != folds(ids, golds, 4, seed=2)).any()
    groups = [f"g{n // 3}" for n in range(40)]
    together = folds(ids, golds, 4, seed=1, groups=groups)
    assert all(1 == len(set(together[[n for n in range(40) if groups[n] == one]])) for one in set(groups))
    np.testing.assert_array_equal(
        together[mixed], folds([ids[n] for n in mixed], golds[mixed], 4, seed=1, groups=[groups[n] for n in mixed])
    )


@pytest.mark.parametrize("k", [1, 4])
def test_folds_that_cannot_be_dealt_are_refused(k: int) -> None:
    """Fewer than two folds, or more than there are rows, say how many there can be."""
    with pytest.raises(InputError, match=f"found {k} folds for 3 rows, or groups of them; set from 2"):
        folds(["a", "b", "c"], np.zeros(3, dtype=int), k, seed=0)


def test_partial_input_keeps_columns_by_name() -> None:
    """An expert's rows have the columns it asks for, in its order; an unknown or repeated one is refused."""
    texts = [("evidence", "claim")]
    assert ([("claim",)], (1,)) == partial(texts, ["evidence", "claim"], ["claim"])
    assert ([("claim", "evidence")], (1, 0)) == partial(texts, ["evidence", "claim"], ["claim", "evidence"])
    for wrong in (["clam"], [], ["claim", "claim"]):
        with pytest.raises(InputError, match="expected one or more of evidence, claim, each once"):
            partial(texts, ["evidence", "claim"], wrong)


def test_wilsons_interval_is_that_of_scipy() -> None:
    """Scipy's proportion interval, method wilson, is ours."""
    for right, rows in ((0, 7), (3, 10), (50, 50), (453, 8340)):
        expected = scipy.stats.binomtest(right, rows).proportion_ci(method="wilson")
        found = wilson(np.array(right), np.array(rows))
        assert (pytest.approx(expected.low), pytest.approx(expected.high)) == tuple(map(float, found))


def test_a_good_expert_is_measured_without_a_warning() -> None:
    """Right on three rows of four where half is the majority, and no surer than that."""
    golds = np.tile([0, 0, 1, 1], 50)
    logits = np.tile([[np.log(3), 0], [0, np.log(3)], [0, np.log(3)], [0, np.log(3)]], (50, 1))
    found = quality(logits, golds, main_accuracy=0.9)
    assert (200, 0.75, 0.5, 0.0, ()) == (found.rows, found.accuracy, found.majority, found.sure, found.warnings)
    assert found.interval[0] < 0.75 < found.interval[1]
    assert pytest.approx(0.75) == found.confidence
    assert pytest.approx(1 - (0.75 * 3 + 0.25) / 4) == mean_weight(logits, golds)


@pytest.mark.parametrize(
    ("logits", "main", "message"),
    [
        ([[1.0, 0.0]] * 40, None, r"not clearly more than the largest class \(50.0 %\)"),
        ([[1.0, 0.0], [0.0, 1.0]] * 20, 0.9, r"no less than the model without it \(90.0 %\)"),
        ([[9.0, 0.0]] * 40, None, r"surer \(100.0 % on average\) than it is right .* fit it on other rows"),
    ],
)
def test_what_speaks_against_an_expert_is_said(logits: list[list[float]], main: float | None, message: str) -> None:
    """No shortcut at all, better than the main model, and surer than right: a sentence each, with what to do."""
    found = quality(np.array(logits), np.tile([0, 1], 20), main_accuracy=main)
    assert any(re.search(message, warning) for warning in found.warnings)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (Reached(0.74, 0.5, 700), True),
        (Reached(0.40, 0.5, 700), False),
        # As right as at home where one class is 70 % of the rows: that is next to nothing.
        (Reached(0.74, 0.7, 700), False),
        (Reached(0.74, 0.5, 60), False),
    ],
)
def test_an_expert_that_is_not_biased_is_said_to_be_so(odd: Reached, said: bool) -> None:
    """Above the largest class no worse on any other set than at home; few rows tell nothing."""
    reached = {"dev": Reached(0.76, 0.5, 1500), "odd": odd}
    found = not_biased("dev", reached)
    assert said == (found is not None)
    assert not said or "right on 76.0 % of dev and on 74.0 % of odd" in found  # type: ignore[operator]
    assert not_biased("dev", {**reached, "broken": Reached(0.4, 0.5, 700)}) is None
    assert not_biased("dev", {"dev": reached["dev"]}) is None
    assert not_biased("dev", {"dev": Reached(0.51, 0.5, 1500), "odd": Reached(0.5, 0.5, 700)}) is None


def written(folder: Path, name: str, rows: list[dict[str, object]]) -> Path:
    """Write rows in the format that a name asks for."""
    path = folder / name
    if name.endswith(".npz"):
        logits = np.array([[row[label] for label in ("SUPPORTS", "REFUTES")] for row in rows], dtype=np.float64)
        np.savez(path, ids=[str(row["id"]) for row in rows], logits=logits, labels=["SUPPORTS", "REFUTES"])
    elif name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text("\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]) + "\n")
    return path


ROWS: list[dict[str, object]] = [
    {"id": 7, "SUPPORTS": 2.0, "REFUTES": -1.0},
    {"id": 9, "SUPPORTS": 0.25, "REFUTES": 0.5},
]


@pytest.mark.parametrize("name", ["e.csv", "e.jsonl", "e.parquet", "e.npz"])
def test_an_experts_file_is_read_in_every_format(tmp_path: Path, name: str) -> None:
    """Columns are found by the labels' names, whatever their order in the file."""
    found = read_expert(written(tmp_path, name, ROWS), LABELS)
    assert ("7", "9") == found.ids
    np.testing.assert_array_equal(np.array([[-1.0, 2.0], [0.5, 0.25]], dtype=np.float32), found.logits)


def test_columns_of_other_names_are_told(tmp_path: Path) -> None:
    """The published file calls its columns label_0, label_1: a label's column can be named, and has to be."""
    path = written(tmp_path, "e.csv", [{"id": 1, "label_0": 3.0, "label_1": 4.0}])
    found = read_expert(path, LABELS, columns={"SUPPORTS": "label_0", "REFUTES": "label_1"})
    assert [[4.0, 3.0]] == found.logits.tolist()
    assert () == found.notes
    more = written(tmp_path, "m.csv", [{"id": 1, "SUPPORTS": 3.0, "REFUTES": 4.0, "NOT ENOUGH INFO": 9.0}])
    assert ("m.csv: found NOT ENOUGH INFO beside the task's labels, which is not read",) == read_expert(
        more, LABELS
    ).notes
    with pytest.raises(DataError, match="columns id, label_0, label_1, and .*REFUTES.* is missing; .* `names`"):
        read_expert(path, LABELS)
    with pytest.raises(InputError, match="found the label 'NEI', expected some of REFUTES, SUPPORTS"):
        read_expert(path, LABELS, columns={"NEI": "label_2"})


def test_probabilities_are_told_from_logits(tmp_path: Path) -> None:
    """Probabilities become logarithms, none of them infinite, and are never taken for logits or the other way."""
    path = written(tmp_path, "p.jsonl", [{"id": 1, "SUPPORTS": 1.0, "REFUTES": 0.0}])
    found = read_expert(path, LABELS, values="probabilities")
    np.testing.assert_allclose([[np.log(1e-6), 0.0]], found.logits, rtol=1e-6)
    assert "1 probabilities below 1e-06" in found.notes[0]
    with pytest.raises(DataError, match="set values: probabilities"):
        read_expert(path, LABELS)
    with pytest.raises(DataError, match="set values: logits"):
        read_expert(written(tmp_path, "l.jsonl", ROWS), LABELS, values="probabilities")
    with pytest.raises(InputError, match="found 'odds', expected logits or probabilities"):
        read_expert(path, LABELS, values="odds")


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        (
            "e.jsonl",
            [{**ROWS[0], "SUPPORTS": "high"}],
            "row 1: found REFUTES: -1.0, SUPPORTS: 'high', expected a number",
        ),
        ("e.jsonl", [{**ROWS[0], "SUPPORTS": float("inf")}], "row with id 7: found .*inf.*, expected finite numbers"),
        ("e.csv", [ROWS[0], ROWS[0]], r"1 id\(s\) stand there twice"),
    ],
)
def test_wrong_rows_of_an_experts_file_are_named(
    tmp_path: Path, name: str, rows: list[dict[str, object]], message: str
) -> None:
    """What is no number, not finite or there twice is refused with its place."""
    with pytest.raises(DataError, match=message):
        read_expert(written(tmp_path, name, rows), LABELS)


def test_files_that_are_no_experts_are_refused(tmp_path: Path) -> None:
    """A missing file, an npz with other arrays or shapes, one that holds objects, and no archive at all."""
    with pytest.raises(DataError, match="is not there; name a file with a row: id"):
        read_expert(tmp_path / "none.csv", LABELS)
    path = tmp_path / "e.npz"
    np.savez(path, logits=np.zeros((2, 2)))
    with pytest.raises(DataError, match="found the arrays logits, and ids, labels is missing"):
        read_expert(path, LABELS)
    np.savez(path, ids=["a"], logits=np.zeros((2, 2)), labels=list(LABELS))
    with pytest.raises(
        DataError, match=r"found logits of shape \(2, 2\) .* for ids of shape \(1,\) .*a row for each id"
    ):
        read_expert(path, LABELS)
    np.savez(path, ids="a", logits=np.zeros((1, 2)), labels=list(LABELS))
    with pytest.raises(DataError, match=r"for ids of shape \(\) and labels of shape \(2,\)"):
        read_expert(path, LABELS)
    np.savez(path, ids=[], logits=np.zeros((0, 2)), labels=list(LABELS))
    with pytest.raises(DataError, match="has no rows; expected a row: id"):
        read_expert(path, LABELS)
    np.savez(path, ids=["a"], logits=np.zeros((1, 2)), labels=["NEI", "SUPPORTS"])
    with pytest.raises(DataError, match="found the labels NEI, SUPPORTS, expected REFUTES, SUPPORTS"):
        read_expert(path, LABELS)
    np.savez(path, ids=np.array([{}], dtype=object), logits=np.zeros((1, 2)), labels=list(LABELS))
    with pytest.raises(DataError, match="not a readable npz file of plain arrays"):
        read_expert(path, LABELS)
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="not a readable npz file of plain arrays"):
        read_expert(path, LABELS)
