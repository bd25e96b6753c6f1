"""Tries a fault at every operation on the disk of a small whole pipeline, and counts what is lost.

    python tests/faults/sweep.py                     every operation, every kind of fault that makes sense for it
    python tests/faults/sweep.py --sample 12         twelve of them, spread over all commands
    python tests/faults/sweep.py --only prepare      one command
    python tests/faults/sweep.py --part 0/2 --add F  every second fault; counts and signals go into the file F
    python tests/faults/sweep.py --table F           the table of all counts in F goes into docs/faults.md

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
import re
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
os.environ["PYTHONPATH"] = str(HERE.parents[1] / "src")
os.environ |= {"HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}

from commands import COMMANDS, Command, warm_up, write_inputs  # noqa: E402
from equal import differences, kept  # noqa: E402
from faulty import KILLED, MODES, FaultyDoor, Point  # noqa: E402

from bertwright.cli.main import call  # noqa: E402
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
    """How a command in a fork ended: its exit code, what it said, how long it took, and the operations it did."""

    code: int
    said: str
    seconds: float
    points: list[Point] = field(default_factory=list)


@dataclass(frozen=True)
class Stop:
    """A signal to a command, so many seconds after its begin."""

    command: str
    signal: signal.Signals
    seconds: float


def run(command: Command, root: Path, trial: Trial | None = None, stop: Stop | None = None) -> Ended:
    """Run a command in a fork, with a fault or a signal if there is to be one."""
    said, noted = root.with_suffix(".said"), root.with_suffix(".points")
    noted.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        _be_the_command(command, root, trial, said, noted)
    begun, waiting = time.monotonic(), stop
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        passed = time.monotonic() - begun
        if passed > _PATIENCE:
            os.kill(child, signal.SIGKILL)
        if waiting is not None and passed > waiting.seconds:
            os.kill(child, waiting.signal)
            waiting = None
        time.sleep(0.002)
    points = [Point(*one) for one in json.loads(noted.read_text())] if noted.exists() else []
    return Ended(os.waitstatus_to_exitcode(done[1]), said.read_text(errors="replace"), time.monotonic() - begun, points)


def _be_the_command(command: Command, root: Path, trial: Trial | None, said: Path, noted: Path) -> None:
    code = 1
    try:
        os.chdir(root)
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        # Whoever starts this in the background of a shell hands on that Ctrl-C is to be ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
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
        self.seconds: dict[str, float] = {}

    def begin(self, commands: list[Command], times: int) -> None:
        """Run commands whole, so many times: what they leave has to be equal before faults can be judged by it."""
        warm_up()
        self.root.mkdir()
        write_inputs(self.root)
        unlike = ""
        for command in commands:
            shutil.copytree(self.root, self._before[command.name], symlinks=True)
            for _ in range(times):
                self._restore(command.name)
                ended = run(command, self.root)
                if ended.code:
                    raise SystemExit(f"{command.name} failed without a fault:\n{ended.said}")
                found = kept(self.root)
                if wrong := differences(self._whole.get(command.name, found), found):
                    unlike += f"{command.name} is not the same twice: {wrong}\n"
                self._whole[command.name], self.points[command.name] = found, ended.points
                self.seconds[command.name] = ended.seconds
        if unlike:
            raise SystemExit(unlike)

    def trials(self) -> Iterator[Trial]:
        """Give every fault that makes sense."""
        for name, done in self.points.items():
            for number, point in enumerate([*done, Point("end", "")], 1):
                for mode, operations in MODES.items():
                    if point.operation in operations:
                        yield Trial(name, number, mode, point)

    def lost(self, trial: Trial) -> str:
        """Try one fault; return what was lost by it, or nothing."""
        command = self._from_the_start(trial.command)
        ended = run(command, self.root, trial)
        dies = trial.mode in ("kill", "torn", "power")
        if ended.code not in ((KILLED,) if dies else (0, 1, 2)):
            return f"it ended with {ended.code}: {ended.said[-2000:]}"
        return self._lost_by(command, ended, dies=dies)

    def a_stop(self, number: int, draw: random.Random) -> Stop:
        """Return one signal at a drawn moment of a drawn command."""
        name = draw.choice(sorted(self.points))
        sent = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[number % 4]
        return Stop(name, sent, draw.uniform(0, self.seconds[name]))

    def stopped(self, stop: Stop) -> tuple[int, str]:
        """Send one signal; return the exit code that it met with and what was lost by it, or nothing."""
        command = self._from_the_start(stop.command)
        ended = run(command, self.root, stop=stop)
        if ended.code not in (0, 1, -stop.signal):
            return ended.code, f"it ended with {ended.code}: {ended.said[-2000:]}"
        return ended.code, self._lost_by(command, ended, dies=ended.code == -stop.signal)

    def _from_the_start(self, name: str) -> Command:
        self._restore(name)
        return next(one for one in COMMANDS if one.name == name)

    def _lost_by(self, command: Command, ended: Ended, *, dies: bool) -> str:
        if "Traceback" in ended.said or "fault of its own" in ended.said:
            return f"the fault was not told in words: {ended.said[-3000:]}"
        if not dies and ended.code and "error:" not in ended.said:
            return f"nothing was said: {ended.said}"
        store = self.root / "bertwright-store"
        if store.is_dir() and (damage := Store(store).verify()):
            return f"the store is damaged: {damage}"
        again = run(command, self.root)
        # A result with a name of the user's, whole before the fault, is not written over.
        if again.code and "is there already" not in again.said:
            return f"the same command did not continue: {again.said[-2000:]}"
        return differences(self._whole[command.name], kept(self.root))

    def _restore(self, name: str) -> None:
        shutil.rmtree(self.root)
        shutil.copytree(self._before[name], self.root, symlinks=True)


def main() -> int:
    """Try the faults that the command line asks for; return 1 where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, help="so many faults, drawn; off: all, in a drawn order")
    parser.add_argument("--stops", type=int, default=0, help="and so many signals at drawn moments, half of them kills")
    parser.add_argument("--minutes", type=float, default=1e9, help="no more after so many; off: until the end")
    parser.add_argument("--seed", type=int, default=0)
    names = [command.name for command in COMMANDS]
    parser.add_argument("--only", nargs="*", default=names, help="these commands; off: all")
    parser.add_argument("--modes", nargs="*", default=list(MODES), help="these kinds of faults; off: all")
    parser.add_argument("--one-of-a-kind", action="store_true", help="one of each operation on each kind of file")
    parser.add_argument("--part", default="0/1", help="the first, the second ... of so many parts of the faults")
    parser.add_argument("--add", type=Path, metavar="FILE", help="add the counts to this file")
    parser.add_argument("--table", type=Path, metavar="FILE", help="try nothing; show what was added to this file")
    wanted = parser.parse_args()
    if wanted.table:
        lines = [json.loads(line) for line in wanted.table.read_text().splitlines()]
        print(found := table(lines))
        put_into_page(found)
        return 0
    memory = Path("/dev/shm")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="faults-") as place:
        sweep = Sweep(Path(place))
        last = max(names.index(name) for name in wanted.only)
        sweep.begin(COMMANDS[: last + 1], times=1 if wanted.sample else 2)
        print(f"whole: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        trials = [one for one in sweep.trials() if one.command in wanted.only]
        trials = [one for one in trials if one.mode in wanted.modes]
        if wanted.one_of_a_kind:
            trials = one_of_a_kind(trials)
        random.Random(wanted.seed).shuffle(trials)
        part, parts = (int(number) for number in wanted.part.split("/"))
        trials = trials[part::parts]
        losses, tried = [], list[Trial]()
        for count, trial in enumerate(trials[: wanted.sample], 1):
            if time.monotonic() - begun > 60 * wanted.minutes:
                break
            tried.append(trial)
            if said := sweep.lost(trial):
                losses.append({**asdict(trial), "lost": said})
                print(f"LOST {trial}: {said}", file=sys.stderr, flush=True)
            if count % 100 == 0:
                print(f"{count} of {len(trials)} faults, {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        draw = random.Random(f"{wanted.seed} {wanted.part}")
        signals = list[dict[str, Any]]()
        for number in range(wanted.stops):
            stop = sweep.a_stop(number, draw)
            code, said = sweep.stopped(stop)
            moment = f"{stop.seconds:.3f} of {sweep.seconds[stop.command]:.3f}"
            signals.append({"signal": stop.signal.name, "command": stop.command, "seconds": moment, "exit": code})
            if said:
                losses.append({"command": "signals", "lost": said})
                print(f"LOST {stop}: {said}", file=sys.stderr, flush=True)
        counts = Counter(f"{one.command} {one.mode}" for one in tried)
        lost = Counter(one["command"] for one in losses)
        points = {name: len(done) + 1 for name, done in sweep.points.items()}
        line = {"points": points, "counts": counts, "lost": lost, "stops": wanted.stops, "signals": signals}
    print(table([line]))
    if wanted.add:
        with wanted.add.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
    told = {"points": sum(points.values()), "faults": len(tried), "possible": len(trials), "stops": wanted.stops}
    print(json.dumps({**told, "lost": len(losses), "seconds": round(time.monotonic() - begun)}))
    return bool(losses)


def one_of_a_kind(trials: list[Trial]) -> list[Trial]:
    """Return the first trial of each command, kind of fault, operation and kind of path, numbers set aside."""
    found: dict[tuple[str, ...], Trial] = {}
    for trial in trials:
        kind = re.sub(r"[0-9a-f]{32}|\d+", "#", trial.point.path)
        found.setdefault((trial.command, trial.mode, trial.point.operation, kind), trial)
    return list(found.values())


def table(lines: list[dict[str, Any]]) -> str:
    """Return the counts of some runs as a table in Markdown."""
    counts, lost = (sum((Counter(line[key]) for line in lines), Counter[str]()) for key in ("counts", "lost"))
    points = {name: count for line in lines for name, count in line["points"].items()}
    rows: list[list[Any]] = [["command", "points", *MODES, "faults", "lost"]]
    for command in (one for one in COMMANDS if one.name in points):
        tried = [counts[f"{command.name} {mode}"] for mode in MODES]
        rows.append([f"`{command.shown}`", points[command.name], *tried, sum(tried), lost[command.name]])
    rows.append(["**all**", *(sum(row[place] for row in rows[1:]) for place in range(1, len(rows[0])))])
    signals = sum(line["stops"] for line in lines)
    rows.append(["signals at drawn moments", *([""] * (len(MODES) + 1)), signals, lost["signals"]])
    shown = ["| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else cell for cell in row) + " |" for row in rows]
    return "\n".join([shown[0], "|---" + "|---:" * (len(rows[0]) - 1) + "|", *shown[1:]])


def put_into_page(found: str) -> None:
    """Replace the table in docs/faults.md."""
    page = HERE.parents[1] / "docs" / "faults.md"
    begin, end = "<!-- table -->\n", "<!-- end of the table -->\n"
    before, _, rest = page.read_text().partition(begin)
    page.write_text(before + begin + found + "\n" + end + rest.partition(end)[2])


if __name__ == "__main__":
    sys.exit(main())
