"""A killed run, continued by the same command, ends with the bits of an uninterrupted one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bertwright import files
from bertwright.store import Store

Toy = Callable[..., Path]

# What is compared: model weights and rows. Records hold times, and metrics hold seconds.
EXACT = (".safetensors", ".bin")


# Long enough to be stopped in the middle.
LONG_RUNS = {"seeds": 2, "baseline": False, "epochs": 5000, "checkpoint_every": "200 steps"}


def command(path: Path, store: Path) -> list[str]:
    """Return the command that runs a recipe into a store."""
    return [sys.executable, "-m", "bertwright.cli.main", "run", str(path), f"store={store}", "--quiet", "--json"]


def exact(store: Path) -> dict[str, str]:
    """Return the checksum of every file that has to be the same."""
    return {
        str(path.relative_to(store)): files.checksum(path)
        for path in sorted(store.rglob("*"))
        if path.suffix in EXACT and path.is_file()
    }


def kill_often(toy: Toy, tmp_path: Path, kills: int, runs: int = 1) -> None:
    """Run once whole; then again and again with kills at random moments, until there were enough; compare each."""
    path = toy(
        pretrain={"budget": "120 steps", "checkpoint_every": "20 steps"},
        finetune={"seeds": runs, "baseline": False, "epochs": 4, "checkpoint_every": "4 steps"},
        system={"runs": runs},
    )
    whole = tmp_path / "whole"
    begun = time.monotonic()
    subprocess.run(command(path, whole), check=True, capture_output=True)
    length = time.monotonic() - begun
    draw, done = random.Random(7), 0
    for number in range(kills):  # each round has a kill at least
        killed = tmp_path / f"killed-{number}"
        while done < kills and killed_in_time(command(path, killed), draw.uniform(0.25, 0.9) * length):
            done += 1
            assert [] == Store(killed).verify()
        final = subprocess.run(command(path, killed), check=True, capture_output=True, text=True)
        assert json.loads(final.stdout.splitlines()[-1])["ok"]
        assert exact(whole) == exact(killed)
        assert not list(Store(killed).stages.glob("*.partial"))
        if done >= kills:
            return
    pytest.fail(f"only {done} of {kills} kills came before a run's end")


def killed_in_time(arguments: list[str], seconds: float) -> bool:
    """Start a command and kill it after some seconds; false where it ended before."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return True


def test_five_kills_lose_nothing(toy: Toy, tmp_path: Path) -> None:
    """Five kills at random moments of the whole road."""
    kill_often(toy, tmp_path, 5)


@pytest.mark.long
@pytest.mark.parametrize("runs", [1, 2])
def test_twenty_kills_lose_nothing(toy: Toy, tmp_path: Path, runs: int) -> None:
    """Twenty kills at random moments of the whole road, also where two runs go side by side."""
    kill_often(toy, tmp_path, 20, runs)


def test_a_kill_of_two_runs_at_once_loses_nothing(toy: Toy, tmp_path: Path) -> None:
    """The workers die with the process that started them, and leave no lock behind."""
    path, store = toy(pretrain=None, finetune=LONG_RUNS, system={"runs": 2}), tmp_path / "s"
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(command(path, store), stdout=nowhere, stderr=nowhere, text=True)
    wait_for(process, lambda: len(list(store.glob("stages/finetune*.partial/scratch/checkpoint-*"))) > 1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    again = [*command(path, store), "finetune.epochs=1"]
    assert 0 == subprocess.run(again, capture_output=True, check=False).returncode


def test_sigterm_reaches_runs_side_by_side(toy: Toy, tmp_path: Path) -> None:
    """Two runs at once save and leave when the command is asked to stop."""
    path, store = toy(pretrain=None, finetune=LONG_RUNS, system={"runs": 2}), tmp_path / "s"
    process = subprocess.Popen(command(path, store), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(process, lambda: len(list(store.glob("stages/finetune*.partial/metrics.jsonl"))) == 2)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert 1 == process.returncode
    assert "the same command continues" in stderr
    saved = list(store.glob("stages/finetune*.partial/scratch/checkpoint-*/state.json"))
    assert 2 == len({path.parents[2] for path in saved})


@pytest.mark.long
def test_a_disk_that_fills_up_loses_nothing(toy: Toy, tmp_path: Path, small_disk: Path) -> None:
    """A real file system fills in the middle of pretraining: exit 2, and with space again the same bits come out."""
    path = toy(tasks=None, pretrain={"budget": "400 steps", "checkpoint_every": "20 steps"})
    process = subprocess.Popen(
        command(path, small_disk / "s"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    wait_for(process, lambda: any(small_disk.glob("s/stages/pretrain*/scratch/whole/checkpoint-*")))
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    _, stderr = process.communicate(timeout=60)
    assert 2 == process.returncode
    assert "the disk is full" in stderr
    ballast.unlink()
    assert [] == Store(small_disk / "s").verify()
    subprocess.run(command(path, small_disk / "s"), check=True, capture_output=True)
    subprocess.run(command(path, tmp_path / "whole"), check=True, capture_output=True)
    assert exact(tmp_path / "whole") == exact(small_disk / "s")


def wait_for(process: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    """Wait until something has happened, at most a minute and only while the process runs."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)


def test_two_runs_on_one_store_do_not_harm_it(toy: Toy, tmp_path: Path) -> None:
    """Of two equal commands at once one may find the other's lock, exit 2 and name it; the store is whole and the
    loser's next try finds everything done."""
    path, store = toy(finetune={"seeds": 1, "baseline": False}), tmp_path / "store"
    both = [
        subprocess.Popen(command(path, store), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"
    ]
    told = [process.communicate() for process in both]
    codes = [process.returncode for process in both]
    assert 0 in codes
    for code, (_, stderr) in zip(codes, told, strict=True):
        assert code == 0 or (code == 2 and "another run works on this stage (process " in stderr)
    assert [] == Store(store).verify()
    assert 0 == subprocess.run(command(path, store), capture_output=True, check=False).returncode


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_saves_and_the_same_command_continues(toy: Toy, tmp_path: Path, sent: signal.Signals) -> None:
    """SIGTERM or Ctrl-C in the middle of pretraining exits 1, says that all is saved, and loses no step."""
    path, store = toy(tasks=None, pretrain={"budget": "4000 steps", "checkpoint_every": "100000 steps"}), tmp_path / "s"
    process = subprocess.Popen(command(path, store), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(
        process,
        lambda: any(row.get("step", 0) > 5 for p in store.glob("stages/pretrain*/metrics.jsonl") for row in _rows(p)),
    )
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=60)
    assert 1 == process.returncode
    assert "all is saved and the same command continues" in stderr
    [state] = store.glob("stages/pretrain*/scratch/whole/checkpoint-*/state.json")
    assert json.loads(state.read_text())["step"] > 5


def _rows(path: Path) -> list[dict[str, float]]:
    return files.read_json_lines(path)
