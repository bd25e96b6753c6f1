"""Bad input to the command line: a clear sentence, exit 2, nothing lost."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertwright.cli.main import call
from bertwright.store import Store

Toy = Callable[..., Path]


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that has to exit 2 and return what it said."""
    assert 2 == call(list(arguments))
    return capsys.readouterr().err


def test_a_missing_recipe_says_how_to_get_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file's name, and the command that writes a first recipe."""
    assert "no such file; `bertwright init`" in told(capsys, "run", str(tmp_path / "none.yaml"))


def test_empty_texts_are_told(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files without any text name one of them."""
    for path in (tmp_path / "texts").iterdir():
        path.write_text("\n \n")
    assert "the sources hold no text at all" in told(capsys, "run", str(toy(tasks=None)), "-q")


def test_bytes_that_are_not_utf8_have_a_place_and_may_be_replaced(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """File and offset; `prepare.errors: replace` is an option that counts."""
    path = toy(tasks=None, pretrain=None)
    victim = tmp_path / "texts" / "1.txt"
    victim.write_bytes(b"caf\xe9 " + victim.read_bytes())
    message = told(capsys, "prepare", str(path), "-q")
    assert str(victim) in message
    assert "byte 3" in message
    assert 0 == call(["prepare", str(path), "-q", "--json", "prepare.errors=replace"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 1 == sum(result["stages"]["prepare"]["results"]["troubles"].values())


def test_a_corpus_too_small_for_one_row_is_told(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How many tokens there are and how many a row needs."""
    call(["prepare", str(toy(tasks=None, pretrain=None)), "-q"])
    (tmp_path / "t").symlink_to(tmp_path / "bertwright-store" / "runs" / "toy" / "tokenizer")
    (tmp_path / "one.txt").write_text("balan koren\n\nbalan\n")
    path = toy(tasks=None, pretrain=None, prepare={"row_length": 32, "sources": ["one.txt"]}, tokenizer={"folder": "t"})
    path.write_text(path.read_text().replace("  vocabulary: 90\n", ""))
    message = told(capsys, "prepare", str(path), "-q")
    assert "tokens" in message
    assert "row_length" in message


def test_a_vocabulary_larger_than_the_corpus_supports_is_told(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """How large it can be, and the key to set."""
    message = told(capsys, "prepare", str(toy(tasks=None, pretrain=None)), "-q", "tokenizer.vocabulary=5000")
    assert "5000 are asked for" in message
    assert "Set `tokenizer.vocabulary` to" in message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train.jsonl", '{"body": "a", "label": "x"}\n', "no column 'text' (found: body, label)"),
        ("train.jsonl", '{"text": "a", "label": null}\n', "every row needs a label"),
        ("dev.jsonl", '{"text": "a", "label": "middle"}\n', "label 'middle' is in no training row (known: high, low)"),
        ("dev.jsonl", "", "has no rows"),
    ],
)
def test_faulty_task_files_are_told_before_anything_is_trained(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, words: str
) -> None:
    """`run` says what `check` would, and no stage is begun."""
    (tmp_path / name).write_text(content)
    assert words in told(capsys, "run", str(toy()), "-q")
    assert [] == list((tmp_path / "bertwright-store").glob("stages/*"))


def test_a_store_of_a_newer_version_is_refused(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing in it is touched."""
    store = tmp_path / "bertwright-store"
    store.mkdir()
    (store / "store.json").write_text('{"format": 7}')
    assert "the store has format 7" in told(capsys, "run", str(toy()), "-q")


def test_a_lock_of_another_run_is_named(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Process, user, host and time of the owner."""
    path = toy(tasks=None, pretrain=None)
    assert 0 == call(["plan", str(path), "--json"])
    identity = json.loads(capsys.readouterr().out.splitlines()[-1])["stages"][0]["identity"]
    with Store(tmp_path / "bertwright-store").lock("tokenizer", identity):
        assert f"another run works on this stage (process {os.getpid()} of" in told(capsys, "prepare", str(path), "-q")
    assert 0 == call(["prepare", str(path), "-q"])


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "no permission")])
def test_a_full_or_closed_disk_is_told_and_the_same_command_continues(
    toy: Toy,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    words: str,
) -> None:
    """The tenth write fails; after the cause is gone the same command ends well and the store is whole."""
    path, calls, real = toy(tasks=None, pretrain=None), 0, os.fsync

    def fail(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= 10:
            raise OSError(number, os.strerror(number))
        real(handle)

    monkeypatch.setattr(os, "fsync", fail)
    assert words in told(capsys, "prepare", str(path), "-q")
    monkeypatch.undo()
    assert 0 == call(["prepare", str(path), "-q"])
    assert [] == Store(path.parent / "bertwright-store").verify()


def test_errors_are_json_where_json_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line of stdout is one object with the kind and the exit code."""
    assert 2 == call(["run", str(tmp_path / "none.yaml"), "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (False, 2, "RecipeError") == (found["ok"], found["exit_code"], found["error"]["kind"])


@pytest.mark.parametrize("arguments", [["fly"], ["run"], ["run", "x.yaml", "--no-such-option"]])
def test_a_wrong_command_line_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown command, a missing argument and an unknown option."""
    assert told(capsys, *arguments)


def test_a_folder_of_another_kind_of_model_is_told(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An encoder folder that cannot be read says what it is and what can be."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    (folder / "tokenizer.json").write_text("{}")
    changes: dict[str, Any] = {"tokenizer": None, "tasks": None}
    path = toy(**changes)
    text = path.read_text()
    path.write_text(text[: text.index("encoder:")] + "encoder:\n  folder: model\n" + text[text.index("pretrain:") :])
    message = told(capsys, "run", str(path), "-q")
    assert "tokenizer.json is not a tokenizer" in message or "model_type 'gpt2' is not supported" in message
