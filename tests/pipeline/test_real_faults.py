"""Faults of real machines: memory that ends, workers that die, clocks that jump, stores that are slow or read-only."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from test_kill import LONG_RUNS, command, exact, wait_for

import bertwright
from bertwright import door
from bertwright.cli.main import call
from bertwright.errors import InputError, StoreError
from bertwright.out_of_memory import memory_told
from bertwright.pipeline import executors
from bertwright.stages.kinds import KINDS
from bertwright.text import arrays

Toy = Callable[..., Path]


def test_memory_that_ends_is_told_with_the_setting_to_lower(toy: Toy, tmp_path: Path) -> None:
    """A real limit of the address space, set once the libraries are there: exit 2, no traceback, the key by name."""
    path = toy(
        tasks=None,
        prepare={"row_length": 512},
        encoder={"width": 256, "inner": 1024, "positions": 512},
        pretrain={"batch": 512, "micro_batch": 512},
    )
    code = (
        "import resource, sys, psutil; from bertwright.cli import main as cli; import bertwright.stages.pretrain;"
        "import bertwright.pipeline.forecast_training as forecast;"
        "assert cli.call(['prepare', sys.argv[1], '-q']) == 0;"
        "forecast.refuse_memory = lambda *_: None;"
        "room = psutil.Process().memory_info().vms + 300_000_000;"
        "resource.setrlimit(resource.RLIMIT_AS, (room, room));"
        "sys.exit(cli.call(['pretrain', sys.argv[1], '-q', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert 2 == done.returncode, done.stderr
    assert "pretrain: the memory that this process may take is full" in done.stderr
    assert "Lower `pretrain.micro_batch`" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "full (MemoryError)"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "full ([enforce fail]"),
        (RuntimeError("std::bad_alloc"), "full (std::bad_alloc)"),
    ],
)
def test_each_librarys_want_of_memory_is_known(error: Exception, told: str) -> None:
    """Python's, torch's and C++'s; another error stays what it is."""
    lowering = partial(memory_told, "finetune", KINDS["finetune"].lower)
    with pytest.raises(InputError, match="finetune.micro_batch") as raised, lowering():
        raise error
    assert told in str(raised.value)
    with pytest.raises(RuntimeError, match="^else$"), lowering():
        raise RuntimeError("else")


@pytest.mark.long
def test_a_killed_worker_fails_its_run_alone(toy: Toy, tmp_path: Path) -> None:
    """Of two runs side by side one's process is killed: exit 1 with why, and the same command does what is left."""
    path, store = toy(pretrain=None, finetune={**LONG_RUNS, "epochs": 400}, system={"runs": 2}), tmp_path / "s"
    process = subprocess.Popen(command(path, store), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(process, lambda: len(list(store.glob("stages/finetune*.partial/metrics.jsonl"))) == 2)
    workers = [one for one in psutil.Process(process.pid).children() if "bertwright.processes" in one.cmdline()]
    workers[0].send_signal(signal.SIGKILL)
    _, stderr = process.communicate(timeout=200)
    assert 1 == process.returncode, stderr
    assert "was killed, by somebody or because the machine's memory was full (lower `system.runs`" in stderr
    assert 1 == len([one for one in store.glob("stages/finetune-*") if one.suffix != ".partial"])
    assert 0 == subprocess.run(command(path, store), capture_output=True, check=False).returncode


def test_a_clock_that_jumps_changes_nothing(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of day goes years forth and back while a run works: the same weights, a whole store, a report."""
    path = toy(finetune={"seeds": 1, "baseline": False})
    bertwright.run(bertwright.load_recipe(path, [f"store={tmp_path / 'still'}"]))
    days = itertools.cycle(["1999-01-01T00:00:00+00:00", "2038-01-19T03:14:08+00:00"])
    seconds = itertools.cycle([0.0, 4e9])
    monkeypatch.setattr(executors, "now", lambda: next(days))
    monkeypatch.setattr(time, "time", lambda: next(seconds))
    done = bertwright.run(bertwright.load_recipe(path, [f"store={tmp_path / 'jumping'}"]))
    assert all(0 <= one.record["seconds"] < 60 for one in done.stages.values())
    assert done.report is not None
    monkeypatch.undo()
    assert exact(tmp_path / "still") == exact(tmp_path / "jumping")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Return a function that makes a folder read-only, as a mount; needs the right to mount."""
    mounted: list[Path] = []

    def make(folder: Path) -> None:
        for options in (["--bind", str(folder)], ["-o", "remount,ro,bind"]):
            if subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False).returncode:
                pytest.skip("a read-only place needs the right to mount one")
            mounted.append(folder)

    yield make
    for folder in set(mounted):
        subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_store_can_be_read(
    toy: Toy, tmp_path: Path, read_only: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """What only reads goes on; what would write says that it may not, and where to."""
    store = tmp_path / "s"
    path = toy(tasks=None, pretrain=None)
    assert 0 == call(["prepare", str(path), f"store={store}", "-q"])
    read_only(store)
    for arguments in (["plan", str(path), f"store={store}"], ["status", str(path), f"store={store}"]):
        assert 0 == call(arguments), capsys.readouterr().err
    for verb in ("list", "verify"):
        assert 0 == call(["store", verb, "--store", str(store)]), capsys.readouterr().err
    assert 2 == call(["prepare", str(path), f"store={store}", "prepare.row_length=12", "-q"])
    said = capsys.readouterr().err
    assert "no permission to write (Read-only file system)" in said
    assert "store=FOLDER" in said


def test_a_slow_disk_changes_no_byte(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name and each sync takes its time."""
    path = toy(tasks=None, pretrain={"budget": "6 steps"})
    bertwright.pretrain(bertwright.load_recipe(path, [f"store={tmp_path / 'fast'}"]))
    for name in ("sync", "rename", "create"):
        real = getattr(door, name)
        monkeypatch.setattr(door, name, lambda *given, real=real: (time.sleep(0.005), real(*given))[1])
    bertwright.pretrain(bertwright.load_recipe(path, [f"store={tmp_path / 'slow'}"]))
    assert exact(tmp_path / "fast") == exact(tmp_path / "slow")


def test_a_mapped_array_without_room_is_told(small_disk: Path) -> None:
    """A full disk behind a mapping would end the process by a signal when it is written to; it is told before."""
    with pytest.raises(StoreError, match="the disk is full"):
        arrays.mapped(small_disk / "array.bin", 40_000_000, np.int64)
    mapped = arrays.mapped(small_disk / "less.bin", 1000, np.int64)
    mapped[:] = 7
    assert 7000 == int(mapped.sum())
    del mapped  # an error that a test has met holds its frame, and a mapping would hold the disk
