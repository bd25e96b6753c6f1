"""Datasets of the hub as sources, from a dataset's folder on this machine: no test asks for a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bertwright
from bertwright import files
from bertwright.cli import main as cli
from bertwright.errors import DataError
from bertwright.stages import fetch as fetch_module
from bertwright.stages.fetch import fetch
from bertwright.stages.work import Machine, Work

pytest.importorskip("datasets", reason="hub datasets are an extra")

TEXTS = [
    f"a document number {n} of the {'first' if n % 2 else 'second'} kind, about things {n * 7}" for n in range(300)
]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return a dataset's folder with two splits."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    for split, rows in (("train", TEXTS), ("test", TEXTS[:3])):
        with (folder / f"{split}.jsonl").open("w") as stream:
            for number, text in enumerate(rows):
                print(json.dumps({"body": text if number != 5 else None, "id": number}), file=stream)
    return folder


def work(folder: Path, hub: Path | str, **options: Any) -> Work:
    """Return a stage's job on a dataset."""
    wanted = {"hub": str(hub), "config": None, "split": "train", "revision": None, "column": "body", **options}
    (folder / "scratch").mkdir(parents=True, exist_ok=True)
    return Work("fetch/1", "fetch", wanted, {}, {}, {}, folder, Machine(threads=1))


def texts_in(folder: Path) -> list[str | None]:
    """Return what was fetched, in order."""
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    return [text for table in tables for text in table["text"].to_pylist()]


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_an_interrupted_fetch_goes_on_where_it_stood(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """What was fetched stays as it is, and every row comes once."""
    monkeypatch.setattr(fetch_module, "_FILE_BYTES", 4000)
    whole = fetch(work(tmp_path / "whole", dataset))
    assert (300, [*TEXTS[:5], None, *TEXTS[6:]]) == (whole["rows"], texts_in(tmp_path / "whole"))
    assert whole["files"] == len(list((tmp_path / "whole").glob("*.parquet"))) > 3

    class Stopped(Exception):
        pass

    def stop(path: Path, content: Any) -> None:
        write(path, content)
        if content["files"] == calls:
            raise Stopped

    write = files.write_json
    monkeypatch.setattr(files, "write_json", stop)
    with pytest.raises(Stopped):
        fetch(work(tmp_path / "again", dataset))
    monkeypatch.setattr(files, "write_json", write)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "again").glob("*.parquet")}
    assert calls == len(before)
    fetch(work(tmp_path / "again", dataset))
    assert texts_in(tmp_path / "whole") == texts_in(tmp_path / "again")
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"column": "text"}, r"has no column 'text'; found 'body', 'id'"),
        ({"column": "id"}, r"column 'id' holds int, and text is expected"),
        ({"split": "validation"}, r"cannot be fetched \(.*Look at its name, config, split"),
        ({"config": "other"}, r"cannot be fetched \(.*Look at its name, config, split"),
    ],
)
def test_what_is_not_in_the_dataset_is_told(tmp_path: Path, dataset: Path, options: Any, words: str) -> None:
    """A wrong column, split or configuration is named, with what to do."""
    with pytest.raises(DataError, match=words):
        fetch(work(tmp_path / "out", dataset, **options))


def test_a_name_that_nobody_answers_for_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network the dataset is named, and the network too."""
    import huggingface_hub

    def refuse(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)
    with pytest.raises(DataError, match=r"owner/name cannot be fetched \(ConnectionError: no route\).*the network"):
        fetch(work(tmp_path / "out", "owner/name"))


def test_a_recipe_with_a_hub_source(tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its text is prepared with that of files, in the shares asked for; the second run fetches nothing."""
    own = tmp_path / "own.parquet"
    pq.write_table(pa.table({"text": [f"own text {text}" for text in TEXTS]}), own)
    recipe = {
        "name": "hub",
        "store": str(tmp_path / "store"),
        "prepare": {
            "sources": [
                {"path": str(own), "share": "25 %"},
                {"hub": str(dataset), "column": "body", "share": "75 %"},
            ],
            "row_length": 32,
        },
        "tokenizer": {"vocabulary": 200},
        "report": False,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    assert 0 == cli.call(["check", str(path)])
    assert "hub datasets are not here yet" in capsys.readouterr().out
    result = bertwright.prepare(path)
    summary = result.stages["prepare"].record["results"]
    assert [300, 299] == [source["documents"] for source in summary["sources"]]
    assert 0.75 == pytest.approx(summary["sources"][1]["share"], abs=0.01)
    assert {"no text in the row": 1} == summary["troubles"]
    told: list[tuple[str, str]] = []
    bertwright.prepare(path, listen=lambda name, fields: told.append((name, fields["event"])))
    assert {"skip"} == {event for _, event in told}
    assert 0 == cli.call(["check", str(path)])
    assert "not here yet" not in capsys.readouterr().out
