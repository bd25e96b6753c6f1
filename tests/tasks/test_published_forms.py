"""Every form in which known tasks are published gives the same rows, and what is no row of theirs is told."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bertwright.errors import DataError, InputError
from bertwright.tasks import catalogue
from bertwright.tasks.layout import Layout
from bertwright.tasks.readers import Rows, read, read_rows
from bertwright.tasks.task import Task
from bertwright.tasks.texts import text_columns

MARK = "\ufeff"
INFERENCE = ["entailment", "neutral", "contradiction"]
PARSES = "\t".join(f"{name}_{kind}" for kind in ("binary_parse", "parse") for name in ("sentence1", "sentence2"))


def read_known(name: str, path: Path, label: bool = True) -> Rows:
    """Read one file as a known task's."""
    known = catalogue.CATALOGUE[name]
    return read(
        path,
        text=known.text,
        label=known.label if label else None,
        kind=known.kind,
        none_label=known.none_label,
        layout=known.layout,
    )


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as the hub does."""
    pq.write_table(pa.Table.from_pylist(rows), path)


# Known task, name of the file, its content, its texts and its labels. The quirks are the publishers' own.
TSV: list[tuple[str, str, str, list[tuple[str, ...]], list[str | float]]] = [
    (
        "cola",
        "train.tsv",
        'gj04\t1\t\tHe said "no.\nbc01\t0\t*\tThe a dog ran.\n',
        [('He said "no.',), ("The a dog ran.",)],
        ["acceptable", "unacceptable"],
    ),
    (
        "sst2",
        "train.tsv",
        "sentence\tlabel\nfine film \t1\ndull \t0\n",
        [("fine film ",), ("dull ",)],
        ["positive", "negative"],
    ),
    (
        "mrpc",
        "train.tsv",
        MARK
        + 'Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tHe said " yes .\tYes , he said .\n0\t9\t10\ta\tb\n',
        [('He said " yes .', "Yes , he said ."), ("a", "b")],
        ["equivalent", "not_equivalent"],
    ),
    (
        "mrpc",
        "msr_paraphrase_train.txt",
        MARK + "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t7\t8\ta\tb\n",
        [("a", "b")],
        ["not_equivalent"],
    ),
    (
        "stsb",
        "dev.tsv",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
        '0\tmain\tx\t2012test\t0000\tnone\tnone\tA "man\tA boy\t4.750\n',
        [('A "man', "A boy")],
        [4.75],
    ),
    (
        "qqp",
        "train.tsv",
        'id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n133\t1\t2\tWhy?\t"How?\t1\n134\t3\n135\t3\t4\ta\tb\t0\n',
        [("Why?", '"How?'), ("a", "b")],
        ["duplicate", "not_duplicate"],
    ),
    (
        "mnli",
        "train.tsv",
        f"index\tpromptID\tpairID\tgenre\t{PARSES}\tsentence1\tsentence2\tlabel1\tgold_label\n"
        "0\t31\t31n\tgov\t(\t(\t(\t(\ta\tb\tneutral\tneutral\n",
        [("a", "b")],
        ["neutral"],
    ),
    (
        "mnli",
        "dev_matched.tsv",
        f"index\tpromptID\tpairID\tgenre\t{PARSES}\tsentence1\tsentence2\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\t"
        "gold_label\n0\t3\t3c\tgov\t(\t(\t(\t(\ta\tb\tneutral\tneutral\tneutral\tneutral\tneutral\tcontradiction\n",
        [("a", "b")],
        ["contradiction"],
    ),
    (
        "qnli",
        "dev.tsv",
        "index\tquestion\tsentence\tlabel\n5\tWhat?\tThat.\tnot_entailment\n",
        [("What?", "That.")],
        ["not_entailment"],
    ),
    ("rte", "dev.tsv", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n", [("a", "b")], ["entailment"]),
    (
        "wnli",
        "dev.tsv",
        "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t0\n1\tc\td\t1\n",
        [("a", "b"), ("c", "d")],
        ["not_entailment", "entailment"],
    ),
    (
        "ax",
        "diagnostic-full.tsv",
        "Domain\tPremise\tHypothesis\tLabel\nNews\ta\tb\tneutral\n",
        [("a", "b")],
        ["neutral"],
    ),
    (
        "hans",
        "heuristics_evaluation_set.txt",
        f"gold_label\t{PARSES}\tsentence1\tsentence2\tpairID\theuristic\tsubcase\ttemplate\n"
        "non-entailment\t(\t(\t(\t(\tThe cat .\tThe dog .\tex0\tlexical_overlap\tln_s\ttemp1\n",
        [("The cat .", "The dog .")],
        ["non-entailment"],
    ),
    (
        "snli",
        "snli_1.0_dev.txt",
        f"gold_label\t{PARSES}\tsentence1\tsentence2\tcaptionID\tpairID\tlabel1\n"
        "-\t(\t(\t(\t(\tx\ty\t1\t1n\tneutral\nneutral\t(\t(\t(\t(\ta\tb\t2\t2n\tneutral\n",
        [("a", "b")],
        ["neutral"],
    ),
    (
        "paws",
        "dev.tsv",
        "id\tsentence1\tsentence2\tlabel\n1\ta\tb\t0\n2\tc\td\t1\n",
        [("a", "b"), ("c", "d")],
        ["not_paraphrase", "paraphrase"],
    ),
    (
        "ag_news",
        "train.csv",
        '"4","Title","It ""works"", they say."\n"1","T","War"\n',
        [('It "works", they say.',), ("War",)],
        ["Sci/Tech", "World"],
    ),
    ("ag_news", "test.csv", "Class Index,Title,Description\n4,T,It works.\n", [("It works.",)], ["Sci/Tech"]),
    (
        "medical_abstracts",
        "medical_tc_test.csv",
        'condition_label,medical_abstract\n1,"a, b"\n5,c\n',
        [("a, b",), ("c",)],
        ["neoplasms", "general pathological conditions"],
    ),
]

HUB: list[tuple[str, list[dict[str, Any]], list[str | float]]] = [
    ("cola", [{"sentence": "a", "label": n, "idx": n} for n in (0, 1)], ["unacceptable", "acceptable"]),
    ("sst2", [{"sentence": "a", "label": n, "idx": n} for n in (0, 1)], ["negative", "positive"]),
    (
        "mrpc",
        [{"sentence1": "a", "sentence2": "b", "label": n, "idx": n} for n in (0, 1)],
        ["not_equivalent", "equivalent"],
    ),
    ("stsb", [{"sentence1": "a", "sentence2": "b", "label": 2.5, "idx": 0}], [2.5]),
    ("qqp", [{"question1": "a", "question2": "b", "label": n} for n in (0, 1)], ["not_duplicate", "duplicate"]),
    ("mnli", [{"premise": "a", "hypothesis": "b", "label": n} for n in (0, 1, 2)], INFERENCE),
    ("qnli", [{"question": "a", "sentence": "b", "label": n} for n in (0, 1)], ["entailment", "not_entailment"]),
    ("rte", [{"sentence1": "a", "sentence2": "b", "label": n} for n in (0, 1)], ["entailment", "not_entailment"]),
    ("rte", [{"premise": "a", "hypothesis": "b", "label": n} for n in (0, 1)], ["entailment", "not_entailment"]),
    ("wnli", [{"sentence1": "a", "sentence2": "b", "label": n} for n in (0, 1)], ["not_entailment", "entailment"]),
    ("ax", [{"premise": "a", "hypothesis": "b", "label": n} for n in (0, 1, 2)], INFERENCE),
    ("snli", [{"premise": "a", "hypothesis": "b", "label": n} for n in (2, -1, 0)], ["contradiction", "entailment"]),
    ("hans", [{"premise": "a", "hypothesis": "b", "label": n} for n in (0, 1)], ["entailment", "non-entailment"]),
    (
        "paws",
        [{"id": n, "sentence1": "a", "sentence2": "b", "label": n} for n in (0, 1)],
        ["not_paraphrase", "paraphrase"],
    ),
    ("boolq", [{"question": "a", "passage": "b", "label": n} for n in (0, 1)], ["false", "true"]),
    (
        "cb",
        [{"premise": "a", "hypothesis": "b", "label": n} for n in (0, 1, 2)],
        ["entailment", "contradiction", "neutral"],
    ),
    (
        "trec",
        [{"text": "a", "coarse_label": n, "fine_label": 40} for n in (0, 1, 2, 5)],
        ["ABBR", "ENTY", "DESC", "NUM"],
    ),
    (
        "trec",
        [{"text": "a", "label-coarse": n, "label-fine": 0} for n in (0, 1, 2, 5)],
        ["DESC", "ENTY", "ABBR", "LOC"],
    ),
    ("ag_news", [{"text": "a", "label": n} for n in (0, 1, 2, 3)], ["World", "Sports", "Business", "Sci/Tech"]),
]

JSONL: list[tuple[str, dict[str, Any], tuple[str, ...], str]] = [
    ("boolq", {"question": "is it", "passage": "It is.", "idx": 3, "label": True}, ("is it", "It is."), "true"),
    ("cb", {"premise": "a", "hypothesis": "b", "label": "contradiction", "idx": 3}, ("a", "b"), "contradiction"),
    ("rte", {"premise": "a", "hypothesis": "b", "label": "not_entailment", "idx": 3}, ("a", "b"), "not_entailment"),
    (
        "wic",
        {"word": "place", "sentence1": "Put it in place.", "sentence2": "A place.", "idx": 3, "label": False}
        | {"start1": 10, "start2": 2, "end1": 15, "end2": 7, "version": 1.1},
        ("place: Put it in place.", "A place."),
        "false",
    ),
    ("mnli", {"gold_label": "neutral", "sentence1": "a", "sentence2": "b", "pairID": "3"}, ("a", "b"), "neutral"),
    ("fever", {"claim": "c", "evidence": "e", "gold_label": "NOT ENOUGH INFO", "id": 3}, ("c", "e"), "NOT ENOUGH INFO"),
    (
        "fever-symmetric",
        {"id": 3, "claim": "c", "evidence_sentence": "e", "label": "REFUTES"},
        ("c", "e"),
        "REFUTES",
    ),
]


@pytest.mark.parametrize(("name", "file", "content", "texts", "labels"), TSV, ids=[f"{c[0]}-{c[1]}" for c in TSV])
def test_official_tables_are_read(
    tmp_path: Path, name: str, file: str, content: str, texts: list[tuple[str, ...]], labels: list[str | float]
) -> None:
    """Marks before the header, quotes that are none, index columns, no header, digits for words."""
    (tmp_path / file).write_text(content, encoding="utf-8")
    rows = read_known(name, tmp_path / file)
    assert (tuple(texts), tuple(labels)) == (rows.texts, rows.labels)


@pytest.mark.parametrize(("name", "rows", "labels"), HUB, ids=[f"{c[0]}-{n}" for n, c in enumerate(HUB)])
def test_hub_parquet_is_read(tmp_path: Path, name: str, rows: list[dict[str, Any]], labels: list[str | float]) -> None:
    """Whole numbers become the words that the hub's own files give them, which differ from task to task."""
    parquet(tmp_path / "train-00000-of-00001.parquet", rows)
    assert tuple(labels) == read_known(name, tmp_path / "train-00000-of-00001.parquet").labels


@pytest.mark.parametrize(("name", "row", "texts", "label"), JSONL, ids=[c[0] for c in JSONL])
def test_official_jsonl_is_read(
    tmp_path: Path, name: str, row: dict[str, Any], texts: tuple[str, ...], label: str
) -> None:
    """SuperGLUE's and FEVER's rows, with their own names of columns, and their ids."""
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    rows = read_known(name, tmp_path / "train.jsonl")
    assert ((texts,), (label,), ("3",)) == (rows.texts, rows.labels, rows.ids)


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("cola", "index\tsentence\n0\tBill left.\n", ("Bill left.",)),
        ("mrpc", "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\ta\tb\n", ("a", "b")),
        ("ax", "index\tsentence1\tsentence2\n0\ta\tb\n", ("a", "b")),
    ],
)
def test_files_without_labels_are_read_as_texts(
    tmp_path: Path, name: str, content: str, texts: tuple[str, ...]
) -> None:
    """GLUE's test files have an index and no label, and other columns than the training files."""
    (tmp_path / "test.tsv").write_text(content)
    rows = read_known(name, tmp_path / "test.tsv", label=False)
    assert ((texts,), (), ("0",)) == (rows.texts, rows.labels, rows.ids)


def test_what_is_not_read_is_counted(tmp_path: Path) -> None:
    """Rows without a label, broken rows, absent headers, semicolons, treebank marks: each is noted with its file."""
    (tmp_path / "a.jsonl").write_text(
        '{"sentence1": "a", "sentence2": "b", "gold_label": "-"}\n' * 2
        + '{"sentence1": "a", "sentence2": "b", "gold_label": "neutral"}\n'
    )
    assert ("a.jsonl: 2 row(s) without a label, left out (2 with '-' in place of one)",) == read_known(
        "snli", tmp_path / "a.jsonl"
    ).notes
    (tmp_path / "q.tsv").write_text("question1\tquestion2\tis_duplicate\na\tb\t1\nc\n")
    assert ("q.tsv: 1 broken row(s) without the header's number of cells, left out",) == read_known(
        "qqp", tmp_path / "q.tsv"
    ).notes
    (tmp_path / "c.tsv").write_text("gj04\t1\t\tHe left.\n")
    assert ("c.tsv: it has no header; its columns were taken to be source, label, mark, sentence",) == read_known(
        "cola", tmp_path / "c.tsv"
    ).notes
    (tmp_path / "s.csv").write_text(MARK + "text;label\na, b;x\nc;y\n", encoding="utf-8")
    rows = read(tmp_path / "s.csv", text=["text"], label="label", kind="classification")
    assert ((("a, b",), ("c",)), ("x", "y")) == (rows.texts, rows.labels)
    assert ("s.csv: its cells are parted by semicolons, and were read so",) == rows.notes
    row = {"claim": "plain", "evidence": "X -LRB- `` y '' -LSB-z-RSB- -RRB- -COLON- -LCB- -RCB-", "label": "SUPPORTS"}
    (tmp_path / "f.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({**row, "evidence": "y"}) + "\n")
    found = read_known("fever", tmp_path / "f.jsonl")
    assert ("plain", 'X ( " y " [z] ) : { }') == found.texts[0]
    assert ("f.jsonl: 1 row(s) had treebank marks such as -LRB-",) == tuple(n.split(", which")[0] for n in found.notes)


def test_a_file_of_known_form_has_no_notes(tmp_path: Path) -> None:
    """Nothing is said where nothing was done."""
    (tmp_path / "a.csv").write_text("text,label\na;b,x\n")
    assert () == read(tmp_path / "a.csv", text=["text"], label="label", kind="classification").notes


def test_texts_that_are_numbers_are_noted(tmp_path: Path) -> None:
    """A csv cell is text whatever stands in it; where every one is a number, the column is most likely wrong."""
    (tmp_path / "a.csv").write_text("id,text,label\n1,12,x\n2,3.5,y\n")
    rows = read(tmp_path / "a.csv", text=["text"], label="label", kind="classification")
    assert ("a.csv: every text in 'text' is a number; is that the column with the text?",) == rows.notes


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "rte",
            '{"sentence1": "a", "sentence2": "b", "label": "maybe"}',
            "the label 'maybe', which is none of this task's (entailment, not_entailment, 0, 1)",
        ),
        ("rte", '{"sentence1": "a", "sentence2": "b", "label": 2}', "the label 2, which is none of"),
        ("rte", '{"sentence1": "a", "sentence2": "b", "label": -1}', "the label -1, which is none of"),
        ("rte", '{"text1": "a", "sentence2": "b", "label": 1}', "no column 'sentence1' (nor premise); did you mean"),
        (
            "stsb",
            '{"sentence1": "a", "sentence2": "b", "label": -1.0}',
            "label -1.0 is not a score of this task, which are from 0 to 5",
        ),
        (
            "snli",
            '{"premise": "a", "hypothesis": "b", "label": -1}',
            "has no rows that have a label (1 with '-1' in place of one)",
        ),
        ("hoc", '{"sentence": "a", "labels": ["growth"], "doc": "1"}', "the label 'growth', which is none of"),
        ("trec", '{"text": "a", "coarse_label": 6}', "column 'coarse_label' holds the label 6"),
        ("wic", '{"word": 3, "sentence1": "a", "sentence2": "b", "label": true}', "column 'word' holds 3, not text"),
    ],
)
def test_what_is_none_of_the_tasks_labels_is_refused(tmp_path: Path, name: str, content: str, words: str) -> None:
    """What was found, what was expected, and where."""
    (tmp_path / "a.jsonl").write_text(content + "\n")
    with pytest.raises(DataError) as caught:
        read_known(name, tmp_path / "a.jsonl")
    assert words in str(caught.value)
    assert "a.jsonl" in str(caught.value)


def test_a_broken_row_of_another_task_stays_an_error(tmp_path: Path) -> None:
    """Only QQP's own file is known to have such rows."""
    (tmp_path / "a.tsv").write_text("sentence1\tsentence2\tlabel\na\tb\n")
    with pytest.raises(DataError, match="row 1: found 2 cells, the header has 3"):
        read_known("rte", tmp_path / "a.tsv")


def test_texts_can_be_joined_of_columns(tmp_path: Path) -> None:
    """A pattern names columns in braces; braces in the texts themselves stay; a missing column is named."""
    (tmp_path / "a.csv").write_text("title,body,label\nOne {body},two,x\n")
    path = tmp_path / "a.csv"
    assert (("One {body}: two",),) == read(path, text=["{title}: {body}"], label="label", kind="classification").texts
    assert ("title", "body") == text_columns("{title}: {body}")
    with pytest.raises(DataError, match="no column 'heading'"):
        read(path, text=["{heading} {body}"], label="label", kind="classification")


@pytest.mark.parametrize("name", list(catalogue.CATALOGUE))
def test_what_is_known_of_a_task_survives_its_options(name: str) -> None:
    """Options are plain JSON and give the same task again; other words of labels lead to the task's own."""
    known = catalogue.CATALOGUE[name]
    assert known.layout == Layout.from_options(json.loads(json.dumps(known.layout.options())))
    task = catalogue.locate(name, train=Path("t"), sets={"dev": Path("d")})
    assert task == Task.from_options(json.loads(json.dumps(task.options())), Path("t"), {"dev": Path("d")})
    words = {word for one in known.layout.words.values() for word in one.values()}
    assert words <= set(known.layout.labels)
    assert known.positive is None or known.positive in known.layout.labels
    assert set(known.becomes.values()) <= set(known.layout.labels)


def test_options_of_a_plain_task_are_what_they_were() -> None:
    """A task of one's own has the options, and so the stages, that it had before layouts came."""
    task = Task("t", "classification", ("text",), "label", Path("t"), {}, ("accuracy",))
    expected = {
        "name": "t",
        "kind": "classification",
        "text": ["text"],
        "label": "label",
        "metrics": ["accuracy"],
        "positive": None,
        "none_label": None,
        "label_separator": ";",
    }
    assert expected == task.options()


def write_parts(folder: Path, *names: str) -> None:
    """Make empty files, with the folders that they are in."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("name", "names", "expected"),
    [
        ("mrpc", ["train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"], ["dev"]),
        ("mrpc", ["MRPC/train.tsv", "MRPC/dev.tsv", "MRPC/dev_ids.tsv", "MRPC/msr_paraphrase_train.txt"], ["dev"]),
        ("mnli", ["train.tsv", "dev_matched.tsv", "dev_mismatched.tsv"], ["dev_matched", "dev_mismatched"]),
        (
            "mnli",
            [
                "mnli/train-00000-of-00001.parquet",
                "mnli/validation_matched-00000-of-00001.parquet",
                "mnli/validation_mismatched-00000-of-00001.parquet",
            ],
            ["dev_matched", "dev_mismatched"],
        ),
        (
            "mnli",
            ["multinli_1.0_train.txt", "multinli_1.0_dev_matched.txt", "multinli_1.0_dev_mismatched.txt"],
            ["dev_matched", "dev_mismatched"],
        ),
        ("boolq", ["BoolQ/train.jsonl", "BoolQ/val.jsonl", "BoolQ/test.jsonl"], ["dev"]),
        (
            "snli",
            ["snli_1.0/snli_1.0_train.jsonl", "snli_1.0/snli_1.0_dev.jsonl", "snli_1.0/snli_1.0_test.jsonl"],
            ["dev", "test"],
        ),
        ("fever", ["fever.train.jsonl", "fever.dev.jsonl"], ["dev"]),
        ("sst2", ["sst2/train/0000.parquet", "sst2/validation/0000.parquet", "sst2/test/0000.parquet"], ["dev"]),
        ("hans", ["train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"], ["eval"]),
        ("hans", ["heuristics_train_set.txt", "heuristics_evaluation_set.txt"], ["eval"]),
        ("ag_news", ["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"], ["test"]),
    ],
)
def test_files_are_found_under_the_names_that_publishers_give(
    tmp_path: Path, name: str, names: list[str], expected: list[str]
) -> None:
    """The hub's, GLUE's, SuperGLUE's and the authors' own names, in the folder or one inside it."""
    write_parts(tmp_path, *names)
    task = catalogue.locate(name, tmp_path)
    assert [tmp_path / names[0], expected] == [task.train, list(task.sets)]
    assert all(path.is_file() for path in task.sets.values())


def test_two_files_of_one_part_are_both_named(tmp_path: Path) -> None:
    """Of hub parquet beside jsonl, or of two pieces, none is chosen in silence."""
    write_parts(tmp_path, "train.jsonl", "rte/train-00000-of-00001.parquet", "dev.jsonl")
    with pytest.raises(
        DataError, match=r"has train\.jsonl, rte/train-00000-of-00001\.parquet, expected one file train"
    ):
        catalogue.locate("rte", tmp_path)
    assert tmp_path / "x" == catalogue.locate("rte", tmp_path, train=tmp_path / "x").train


def test_own_files_stand_in_for_the_folders(tmp_path: Path) -> None:
    """With `train` and `sets` no folder is needed; with less than that the error says what to name."""
    train, dev = tmp_path / "own_train.jsonl", tmp_path / "own_dev.jsonl"
    task = catalogue.locate("qnli", train=train, sets={"dev": dev})
    assert (train, {"dev": dev}) == (task.train, dict(task.sets))
    with pytest.raises(DataError, match="no `folder`, and no `train` with `sets`"):
        catalogue.locate("qnli", train=train)
    write_parts(tmp_path, "dev.jsonl", "own_train.jsonl")
    with pytest.raises(DataError, match=r"no file train .*own_train\.jsonl.*name the files with `train` and `sets`"):
        catalogue.locate("qnli", tmp_path)


def test_a_name_that_is_not_known_gets_the_nearest() -> None:
    """Names are those of the list."""
    with pytest.raises(InputError, match="task 'sst-2' is not known; did you mean sst2"):
        catalogue.known_task("sst-2")


def test_published_samples_are_read(shared_data: Path) -> None:
    """The first lines of GLUE's own files: 20 rows where a header stands, and every label is a word of the task."""
    names = {
        "cola": "CoLA",
        "sst2": "SST-2",
        "mrpc": "MRPC",
        "stsb": "STS-B",
        "qnli": "QNLI",
        "rte": "RTE",
        "wnli": "WNLI",
    }
    for name, folder in names.items():
        place = shared_data / "tasks" / "glue_tsv_samples" / folder
        for part in ("train", "dev", "test"):
            path = place / f"{part}.tsv"
            if path.is_file():
                rows = read_known(name, path, label=part != "test")
                with path.open(encoding="utf-8") as lines:
                    expected = sum(1 for _ in lines) - (not (name == "cola" and part != "test"))
                assert expected == len(rows), path
                assert part == "test" or len(rows) == len(rows.labels)
    msr = shared_data / "tasks" / "glue_tsv_samples" / "MRPC" / "msr_paraphrase_train.txt"
    own = read_known("mrpc", shared_data / "tasks" / "glue_tsv_samples" / "MRPC" / "train.tsv")
    assert own.texts[0] == read_known("mrpc", msr).texts[0]
    ax = shared_data / "tasks" / "glue_tsv_samples" / "diagnostic" / "diagnostic.tsv"
    assert 19 == len(read_known("ax", ax, label=False))


TABLE = [
    ("ag_news", "own_train.jsonl.gz", 8774, {"Sci/Tech": 2908, "Business": 2435, "Sports": 1957, "World": 1474}),
    ("ag_news", "test.jsonl.gz", 7600, {"Business": 1900, "Sci/Tech": 1900, "Sports": 1900, "World": 1900}),
    ("cola", "dev.jsonl", 1043, {"acceptable": 721, "unacceptable": 322}),
    ("fever", "own_dev.jsonl", 1500, {"REFUTES": 758, "SUPPORTS": 742}),
    ("fever", "own_train.jsonl.gz", 8340, {"SUPPORTS": 4234, "REFUTES": 4106}),
    ("fever", "symmetric_related.jsonl.gz", 3492, {"REFUTES": 1802, "SUPPORTS": 1690}),
    ("fever", "symmetric_v0.1_full.jsonl", 956, {"REFUTES": 478, "SUPPORTS": 478}),
    ("fever", "symmetric_v0.1_generated.jsonl", 717, {"SUPPORTS": 379, "REFUTES": 338}),
    ("fever", "symmetric_v0.2_dev.jsonl", 708, {"REFUTES": 354, "SUPPORTS": 354}),
    ("fever", "symmetric_v0.2_test.jsonl", 712, {"SUPPORTS": 356, "REFUTES": 356}),
    ("hans", "eval.jsonl.gz", 30_000, {"non-entailment": 15_000, "entailment": 15_000}),
    ("medical_abstracts", "own_dev.jsonl.gz", 888, None),
    ("medical_abstracts", "own_train.jsonl.gz", 2000, None),
    ("mnli", "dev_matched.jsonl.gz", 9815, {"entailment": 3479, "contradiction": 3213, "neutral": 3123}),
    ("mnli", "dev_mismatched_sample1000_tokenized.jsonl", 1000, None),
    ("mnli", "train_20k_tokenized.jsonl.gz", 20_000, {"entailment": 6709, "neutral": 6646, "contradiction": 6645}),
    ("paws", "../paws_wiki_2k/dev.jsonl", 2000, {"not_paraphrase": 1137, "paraphrase": 863}),
    ("qnli", "own_train.jsonl.gz", 4463, {"not_entailment": 2262, "entailment": 2201}),
    ("qnli", "own_dev.jsonl", 1000, {"entailment": 501, "not_entailment": 499}),
    ("qnli", "dev.jsonl.gz", 5463, {"not_entailment": 2761, "entailment": 2702}),
    ("qqp", "own_train.jsonl.gz", 14_842, {"duplicate": 7443, "not_duplicate": 7399}),
    ("qqp", "own_dev.jsonl.gz", 5000, {"duplicate": 2508, "not_duplicate": 2492}),
    ("snli", "dev.jsonl.gz", 9842, {"entailment": 3329, "contradiction": 3278, "neutral": 3235}),
    ("snli", "test.jsonl.gz", 9824, {"entailment": 3368, "contradiction": 3237, "neutral": 3219}),
    ("snli", "own_train.jsonl.gz", 6842, None),
    ("snli", "own_dev.jsonl", 3000, None),
    ("snli", "../snli_cad/original_train.jsonl", 1666, {"entailment": 562, "neutral": 554, "contradiction": 550}),
    ("snli", "../snli_cad/revised_combined_test.jsonl", 1600, None),
    ("sst2", "train.jsonl.gz", 67_349, {"positive": 37_569, "negative": 29_780}),
    ("sst2", "dev.jsonl", 872, {"positive": 444, "negative": 428}),
    ("wnli", "train.jsonl", 635, {"not_entailment": 323, "entailment": 312}),
    ("wnli", "dev.jsonl", 71, {"not_entailment": 40, "entailment": 31}),
    ("mnli", "../xnli_en/dev.jsonl", 2490, {"neutral": 830, "contradiction": 830, "entailment": 830}),
]


@pytest.mark.parametrize(("name", "file", "count", "labels"), TABLE, ids=[f"{c[0]}-{c[1]}" for c in TABLE])
def test_real_files_are_read_whole(
    shared_data: Path, name: str, file: str, count: int, labels: dict[str, int] | None
) -> None:
    """Rows and labels of every real file are those that the notes beside them count."""
    path = shared_data / "tasks" / name / file
    if not path.parent.resolve().is_dir():
        pytest.skip(f"{path.parent} is not beside the repository")
    rows = read_known(name, path.resolve())
    assert count == len(rows)
    assert labels is None or labels == dict(Counter(rows.labels))
    if name == "fever":
        assert not any(mark in part for row in rows.texts for part in row for mark in ("-LRB-", "-RSB-", "``"))


@pytest.mark.parametrize(
    ("name", "file", "count"),
    [
        ("ax", "test_unlabeled.jsonl", 1104),
        ("cola", "test_unlabeled.jsonl", 1063),
        ("mrpc", "test_unlabeled.jsonl", 1725),
        ("qnli", "test_unlabeled.jsonl.gz", 5463),
        ("rte", "test_unlabeled.jsonl.gz", 3000),
        ("sst2", "test_unlabeled.jsonl", 1821),
        ("stsb", "test_unlabeled.jsonl", 1379),
        ("wnli", "test_unlabeled.jsonl", 146),
    ],
)
def test_real_files_without_labels_are_read_whole(shared_data: Path, name: str, file: str, count: int) -> None:
    """GLUE's test sets, as many rows as its server counts."""
    assert count == len(read_known(name, shared_data / "tasks" / name / file, label=False))


def test_a_known_task_reads_its_training_rows_by_its_own_form(tmp_path: Path) -> None:
    """Files of one publisher may differ: CoLA's training file has no header, and its dev file may be parquet."""
    (tmp_path / "train.tsv").write_text("gj04\t1\t\tHe left.\ngj04\t0\t*\tHe leaved.\n")
    parquet(tmp_path / "validation-00000-of-00001.parquet", [{"sentence": "She left.", "label": 1, "idx": 0}])
    task = catalogue.locate("cola", tmp_path)
    assert ("acceptable", "unacceptable") == read_rows(task, task.train).labels
    assert ("acceptable",) == read_rows(task, task.sets["dev"]).labels
