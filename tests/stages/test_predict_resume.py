"""A stopped prediction goes on where it was and ends with the same bytes; memory does not hang on the file's length."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from toy_rows import write_rows

import bertwright
from bertwright.errors import InputError
from bertwright.stages import predict as verb
from bertwright.tasks import partial_rows, tables
from bertwright.tasks.partial_rows import Done, PartialRows, working

MakeModel = Callable[..., Path]
FP32 = {"precision": "fp32"}
OUTS = ["b.jsonl", "b.csv.gz", "b.tsv.zst", "b.parquet"]


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of eight rows."""
    monkeypatch.setattr(tables, "WINDOW", 8)


def stop_after(monkeypatch: pytest.MonkeyPatch, notes: int, torn: bytes = b"") -> None:
    """Have the work die before it notes one more window (or the file's begin); ``torn`` is what it wrote of that."""
    add, left = PartialRows.add, [notes]

    def dying(self: PartialRows, content: bytes, more: Done) -> None:
        if not left[0]:
            with (self.folder / "rows").open("ab") as stream:
                stream.write(torn)
            raise Killed
        left[0] -= 1
        add(self, content, more)

    monkeypatch.setattr(PartialRows, "add", dying)


def stopped(monkeypatch: pytest.MonkeyPatch, notes: int, *arguments: Any, torn: bytes = b"", **more: Any) -> None:
    """Predict until the work dies."""
    with monkeypatch.context() as patch:
        stop_after(patch, notes, torn)
        with pytest.raises(Killed):
            bertwright.predict(*arguments, **FP32, **more)


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("name", OUTS)
def test_stops_at_windows_change_no_byte(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Four stops, one of them in the middle of a write; only windows that were not finished are answered again."""
    source, out = write_rows(tmp_path / "a.jsonl", 45), tmp_path / name
    whole = bertwright.predict(model, source, tmp_path / f"whole-{name}", **FP32)
    for notes, torn in ((0, b""), (1, b""), (2, b'{"torn'), (1, b"")):
        stopped(monkeypatch, notes, model, source, out, torn=torn)
        assert not out.exists()
    said: list[Any] = []
    done = bertwright.predict(model, source, out, **FP32, listen=lambda _, fields: said.append(fields.get("said")))
    assert (tmp_path / f"whole-{name}").read_bytes() == out.read_bytes()
    assert (45, 24, whole.cut) == (done.rows, done.earlier, done.cut)
    assert "goes on behind row 24 of 45" in said
    assert {source, out, tmp_path / f"whole-{name}"} == set(tmp_path.iterdir())


@pytest.mark.usefixtures("small_windows")
def test_a_stop_at_the_very_end_answers_nothing_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All windows are finished and the file is not: it is made from them."""
    source, out = write_rows(tmp_path / "a.jsonl", 20), tmp_path / "b.parquet"

    def dying(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(verb, "finish", dying)
        with pytest.raises(Killed):
            bertwright.predict(model, source, out, **FP32)
    with monkeypatch.context() as patch:
        patch.setattr(verb.Answering, "logits", dying)
        assert 20 == bertwright.predict(model, source, out, **FP32).earlier
    assert out.exists()


def test_a_stop_behind_the_end_leaves_nothing(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has its name and the work beside it is still there: the next try says so, and puts that away."""
    source, out = write_rows(tmp_path / "a.jsonl", 5), tmp_path / "b.csv"

    def dying(_: Path) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(partial_rows, "_remove", dying)
        with pytest.raises(Killed):
            bertwright.predict(model, source, out, **FP32)
    assert (tmp_path / "b.csv.partial").is_dir()
    with pytest.raises(InputError, match="b.csv is there already"):
        bertwright.predict(model, source, out, **FP32)
    assert {source, out} == set(tmp_path.iterdir())


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize(
    ("change", "words"),
    [("model", "the model"), ("input", "the input"), ("prefix", "the form of the output"), ("precision", "precision")],
)
def test_other_work_starts_afresh_and_says_so(
    model: Path,
    make_model: MakeModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    words: str,
) -> None:
    """Another model, another file, another name of columns, another number format."""
    source, out = write_rows(tmp_path / "a.jsonl", 20), tmp_path / "b.jsonl"
    stopped(monkeypatch, 2, model, source, out)
    more: dict[str, Any] = dict(FP32)
    if change == "model":
        model = make_model(seed=1)
    elif change == "input":
        write_rows(source, 20, x=1)
    else:
        more |= {"prefix": "p_"} if change == "prefix" else {"precision": "bf16"}
    said: list[Any] = []
    done = bertwright.predict(model, source, out, **more, listen=lambda _, fields: said.append(fields.get("said")))
    assert 0 == done.earlier
    assert [f"starts afresh; not the same as when the work in {out}.partial was begun: {words}"] == [
        one.replace("the precision", "precision") for one in filter(None, said)
    ]
    expected = bertwright.predict(model, source, tmp_path / "c.jsonl", **more)
    assert (tmp_path / "c.jsonl").read_bytes() == out.read_bytes()
    assert expected.cut == done.cut


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("damaged", ["state.json", "rows"])
def test_damaged_work_starts_afresh_and_says_so(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    """A disk that lost some of it is neither a traceback nor a hole in the file."""
    source, out = write_rows(tmp_path / "a.jsonl", 20), tmp_path / "b.jsonl"
    stopped(monkeypatch, 2, model, source, out)
    with (tmp_path / "b.jsonl.partial" / damaged).open("r+") as stream:
        stream.truncate(50)
    said: list[Any] = []
    done = bertwright.predict(model, source, out, **FP32, listen=lambda _, fields: said.append(fields.get("said")))
    assert 0 == done.earlier
    assert [True] == [
        one.startswith(f"starts afresh; {out}.partial/{damaged} is damaged") for one in filter(None, said)
    ]
    bertwright.predict(model, source, tmp_path / "c.jsonl", **FP32)
    assert (tmp_path / "c.jsonl").read_bytes() == out.read_bytes()


def test_a_killed_process_goes_on(model: Path, tmp_path: Path) -> None:
    """A real kill after the first finished window, then the same command."""
    source, out = write_rows(tmp_path / "a.jsonl", 3 * tables.WINDOW), tmp_path / "b.csv"
    command = [sys.executable, "-m", "bertwright", "predict", str(model), str(source), "-o", str(out)]
    command += ["--precision", "fp32", "--json", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state, ends = tmp_path / "b.csv.partial" / "state.json", time.monotonic() + 120
    while process.poll() is None and time.monotonic() < ends:
        if state.exists() and json.loads(state.read_text())["done"]["rows"]:
            break
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(again.stdout)
    assert result["earlier"] in (tables.WINDOW, 2 * tables.WINDOW)
    bertwright.predict(model, source, tmp_path / "c.csv", **FP32)
    assert (tmp_path / "c.csv").read_bytes() == out.read_bytes()


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_few_windows_are_alive_at_a_time(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """The one that is answered, and at most the next; never more, however long the file is."""
    source = write_rows(tmp_path / "a.jsonl", 8 * 12)
    if suffix != "jsonl":
        source = bertwright.predict(model, source, tmp_path / f"s.{suffix}", prefix="s_", **FP32).out
    alive: weakref.WeakSet[tables.Window] = weakref.WeakSet()
    most = []
    read = verb.windows

    def watched(*arguments: Any) -> Iterator[tables.Window]:
        for window in read(*arguments):
            alive.add(window)
            gc.collect()
            most.append(len(alive))
            yield window

    monkeypatch.setattr(verb, "windows", watched)
    monkeypatch.setattr(tables.Window, "__hash__", object.__hash__)
    bertwright.predict(model, source, tmp_path / f"b.{suffix}", **FP32)
    assert 12 == len(most)
    assert max(most) <= 2


@pytest.mark.long
def test_memory_does_not_hang_on_the_number_of_rows(model: Path, tmp_path: Path) -> None:
    """The peak of a fresh process on eight times the rows is the same, but for a few MB."""
    # Row groups of parquet are held whole: small ones here, so that both files have several.
    # The process's own peak: what `getrusage` tells begins with that of the one that started it, which wrote the rows.
    code = (
        "import sys, pathlib, bertwright; from bertwright.tasks import table_writers; table_writers._GROUP_ROWS = 4096;"
        "bertwright.predict(*sys.argv[1:4], precision='fp32');"
        "print(pathlib.Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
    )
    peaks = []
    for number, rows in enumerate((10_000, 80_000)):
        source = write_rows(tmp_path / f"a{number}.jsonl", rows)
        arguments = [str(model), str(source), str(tmp_path / f"b{number}.parquet")]
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) / 1000)
    assert peaks[1] - peaks[0] < 20, peaks


def test_what_was_asked_for_before_and_is_not_now_counts_too(tmp_path: Path) -> None:
    """Rows that were answered under an exit policy are no begin of rows without one."""
    with working(tmp_path / "out.csv") as first:
        first.begin({"input": "a", "the exit policy": "entropy:0.2"}, b"text,exit_layer\n")
    with working(tmp_path / "out.csv") as second:
        again, why = second.resume({"input": "a"})
    assert not again
    assert str(why).endswith("was begun: the exit policy")
