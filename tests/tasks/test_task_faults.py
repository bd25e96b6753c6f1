"""What a task refuses, counts or finds undefined, and second opinions on its layout, scores and real files."""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import tokenizers
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.errors import DataError, Diverged
from bertwright.tasks import catalogue
from bertwright.tasks.batches import TrainBatches, encode
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.metrics import METRICS, decide, floor
from bertwright.tasks.readers import Rows, read, read_rows
from bertwright.tasks.statistics import compare
from bertwright.tasks.task import Task
from bertwright.training.order import Place

# Labels of the training files and of the first scored set, as the notes beside the data count them.
COUNTS = {
    "rte": ({"entailment": 1249, "not_entailment": 1241}, {"entailment": 146, "not_entailment": 131}),
    "mrpc": ({"equivalent": 2474, "not_equivalent": 1194}, {"equivalent": 279, "not_equivalent": 129}),
    "cola": ({"acceptable": 6023, "unacceptable": 2528}, {"acceptable": 721, "unacceptable": 322}),
    "trec": (
        {"ENTY": 1250, "HUM": 1223, "DESC": 1162, "NUM": 896, "LOC": 835, "ABBR": 86},
        {"DESC": 138, "NUM": 113, "ENTY": 94, "LOC": 81, "HUM": 65, "ABBR": 9},
    ),
}


class Words:
    """A tokenizer whose tokens are words of a closed vocabulary."""

    cls_id, sep_id, pad_id = 1, 2, 0

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Return a number a word."""
        return [[3 + int(word) for word in text.split()] for text in texts]


def rows_of(path: Path, content: bytes, kind: str = "classification", **changes: str) -> Rows:
    """Write a file with columns text and label, and read it."""
    path.write_bytes(content)
    return read(path, text=["text"], label="label", kind=kind, **changes)


@pytest.mark.parametrize(("name", "parting"), [("a.csv", ","), ("a.tsv", "\t")])
def test_blank_lines_are_no_rows(tmp_path: Path, name: str, parting: str) -> None:
    """A blank line inside or at the end of a csv or tsv file holds nothing and is passed over, as in jsonl."""
    content = "text,label\na,x\n\nb,y\n\n".replace(",", parting).encode()
    assert ("x", "y") == rows_of(tmp_path / name, content).labels


@pytest.mark.parametrize(
    ("kind", "row", "words"),
    [
        ("classification", b'{"text": "a", "label": ["x", "y"]}', "expected one label"),
        ("classification", b'{"text": "a", "label": {"x": 1}}', "expected one label"),
        ("multi-label", b'{"text": "a", "label": [null, "x"]}', "a list of labels, none of them empty"),
        ("regression", b'{"text": "a", "label": ' + b"9" * 400 + b"}", "too large"),
        ("regression", b'{"text": "a", "label": NaN}', "is empty"),
        ("regression", b'{"text": "a", "label": Infinity}', "not a finite number"),
        ("classification", b'{"text": "a\\ud800b", "label": "x"}', "half a character at place 1"),
        ("classification", b'{"text": "a", "label": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
    ],
)
def test_odd_values_are_told_with_their_row(tmp_path: Path, kind: str, row: bytes, words: str) -> None:
    """No value becomes a label, a number or a text by being printed; file and row are named."""
    with pytest.raises(DataError) as caught:
        rows_of(tmp_path / "a.jsonl", b'\n{"text": "a", "label": 1}\n' + row + b"\n", kind)
    assert words in str(caught.value)
    assert "a.jsonl, row 3" in str(caught.value)


def test_the_word_for_no_label_also_counts_in_a_list(tmp_path: Path) -> None:
    """`none_label` is no label, whether it stands alone or in a list."""
    content = b'{"text": "a", "label": ["none"]}\n{"text": "b", "label": ["x"]}\n{"text": "c", "label": "none"}\n'
    assert ((), ("x",), ()) == rows_of(tmp_path / "a.jsonl", content, "multi-label", none_label="none").labels


def test_zstd_is_read_like_gzip(tmp_path: Path) -> None:
    """Both packed forms hold the same rows."""
    content = b"text,label\na,x\n"
    one = rows_of(tmp_path / "a.csv.zst", zstandard.compress(content))
    two = rows_of(tmp_path / "a.csv.gz", gzip.compress(content))
    assert (one.texts, one.labels) == (two.texts, two.labels) == ((("a",),), ("x",))


def test_a_positive_label_that_is_not_there_is_refused_before_work(tmp_path: Path) -> None:
    """Reading the training file names the labels there are; a scored set may lack the positive label."""
    train, dev = tmp_path / "train.csv", tmp_path / "dev.csv"
    train.write_text("text,label\na,0\nb,1\n")
    dev.write_text("text,label\na,0\n")
    common = {"name": "t", "kind": "classification", "text": ("text",), "label": "label", "metrics": ("f1",)}
    wrong = Task(train=train, sets={"dev": dev}, positive="equivalent", **common)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"train\.csv.*'equivalent' of task t is in no training row \(found: 0, 1\)"):
        read_rows(wrong, train)
    right = Task(train=train, sets={"dev": dev}, positive="1", **common)  # type: ignore[arg-type]
    assert (2, 1) == (len(read_rows(right, train)), len(read_rows(right, dev)))


def test_a_known_task_takes_one_file_a_part(tmp_path: Path) -> None:
    """Packed files are found; of two files for one part none is chosen silently; a missing one lists what is there."""
    (tmp_path / "train.tsv.gz").touch()
    with pytest.raises(DataError, match=r"no file dev .*\(found: train\.tsv\.gz\)"):
        catalogue.locate("rte", tmp_path)
    (tmp_path / "dev.jsonl.zst").touch()
    assert tmp_path / "train.tsv.gz" == catalogue.locate("rte", tmp_path).train
    (tmp_path / "dev.jsonl").touch()
    with pytest.raises(DataError, match=r"has dev\.jsonl, dev\.jsonl\.zst, expected one file dev"):
        catalogue.locate("rte", tmp_path)


def test_a_folder_that_is_a_file_is_told_so(tmp_path: Path) -> None:
    """It is there, and no folder."""
    (tmp_path / "train.tsv").touch()
    with pytest.raises(DataError, match=r"train\.tsv is a file, and `folder` is where its files are; name "):
        catalogue.locate("rte", tmp_path / "train.tsv")


def test_a_known_task_without_training_rows_is_one_of_sets(tmp_path: Path) -> None:
    """Nobody finds a train file that was never published; where there is one it is taken."""
    with pytest.raises(DataError, match=r"task ax: it has no training rows of its own.*`sets` of another task"):
        catalogue.locate("ax", tmp_path)
    for name in ("train.tsv", "dev.jsonl", "test.jsonl"):
        (tmp_path / name).touch()
    assert tmp_path / "train.tsv" == catalogue.locate("fever-symmetric", tmp_path).train


@pytest.mark.parametrize("kind", ["classification", "multi-label", "regression"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_logit_that_is_no_number_is_never_an_answer(kind: str, bad: float) -> None:
    """A model that overflowed is told, with how many rows; arg-max would have called them class 0."""
    with pytest.raises(Diverged, match="not finite for 1 of 2 rows"):
        decide(np.array([[0.0, 1.0], [bad, 1.0]]), kind)


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_correlation_with_what_is_no_number_is_undefined(metric: str, bad: float) -> None:
    """Never NaN: no value, and the reason."""
    found = METRICS[metric].compute(np.array([1.0, 2.0, 3.0]), np.array([bad, 1.0, 2.0]), None)
    assert found.value is None
    assert "not finite" in str(found.note)


def test_a_label_nobody_has_is_noted_in_macro_f1() -> None:
    """A label of a multi-label set without rows or predictions counts 0 as in scikit-learn, and that is said."""
    answers = np.array([[1, 0], [1, 0]])
    found = METRICS["macro_f1"].compute(answers, answers, None)
    assert 0.5 == found.value
    assert "1 label(s) in no row" in str(found.note)
    assert METRICS["macro_f1"].compute(np.eye(2), np.eye(2), None).note is None


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=40),
)
def test_counted_metrics_agree_with_scikit_learn_for_any_classes(rows: list[tuple[int, int]]) -> None:
    """Macro F1 and Matthews of up to five classes, some of which only one side knows."""
    gold, predicted = (np.array(column) for column in zip(*rows, strict=True))
    macro = sklearn.metrics.f1_score(gold, predicted, average="macro", zero_division=0.0)
    assert pytest.approx(macro) == METRICS["macro_f1"].compute(gold, predicted, None).value
    if len(set(gold)) > 1:
        matthews = sklearn.metrics.matthews_corrcoef(gold, predicted)
        assert pytest.approx(matthews, abs=1e-12) == METRICS["matthews"].compute(gold, predicted, None).value


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(3, 60), digits=st.integers(0, 3))
def test_correlations_agree_with_scipy_where_scores_tie(seed: int, size: int, digits: int) -> None:
    """Rounded fp32 scores, as a regression head gives them, tie; ties share their ranks."""
    generator = np.random.default_rng(seed)
    gold = np.round(generator.normal(size=size), digits).astype(np.float32)
    predicted = np.round(gold + generator.normal(size=size), digits).astype(np.float32)
    if np.ptp(gold) and np.ptp(predicted):
        rank = scipy.stats.spearmanr(gold, predicted)[0]
        assert pytest.approx(rank, abs=1e-9) == METRICS["spearman"].compute(gold, predicted, None).value
        line = scipy.stats.pearsonr(gold.astype(float), predicted.astype(float))[0]
        assert pytest.approx(line, abs=1e-9) == METRICS["pearson"].compute(gold, predicted, None).value


@pytest.mark.parametrize("metric", ["matthews", "macro_f1"])
def test_a_comparison_of_three_seeds_takes_seconds(metric: str) -> None:
    """3 seeds x 3,500 rows at the default number of samples: under 4 s of processor time, so that a report is cheap."""
    generator = np.random.default_rng(0)
    gold = generator.integers(0, 2, 3500)
    first, second = ([np.where(generator.random(3500) < p, gold, 1 - gold) for _ in range(3)] for p in (0.9, 0.8))
    start = time.process_time()
    found = compare(gold, first, second, metric=metric)
    assert time.process_time() - start < 4.0
    assert found is not None and found.clear and found.samples == 1000


@settings(max_examples=60, deadline=None)
@given(first=st.integers(0, 12), second=st.integers(0, 12), room=st.integers(4, 20), separators=st.sampled_from([1, 2]))
def test_pairs_are_laid_out_and_cut_as_tokenizers_does(first: int, second: int, room: int, separators: int) -> None:
    """The same ids and segments as the `tokenizers` library's longest-first truncation, also where parts tie."""
    vocabulary = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2} | {str(n): 3 + n for n in range(30)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[PAD]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair=f"[CLS]:0 $A:0 [SEP]:0 {'[SEP]:1 ' * (separators - 1)}$B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    backend.enable_truncation(room, strategy="longest_first")
    pair = (" ".join(map(str, range(first))), " ".join(map(str, range(12, 12 + second))))
    expected = backend.encode(*pair)
    found = encode([pair], np.zeros(1), Words(), max_length=room, separators=separators)
    assert (expected.ids, expected.type_ids) == (found.ids[0].tolist(), found.segments[0].tolist())


def test_batches_depend_on_seed_and_step_alone() -> None:
    """Steps asked for in any order, by another object, are the same; another seed or epoch has another order."""
    encoded = encode([("1 " * (1 + n % 9),) for n in range(50)], np.arange(50), Words(), max_length=16)

    def order(seed: int, steps: list[int]) -> dict[int, list[int]]:
        batches = TrainBatches(encoded, batch=8, micro_batch=3, seed=seed)
        return {n: [row for part in batches.step(Place(n), 0, 1) for row in part["labels"].tolist()] for n in steps}

    forward, backward = order(1, list(range(21))), order(1, list(range(20, -1, -1)))
    assert forward == backward
    assert forward != order(2, list(range(21)))
    assert [forward[n] for n in range(7)] != [forward[n] for n in range(7, 14)]


@pytest.mark.parametrize("name", list(COUNTS))
def test_known_tasks_have_the_published_labels(shared_data: Path, name: str) -> None:
    """Every label occurs as often as the notes beside the data say."""
    task = catalogue.locate(name, shared_data / "tasks" / name)
    found = [Counter(read_rows(task, path).labels) for path in (task.train, next(iter(task.sets.values())))]
    assert list(COUNTS[name]) == [dict(one) for one in found]


def test_constant_answers_on_real_sets(shared_data: Path) -> None:
    """CoLA 69.13 and Matthews 0; STS-B undefined; HoC's rows without a label 74.36 % as published."""
    floors = {}
    for name in ("cola", "stsb", "hoc"):
        task = catalogue.locate(name, shared_data / "tasks" / name)
        labels = LabelMap.from_rows(read_rows(task, task.train), task.kind)
        gold = labels.numbers(read_rows(task, task.sets["dev"]))
        floors[name] = {metric: floor(gold, task.kind, metric, None).value for metric in task.metrics}
        if name == "hoc":
            assert pytest.approx(0.7436, abs=5e-5) == float((gold.sum(axis=1) == 0).mean())
            every = sklearn.metrics.f1_score(gold, np.ones_like(gold), average="micro")
            assert pytest.approx(every) == floors["hoc"]["micro_f1"]
    assert {"matthews": 0.0, "accuracy": pytest.approx(0.6913, abs=5e-5)} == floors["cola"]
    assert {"spearman": None, "pearson": None} == floors["stsb"]


def test_ids_of_the_file_are_kept(tmp_path: Path) -> None:
    """Rows carry the file's own ids, or their number."""
    rows = [{"id": f"q{n}", "text": "a", "label": "x"} for n in (7, 3)]
    content = "\n".join(json.dumps(row) for row in rows).encode()
    assert ("q7", "q3") == rows_of(tmp_path / "a.jsonl", content).ids
    assert ("1", "2") == rows_of(tmp_path / "a.csv", b"text,label\na,x\nb,y\n").ids
