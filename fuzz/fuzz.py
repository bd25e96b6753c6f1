"""Feed every reader of foreign bytes with inputs made wrong, for as long as there is time; the last line is JSON.

`python fuzz/fuzz.py [READER ...] [--seconds 60]`. With atheris installed (`pip install atheris`) inputs are led by the
code they reach; without it they are drawn by the tests' own mutations. Anything but a result or one of bertwright's
errors is a fault: its input is kept in build/fuzz/.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

HERE = Path(__file__).parent
KEPT = HERE.parent / "build" / "fuzz"
_MEMORY = 4 << 30  # above what libraries take at their start: an input that asks for more is a fault
_SLOW = 600  # seconds of one input that are a fault; a busy machine may hold a process for minutes


def led(name: str, seconds: int) -> None:
    """Be a process of atheris that feeds one reader; it ends by itself."""
    import atheris

    with atheris.instrument_imports(include=["bertwright"]):
        from foreign import READERS
        from mutation import mutated

    reader, folder, corpus = READERS[name], Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    for number, seed in enumerate(reader.seeds):
        (corpus / str(number)).write_bytes(seed)

    def mutate(content: bytes, most: int, seed: int) -> bytes:
        own = random.Random(seed)
        return mutated(content, own)[:most] if own.random() < 0.5 else bytes(atheris.Mutate(content, most))

    options = [f"-max_total_time={seconds}", f"-timeout={_SLOW}", f"-rss_limit_mb={_MEMORY >> 20}", "-max_len=8192"]
    atheris.Setup(
        [sys.argv[0], *options, f"-artifact_prefix={KEPT}/{name}-", str(corpus)],
        lambda content: reader.take(content, folder) and None,
        custom_mutator=mutate,
    )
    atheris.Fuzz()


def drawn(name: str, seconds: int) -> None:
    """Be a process that draws inputs for one reader."""
    from foreign import READERS
    from mutation import mutated

    reader, folder, end, count = READERS[name], Path(tempfile.mkdtemp()), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        draw = random.Random(f"{name} {count}")
        content = mutated(draw.choice(reader.seeds), draw)
        # Written first: a library that ends the process leaves no time for it.
        (KEPT / f"{name}-now").write_bytes(content)
        reader.take(content, folder)
        count += 1
    (KEPT / f"{name}-now").unlink(missing_ok=True)
    print(f"Done {count} runs in {seconds} second(s)")


def fed(name: str, seconds: int, how: str) -> tuple[int, str | None]:
    """Feed one reader in a process of its own; return how many inputs, and what ended it before its time."""
    command = [sys.executable, __file__, name, "--seconds", str(seconds), "--be", how]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    found = re.findall(r"Done (\d+) runs|#(\d+)\s+\w+\s+cov", done.stdout + done.stderr)
    count = max((int(one or other) for one, other in found), default=0)
    (KEPT / f"{name}.log").write_text(done.stdout + done.stderr)
    if done.returncode == 0:
        return count, None
    told = [line for line in done.stderr.splitlines() if re.match(r"\w*(Error|Exception|ERROR|terminate)\b", line)]
    return count, (told or [f"exit code {done.returncode}"])[-1][:200]


def main() -> int:
    """Feed all readers, or those named; exit code 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*")
    parser.add_argument("--seconds", type=int, default=60, help="for each reader")
    parser.add_argument("--be", choices=["led", "drawn"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    sys.path.insert(0, str(HERE.parent / "tests" / "hostile"))
    KEPT.mkdir(parents=True, exist_ok=True)
    if given.be:
        warnings.simplefilter("ignore")
        with contextlib.suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (8 * _MEMORY if given.be == "led" else 2 * _MEMORY,) * 2)
        {"led": led, "drawn": drawn}[given.be](given.readers[0], given.seconds)
        return 0
    from foreign import READERS

    how = "led" if importlib.util.find_spec("atheris") else "drawn"
    counts, faults = {}, {}
    for name in given.readers or READERS:
        counts[name], fault = fed(name, given.seconds, how)
        faults |= {name: fault} if fault else {}
        print(f"{name:22} {counts[name]:10,} inputs  {fault or 'no fault'}", flush=True)
    whole = {"how": how, "seconds_each": given.seconds, "readers": len(counts), "inputs": sum(counts.values())}
    print(json.dumps({**whole, "faults": faults, "by_reader": counts}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
