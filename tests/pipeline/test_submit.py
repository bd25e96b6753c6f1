"""From a recipe with GLUE's tasks to a zip: who answers which file, in which order, and what is told."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bertwright
from bertwright.cli.main import call
from bertwright.errors import DataError, InputError
from bertwright.tasks.readers import Rows
from bertwright.tasks.submission import EXPECTED, by_index

Toy = Callable[..., Path]
PAIRS = [("bala koren", "bala"), ("miso tuk", "koren"), ("bala misok", "tulan"), ("kolash mire", "mire")]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as jsonl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def glue(tuned: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe with toy files of RTE, STS-B and MNLI, whose test sets have four rows each."""
    for name, one in EXPECTED.items():
        monkeypatch.setitem(EXPECTED, name, replace(one, rows=4))
    words = ("entailment", "not_entailment")
    pairs = [{"sentence1": a, "sentence2": b} for a, b in PAIRS]
    for part in ("train", "dev"):
        write(tmp_path / f"rte/{part}.jsonl", [{**row, "label": words[n % 2]} for n, row in enumerate(pairs * 6)])
        write(tmp_path / f"stsb/{part}.jsonl", [{**row, "label": n * 1.5} for n, row in enumerate(pairs)] * 6)
    write(tmp_path / "rte/test_unlabeled.jsonl", [{**row, "id": n} for n, row in enumerate(pairs)])
    lines = [f"{n}\t-\t{a}\t{b}" for n, (a, b) in reversed(list(enumerate(PAIRS)))]
    (tmp_path / "stsb/test.tsv").write_text("\n".join(["index\tgenre\tsentence1\tsentence2", *lines]) + "\n")
    nli = [{"premise": a, "hypothesis": b} for a, b in PAIRS]
    labels = ("entailment", "neutral", "contradiction")
    for part in ("train", "dev_matched", "dev_mismatched"):
        write(tmp_path / f"mnli/{part}.jsonl", [{**row, "label": labels[n % 3]} for n, row in enumerate(nli * 6)])
    for part in ("test_matched", "ax"):
        write(tmp_path / f"mnli/{part}.jsonl", nli)
    tasks = [{"name": name, "known": name, "folder": name} for name in ("rte", "stsb", "mnli")]
    return tuned(tasks=tasks, finetune={"seeds": 2, "baseline": False})


def test_each_file_is_answered_by_its_task(glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Flat files in their own order, AX by MNLI's model, WNLI by its commonest label; what is missing is said."""
    out = tmp_path / "glue.zip"
    assert 0 == call(["submit", str(glue), "-o", str(out), "--json"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert ["STS-B", "MNLI-m", "RTE", "WNLI", "AX"] == list(told["files"])
    assert told["files"]["AX"].startswith("finetune/mnli/given/seed-")
    assert told["files"]["RTE"].endswith("on dev, the best of 2 seeds")
    assert "the commonest label, not_entailment" == told["files"]["WNLI"]
    missing = ("CoLA", "SST-2", "MRPC", "QQP", "MNLI-mm", "QNLI")
    assert [f"{name}.tsv is missing (4 rows)" for name in missing] == told["faults"]
    with zipfile.ZipFile(out) as archive:
        tables = {name: archive.read(name).decode().splitlines() for name in archive.namelist()}
    assert ["0\t0", "1\t0", "2\t0", "3\t0"] == tables["WNLI.tsv"][1:]
    # The test file of STS-B counts downwards: its rows are put in order.
    recipe = bertwright.load_recipe(glue)
    name = told["files"]["STS-B"].split(":")[0].replace("finetune/", "tasks/")
    rows = [{"sentence1": a, "sentence2": b} for a, b in PAIRS]
    write(tmp_path / "again.jsonl", rows)
    run, files = recipe.store / "runs" / recipe.name / name, (tmp_path / "again.jsonl", tmp_path / "out.jsonl")
    bertwright.predict(run, *files, precision="fp32")
    scores = [json.loads(line)["prediction"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [f"{n}\t{min(5.0, max(0.0, score)):.3f}" for n, score in enumerate(scores)] == tables["STS-B.tsv"][1:]


def test_nothing_to_submit_is_told(tuned: Toy, glue: Path, tmp_path: Path) -> None:
    """No task of GLUE, a part that there is not, and a choice that is none."""
    with pytest.raises(InputError, match="a task needs `known` .* and a folder with its test file, or `unlabelled"):
        bertwright.submit(tuned(), tmp_path / "x.zip")
    task = {"name": "rte", "known": "rte", "folder": "rte", "unlabelled": {"tset": "rte/test_unlabeled.jsonl"}}
    with pytest.raises(InputError, match="`unlabelled` names tset; the test files of rte are called test"):
        bertwright.submit(tuned(tasks=[task]), tmp_path / "x.zip")
    with pytest.raises(InputError, match="wnli is 'best'; it is majority or model"):
        bertwright.submit(glue, tmp_path / "x.zip", wnli="best")
    assert 2 == call(["submit"])


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (("0", "1", "1", "3"), "indices 0 to 3, each once; twice: 1; missing: 2"),
        (("0", "1", "2", "7"), "missing: 3; unexpected: 7"),
        (("a", "b"), "missing: 0, 1; unexpected: a, b"),
    ],
)
def test_indices_that_are_no_count_are_told(ids: tuple[str, ...], words: str) -> None:
    """Missing and repeated ones, by name."""
    rows = Rows(Path("test.tsv"), ids, (("x",),) * len(ids), ())
    with pytest.raises(DataError, match=words):
        by_index(rows)


def test_rows_are_put_in_the_order_of_their_index() -> None:
    """A file without one keeps its order: rows then count from 1."""
    assert [2, 0, 1] == by_index(Rows(Path("x"), ("1", "2", "0"), (("x",),) * 3, ()))
    assert [0, 1, 2] == by_index(Rows(Path("x"), ("1", "2", "3"), (("x",),) * 3, ()))
