"""Tries a fault at every operation on the disk of a small whole pipeline, and counts what is lost.

    python tests/faults/sweep.py                     every operation, every kind of fault that makes sense for it
    python tests/faults/sweep.py --sample 12         twelve of them, spread over all commands
    python tests/faults/sweep.py --only prepare      one command
    python tests/faults/sweep.py --write             and the table goes into docs/faults.md

The pipeline is cut into commands. Each is run once whole from the state that the one before it left; then, for each
fault, again from that state with the fault, then verified, then once more by the same command without one, and what
there is then is compared with what the whole run left. A command runs in a fork of this process, which has imported all
and done nothing. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src"), str(HERE.parent / "pipeline")]
os.environ |= {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ |= {"HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}

from commands import COMMANDS, Command, write_inputs  # noqa: E402
from equal import differences, kept  # noqa: E402
from faulty import KILLED, MODES, FaultyDoor, Point  # noqa: E402

from bertwright.cli import call  # noqa: E402
from bertwright.store import Store  # noqa: E402

_PATIENCE = 900.0  # seconds that a command may take, on a machine that others use


@dataclass(frozen=True)
class Trial:
    """One fault: a command's ``number``-th operation, from 1, goes wrong as ``mode`` says."""

    command: str
    number: int
    mode: str
    point: Point


@dataclass
class Ended:
    """How a command in a fork ended: its exit code, what it said, and the operations it did."""

    code: int
    said: str
    points: list[Point] = field(default_factory=list)


def run(command: Command, root: Path, trial: Trial | None = None) -> Ended:
    """Run a command in a fork, with a fault if there is to be one."""
    said, noted = root.with_suffix(".said"), root.with_suffix(".points")
    noted.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        _be_the_command(command, root, trial, said, noted)
    deadline = time.monotonic() + _PATIENCE
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)
    points = [Point(*one) for one in json.loads(noted.read_text())] if noted.exists() else []
    return Ended(os.waitstatus_to_exitcode(done[1]), said.read_text(errors="replace"), points)


def _be_the_command(command: Command, root: Path, trial: Trial | None, said: Path, noted: Path) -> None:
    code = 1
    try:
        os.chdir(root)
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        door = FaultyDoor(root, *((trial.mode, trial.number) if trial else ()))
        command.set_up()
        door.open()
        code = call(command.arguments)
        door.end()
        noted.write_text(json.dumps([[one.operation, one.path] for one in door.points]))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


class Sweep:
    """The commands one after the other in one folder, each with its faults."""

    def __init__(self, place: Path) -> None:
        self.root = place / "w"
        self._before = {command.name: place / f"before-{command.name}" for command in COMMANDS}
        self._whole: dict[str, dict[str, Any]] = {}
        self.points: dict[str, list[Point]] = {}

    def begin(self) -> None:
        """Run all commands whole, twice each: what the two leave has to be equal before faults can be judged by it."""
        self.root.mkdir()
        write_inputs(self.root)
        unlike = ""
        for command in COMMANDS:
            shutil.copytree(self.root, self._before[command.name], symlinks=True)
            for _ in range(2):
                self._restore(command.name)
                ended = run(command, self.root)
                if ended.code:
                    raise SystemExit(f"{command.name} failed without a fault:\n{ended.said}")
                found = kept(self.root)
                if wrong := differences(self._whole.get(command.name, found), found):
                    unlike += f"{command.name} is not the same twice: {wrong}\n"
                self._whole[command.name], self.points[command.name] = found, ended.points
        if unlike:
            raise SystemExit(unlike)

    def trials(self) -> Iterator[Trial]:
        """Give every fault that makes sense."""
        for command in COMMANDS:
            points = [*self.points[command.name], Point("end", "")]
            for number, point in enumerate(points, 1):
                for mode, operations in MODES.items():
                    if point.operation in operations:
                        yield Trial(command.name, number, mode, point)

    def lost(self, trial: Trial) -> str:
        """Try one fault; return what was lost by it, or nothing."""
        (command,) = (one for one in COMMANDS if one.name == trial.command)
        self._restore(trial.command)
        ended = run(command, self.root, trial)
        dies = trial.mode in ("kill", "torn", "power")
        if ended.code not in ((KILLED,) if dies else (0, 1, 2)):
            return f"it ended with {ended.code}: {ended.said[-2000:]}"
        if "Traceback" in ended.said or "fault of its own" in ended.said:
            return f"the fault was not told in words: {ended.said[-3000:]}"
        if not dies and ended.code and "error:" not in ended.said:
            return f"nothing was said: {ended.said}"
        if damage := Store(self.root / "bertwright-store").verify():
            return f"the store is damaged: {damage}"
        again = run(command, self.root)
        if again.code:
            return f"the same command did not continue: {again.said[-2000:]}"
        return differences(self._whole[trial.command], kept(self.root))

    def _restore(self, name: str) -> None:
        shutil.rmtree(self.root)
        shutil.copytree(self._before[name], self.root, symlinks=True)


def main() -> int:
    """Try the faults that the command line asks for; return 1 where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, help="so many faults, drawn; off: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="these commands; off: all")
    parser.add_argument("--modes", nargs="*", help="these kinds of faults; off: all")
    parser.add_argument("--write", action="store_true", help="put the table into docs/faults.md")
    wanted = parser.parse_args()
    memory = Path("/dev/shm")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="faults-") as place:
        sweep = Sweep(Path(place))
        sweep.begin()
        print(f"whole: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        trials = [one for one in sweep.trials() if not wanted.only or one.command in wanted.only]
        trials = [one for one in trials if not wanted.modes or one.mode in wanted.modes]
        if wanted.sample:
            trials = random.Random(wanted.seed).sample(trials, min(wanted.sample, len(trials)))
        losses = []
        for count, trial in enumerate(trials, 1):
            if said := sweep.lost(trial):
                losses.append({**asdict(trial), "lost": said})
                print(f"LOST {trial}: {said}", file=sys.stderr, flush=True)
            if count % 100 == 0:
                print(f"{count}/{len(trials)}, {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        found = table(sweep, trials, losses)
    print(found)
    if wanted.write:
        put_into_page(found)
    points = sum(len(points) + 1 for points in sweep.points.values())
    seconds = round(time.monotonic() - begun)
    print(json.dumps({"points": points, "faults": len(trials), "lost": len(losses), "seconds": seconds}))
    return bool(losses)


def table(sweep: Sweep, trials: list[Trial], losses: list[dict[str, Any]]) -> str:
    """Return the counts as a table in Markdown."""
    tried = Counter((trial.command, trial.mode) for trial in trials)
    lost = Counter(one["command"] for one in losses)
    rows = [["command", "points", *MODES, "faults", "lost"]]
    for command in COMMANDS:
        counts = [tried[command.name, mode] for mode in MODES]
        rows.append([f"`{command.shown}`", len(sweep.points[command.name]) + 1, *counts, sum(counts), lost[command.name]])
    rows.append(["**all**", *(sum(row[place] for row in rows[1:]) for place in range(1, len(rows[0])))])
    lines = [" | ".join(f"{cell:,}" if isinstance(cell, int) else cell for cell in row) for row in rows]
    return "\n".join(["| " + lines[0] + " |", "|---" + "|---:" * (len(rows[0]) - 1) + "|", *(f"| {x} |" for x in lines[1:])])


def put_into_page(found: str) -> None:
    """Replace the table in docs/faults.md."""
    page = HERE.parents[1] / "docs" / "faults.md"
    before, _, rest = page.read_text().partition("<!-- table -->\n")
    page.write_text(before + "<!-- table -->\n" + found + "\n<!-- end of the table -->\n" + rest.partition("<!-- end of the table -->\n")[2])


if __name__ == "__main__":
    sys.exit(main())
