"""Sets with other labels than the model's, scores of groups of rows, and scores of documents."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics

from bertwright.errors import DataError, InputError
from bertwright.tasks import catalogue
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.merging import MERGES, NOWHERE, checked_counterparts, convention, counterparts
from bertwright.tasks.metrics import METRICS
from bertwright.tasks.readers import read_set
from bertwright.tasks.scoring import ScoredSet, scored_set
from bertwright.tasks.task import Task

INFERENCE = ("contradiction", "entailment", "neutral")
HANS = catalogue.CATALOGUE["hans"]
VERDICTS = ("NOT ENOUGH INFO", "REFUTES", "SUPPORTS")
PLACES = np.array([1, 0, 1])  # of INFERENCE among entailment, non-entailment


def inference_task(folder: Path, *, merge: str | None = None, groups: tuple[str, ...] | None = None) -> Task:
    """Return a task of three labels with HANS's set, whose file is ``hans.jsonl``."""
    task = Task(
        "nli",
        "classification",
        ("premise", "hypothesis"),
        "label",
        folder / "train.jsonl",
        {"hans": folder / "hans.jsonl"},
        ("accuracy",),
    )
    form = catalogue.form_of(task, "hans", merge=merge)
    return replace(task, forms={"hans": form if groups is None else replace(form, groups=groups)})


def write_hans(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    """Write rows of label, heuristic and subcase."""
    lines = [
        json.dumps({"premise": "a", "hypothesis": "b", "label": label, "heuristic": heuristic, "subcase": subcase})
        for label, heuristic, subcase in rows
    ]
    (folder / "hans.jsonl").write_text("\n".join(lines) + "\n")


def hans_set(folder: Path, **changes: Any) -> ScoredSet:
    """Return HANS's rows as a set for a model of three labels."""
    task = inference_task(folder, **changes)
    return scored_set(task, LabelMap("classification", INFERENCE), "hans", read_set(task, "hans"))


def test_the_best_of_three_and_the_sum_of_two_differ() -> None:
    """Neutral .3 and contradiction .3 against entailment .4: the best is entailment, the sum of the two is not."""
    logits = np.log(np.array([[0.3, 0.4, 0.3], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]]))
    assert [0, 0, 1] == MERGES["argmax"].compute(logits, PLACES, 2).tolist()
    assert [1, 0, 1] == MERGES["sum"].compute(logits, PLACES, 2).tolist()


def test_both_conventions_for_claims_without_enough_information() -> None:
    """The third label ignored gives the best of the two others; counted as wrong it is no answer of the set."""
    places = counterparts(VERDICTS, ("SUPPORTS", "REFUTES"), {})
    assert [-1, 1, 0] == places.tolist()
    logits = np.array([[3.0, 1.0, 2.0], [0.0, 2.0, 1.0], [5.0, 4.0, -9.0]])
    assert [0, 1, 1] == MERGES["drop"].compute(logits, places, 2).tolist()
    assert [-1, 1, -1] == MERGES["wrong"].compute(logits, places, 2).tolist()


def test_an_answer_that_is_no_label_of_the_set_is_wrong_and_no_label_of_its_own() -> None:
    """Macro F1 is the mean over the set's labels, as scikit-learn has it when it is told which they are."""
    gold, answers = np.array([0, 0, 1, 1]), np.array([0, NOWHERE, 1, 1])
    expected = sklearn.metrics.f1_score(gold, answers, labels=[0, 1], average="macro")
    assert expected == METRICS["macro_f1"].compute(gold, answers, None).value


def test_claims_are_scored_by_either_convention(tmp_path: Path) -> None:
    """Four rows, of which the model finds two without enough information: 1 of 4 right, or 3 of 4."""
    rows = [("SUPPORTS", 0), ("SUPPORTS", 1), ("REFUTES", 2), ("REFUTES", 3)]
    lines = [json.dumps({"id": n, "claim": "c", "evidence": "e", "label": label}) for label, n in rows]
    (tmp_path / "sym.jsonl").write_text("\n".join(lines))
    logits = np.array([[5.0, 0.0, 1.0], [0.0, 1.0, 2.0], [5.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    found = {}
    for merge in ("wrong", "drop", None):
        task = catalogue.locate("fever", train=tmp_path / "train.jsonl", sets={"sym": tmp_path / "sym.jsonl"})
        task = replace(task, forms={"sym": catalogue.form_of(task, "fever-symmetric", merge=merge)})
        one = scored_set(task, LabelMap("classification", VERDICTS), "sym", read_set(task, "sym"))
        found[merge] = one.score("accuracy", one.answers(logits)).value, one.convention
    assert (0.25, 0.75, 0.25) == (found["wrong"][0], found["drop"][0], found[None][0])
    assert "labels without a counterpart ignored" in str(found["drop"][1])
    assert str(found[None][1]).endswith("counted wrong (wrong); without a counterpart: NOT ENOUGH INFO")


def test_the_same_labels_in_another_order_are_the_models_own(tmp_path: Path) -> None:
    """A model numbers its labels as they sort, MNLI as it was published: nothing is merged, and nothing is said."""
    words = ("neutral", "contradiction", "entailment")
    lines = [json.dumps({"premise": "a", "hypothesis": "b", "label": word}) for word in words]
    (tmp_path / "more.jsonl").write_text("\n".join(lines))
    task = replace(inference_task(tmp_path), sets={"more": tmp_path / "more.jsonl"})
    task = replace(task, forms={"more": catalogue.form_of(task, "mnli")})
    assert INFERENCE != task.form("more").layout.labels
    one = scored_set(task, LabelMap("classification", INFERENCE), "more", read_set(task, "more"))
    assert (None, None, INFERENCE) == (one.places, one.convention, one.names)
    assert [2, 0, 1] == one.gold.tolist()
    assert 1.0 == one.score("accuracy", one.answers(np.eye(3)[[2, 0, 1]])).value


def test_answers_to_hans_are_scored_whole_in_six_cells_and_by_subcase(tmp_path: Path) -> None:
    """By hand: a model that always says entailment is right on every entailment row and wrong on all others."""
    labels = ["entailment", "non-entailment"]
    heuristics = ["constituent", "lexical_overlap", "subsequence"]
    write_hans(tmp_path, [(label, one, f"{one}_{label}") for one in heuristics for label in labels for _ in range(2)])
    one = hans_set(tmp_path)
    answers = one.answers(np.tile([0.0, 5.0, 0.0], (12, 1)))
    assert 0.5 == one.score("accuracy", answers).value
    cells = {g.value: one.score_group(g, answers).value for g in one.groups() if g.group == "heuristic x label"}
    assert {f"{h} x {label}": float(label == "entailment") for h in heuristics for label in labels} == cells
    assert [2] * 6 == [len(g.rows) for g in one.groups() if g.group == "subcase"]
    assert (
        "the best of the model's labels first, then merged (argmax); contradiction and neutral count as non-entailment"
        == one.convention
    )


def test_the_published_answers_to_hans_have_their_published_scores(shared_data: Path, tmp_path: Path) -> None:
    """54.80 in all and the six cells that stand beside the data; 30 subcases of 1,000 rows."""
    source = shared_data / "tasks" / "hans"
    task = inference_task(tmp_path)
    rows = read_set(task, "hans", source / "eval.jsonl.gz")
    one = scored_set(task, LabelMap("classification", INFERENCE), "hans", rows)
    with gzip.open(source / "reference_bert_predictions.jsonl.gz", "rt") as lines:
        said = [json.loads(line)["prediction"] for line in lines]
    answers = np.array([int(word != "entailment") for word in said])
    assert pytest.approx(0.5480, abs=5e-5) == one.score("accuracy", answers).value
    found = {g.value: round(100 * float(one.score_group(g, answers).value or 0), 1) for g in one.groups()}
    expected = {"lexical_overlap": (94.6, 16.4), "subsequence": (99.3, 3.9), "constituent": (98.4, 16.1)}
    for heuristic, (yes, no) in expected.items():
        assert (yes, no) == (found[f"{heuristic} x entailment"], found[f"{heuristic} x non-entailment"])
    assert [1000] * 30 == [len(g.rows) for g in one.groups() if g.group == "subcase"]


@pytest.mark.parametrize(
    ("model", "merge", "words"),
    [
        (
            ("no", "yes"),
            "argmax",
            "none of the model's becomes entailment, non-entailment; score this set with another",
        ),
        (("entailment", "maybe"), "drop", "none of the model's becomes non-entailment"),
        ((*INFERENCE, "unsure"), "argmax", "unsure has no counterpart, and `merge: argmax` needs one; `merge: wrong`"),
        ((*INFERENCE, "unsure"), "sum", "unsure has no counterpart"),
    ],
)
def test_labels_that_do_not_become_the_sets_are_refused(model: tuple[str, ...], merge: str, words: str) -> None:
    """Before any training, with both lists of labels."""
    with pytest.raises(InputError) as caught:
        checked_counterparts(model, HANS.layout.labels, HANS.becomes, merge=merge, what="set hans")
    assert words in str(caught.value)
    assert f"the model's labels are {', '.join(model)}" in str(caught.value)


def test_two_labels_of_inference_become_hans_s_too() -> None:
    """A model of RTE says not_entailment where HANS says non-entailment."""
    model = ("entailment", "not_entailment")
    places = checked_counterparts(model, HANS.layout.labels, HANS.becomes, merge="argmax", what="hans")
    assert [0, 1] == places.tolist()
    said = convention(model, HANS.layout.labels, places, "argmax")
    assert said.endswith("; not_entailment counts as non-entailment")


def test_only_classification_has_labels_that_become_others(tmp_path: Path) -> None:
    """A regression cannot be scored on HANS."""
    task = catalogue.locate("stsb", train=tmp_path / "t", sets={"dev": tmp_path / "d"})
    with pytest.raises(InputError, match=r"task stsb: a set of hans \(classification\) cannot be scored"):
        catalogue.form_of(task, "hans")


def test_columns_of_groups_are_asked_for(tmp_path: Path) -> None:
    """One that is missing is named, one with a value for each row an id and refused, what no record holds told."""
    write_hans(tmp_path, [("entailment", f"h{n}", "s") for n in range(501)])
    with pytest.raises(DataError, match=r"column 'heuristic' of `groups` has 501 values, at most 500"):
        hans_set(tmp_path)
    with pytest.raises(DataError, match="no column 'genre'"):
        hans_set(tmp_path, groups=("genre",))
    assert ["s"] == [group.value for group in hans_set(tmp_path, groups=("subcase",)).groups()]
    write_hans(tmp_path, [("entailment", "h", "half \ud800")])
    with pytest.raises(DataError, match=r"row 1: column 'subcase' holds half a character at place 5"):
        hans_set(tmp_path, groups=("subcase",))


def own_task(folder: Path, **changes: Any) -> tuple[Task, ScoredSet]:
    """Return a task with columns site and doc, and its set."""
    changes = {"kind": "classification", "metrics": ("f1", "accuracy"), "positive": "yes", **changes}
    task = Task("t", text=("text",), label="label", train=folder / "a", sets={"dev": folder / "dev.csv"}, **changes)
    labels = LabelMap(task.kind, None if task.kind == "regression" else ("no", "yes"))
    return task, scored_set(task, labels, "dev", read_set(task, "dev"))


def test_groups_take_the_headline_metric_and_accuracy_within_a_label(tmp_path: Path) -> None:
    """F1 by site; within one gold label F1 says little, so that is accuracy."""
    (tmp_path / "dev.csv").write_text("text,label,site\na,yes,n\nb,no,n\nc,yes,s\nd,no,s\n")
    _, one = own_task(tmp_path, groups=("site", "site x label"))
    answers = np.array([1, 1, 0, 0])
    found = {(g.metric, g.value): one.score_group(g, answers).value for g in one.groups()}
    expected = {("f1", "n"): pytest.approx(2 / 3), ("f1", "s"): 0.0}
    expected |= {
        ("accuracy", f"{site} x {label}"): float((site == "n") == (label == "yes"))
        for site in "ns"
        for label in ("yes", "no")
    }
    assert expected == found


def test_the_label_is_no_group_of_a_regression(tmp_path: Path) -> None:
    """Every number would be a group of its own."""
    (tmp_path / "dev.csv").write_text("text,label\na,1.5\n")
    with pytest.raises(DataError, match="labels of a regression are numbers"):
        own_task(tmp_path, kind="regression", metrics=("spearman",), positive=None, groups=("label",))


def test_a_documents_labels_are_those_of_all_its_rows(tmp_path: Path) -> None:
    """By hand: document 1 has {yes} and is given {yes, no}, document 2 has {no} and is given {}: F1 2 / (2 + 2)."""
    (tmp_path / "dev.csv").write_text("text,label,doc\na,yes,1\nb,,2\nc,,1\nd,no,2\n")
    changes: dict[str, Any] = {"kind": "multi-label", "metrics": ("micro_f1", "document_micro_f1"), "positive": None}
    _, one = own_task(tmp_path, documents="doc", **changes)
    answers = np.array([[1, 0], [0, 0], [0, 1], [0, 0]], dtype=np.float32)
    assert 0.5 == one.score("document_micro_f1", answers).value
    assert [[0, 1], [1, 0]] == one.compared("document_micro_f1", one.gold).tolist()
    assert 2 == one.documents
    with pytest.raises(InputError, match="needs `documents`, the column that tells which document"):
        own_task(tmp_path, **changes)


def test_real_documents_are_counted(shared_data: Path) -> None:
    """HoC's 186 and 371 documents; the score of documents is scikit-learn's on the union of rows."""
    task = catalogue.locate("hoc", shared_data / "tasks" / "hoc")
    labels = LabelMap("multi-label", tuple(sorted(task.layout.labels)))
    found = {name: scored_set(task, labels, name, read_set(task, name)) for name in task.sets}
    assert {"dev": 186, "test": 371} == {name: one.documents for name, one in found.items()}
    one = found["dev"]
    answers = np.roll(one.gold, 1, axis=0)
    columns = {doc: np.flatnonzero([d == doc for d in one.rows.columns["doc"]]) for doc in set(one.rows.columns["doc"])}
    gold, given = ([array[rows].max(axis=0) for rows in columns.values()] for array in (one.gold, answers))
    expected = sklearn.metrics.f1_score(np.array(gold), np.array(given), average="micro")
    assert pytest.approx(expected) == one.score("document_micro_f1", answers).value


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("qqp", "paws"),
        ("mrpc", "paws"),
        ("mrpc", "qqp"),
        ("snli", "rte"),
        ("mnli", "snli"),
        ("mnli", "wnli"),
        ("mnli", "hans"),
        ("fever", "fever-symmetric"),
        ("mnli", "cb"),
    ],
)
def test_kin_tasks_can_be_scored_on_each_other(model: str, known: str) -> None:
    """Each label of one becomes one of the other, but for FEVER's third."""
    own = catalogue.CATALOGUE[known]
    words = tuple(sorted(catalogue.CATALOGUE[model].layout.labels))
    places = checked_counterparts(words, own.layout.labels, own.becomes, merge=own.merge, what=known)
    assert Counter({-1: int(known == "fever-symmetric")}) == Counter({-1: int((places < 0).sum())})
