"""Local processes that call functions by name; arguments, news and results are lines of JSON.

Not the pool of ``multiprocessing``: that would import the user's own script once more in each process, and pickle. A
process dies with the one that started it, so that a killed run leaves nobody behind with a lock in his hand.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from bertwright import door, errors
from bertwright.errors import BertwrightError, InputError, RecipeError, RunError

Tell = Callable[[dict[str, Any]], None]
"""Receives what a function has to say while it works, as plain values."""

_PARENT_DEATH = 1  # PR_SET_PDEATHSIG


def launched() -> bool:
    """Return whether a launcher of ranks (torchrun, ``accelerate launch``) started this process among others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ)


def silent(_: dict[str, Any]) -> None:
    """Tell nobody."""


class Function(Protocol):
    """What can be called: a function at the top of a module, plain values in and out."""

    __module__: str
    __qualname__: str

    def __call__(self, argument: Mapping[str, Any], tell: Tell = ...) -> dict[str, Any]:
        """Do the work and tell of it."""


class Processes:
    """Some processes behind ``submit``, in the sense of ``concurrent.futures``; a context manager.

    They end with the block. Where it ends by an error, one that is at work is asked to save and leave, and what has
    not begun does not begin.
    """

    def __init__(self, count: int, *, threads: int = 1) -> None:
        self._count = count
        self._environment = os.environ | {name: str(threads) for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")}
        self._idle: queue.SimpleQueue[tuple[subprocess.Popen[str], Path]] = queue.SimpleQueue()
        self._all: list[subprocess.Popen[str]] = []
        self._threads = ThreadPoolExecutor(count)
        # Threads may start one at the same moment: a count of its own gives no number twice.
        self._numbers = itertools.count()
        self._stack = contextlib.ExitStack()
        self._folder = Path()

    def __enter__(self) -> Processes:
        """Start the processes; they come up while the caller goes on."""
        self._folder = self._stack.enter_context(door.passing_folder("processes"))
        for _ in range(self._count):
            self._start()
        return self

    def _start(self) -> None:
        """Start one more process."""
        said = self._folder / f"stderr-{next(self._numbers)}"
        with door.opened_for(said) as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=self._environment,
                encoding="utf-8",
            )
        self._all.append(process)
        self._idle.put((process, said))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the processes and wait for them."""
        if kind is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        else:
            self._threads.shutdown()
        for process in self._all:
            process.terminate()
        self._threads.shutdown()
        for process in self._all:
            for pipe in (process.stdin, process.stdout):
                # What could not be sent to a process that has ended is lost with it.
                with contextlib.suppress(BrokenPipeError):
                    if pipe is not None:
                        pipe.close()
            process.wait()
        self._stack.close()

    def submit(self, function: Function, argument: Mapping[str, Any], tell: Tell = silent) -> Future[dict[str, Any]]:
        """Call a function in the next idle process; ``tell`` is called in a thread of this one.

        The future raises what the function raised, and ``RunError`` with the end of its stderr where a process died.
        """
        return self._threads.submit(self._call, f"{function.__module__}:{function.__qualname__}", argument, tell)

    def _call(self, target: str, argument: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
        process, said = self._idle.get()
        answered = False
        try:
            for kind, content in _answers(process, {"target": target, "argument": argument}):
                if kind == "tell":
                    tell(content)
                    continue
                answered = True
                if kind == "done":
                    return dict(content)
                raise _error(kind, content)
            code = process.wait()
            end = said.read_text(encoding="utf-8", errors="replace").strip()[-1500:]
            raise RunError(
                f"a process {ended(code)} while it worked at {target}. What was saved is kept and the same command "
                f"continues. It said:\n{end}"
            )
        finally:
            if answered and process.poll() is None:
                self._idle.put((process, said))
            else:
                process.kill()  # where `tell` failed: what it would still answer is no answer to the next call
                process.wait()
                self._start()  # whoever calls next finds a whole one


def _error(kind: str, said: str) -> BertwrightError:
    """Return an error as a process raised it; a recipe's is made of its problems, and what was sent is their text."""
    found: type[BertwrightError] = getattr(errors, kind, RunError)
    return InputError(said) if issubclass(found, RecipeError) else found(said)


def _answers(process: subprocess.Popen[str], call: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Send a call and give the answers, kind and content; they end early where the process dies."""
    if process.stdin is None or process.stdout is None:
        return
    try:
        print(json.dumps(call), file=process.stdin, flush=True)
    except BrokenPipeError:
        return
    for line in process.stdout:
        if not line.endswith("\n"):
            return
        kind, content = json.loads(line)
        yield kind, content


def ended(code: int) -> str:
    """Say how a process ended that should not have."""
    if code == -signal.SIGKILL:
        return (
            "was killed, by somebody or because the machine's memory was full (lower `system.runs` or `system.threads`)"
        )
    return f"ended with code {code}"


def processors() -> int:
    """Return how many processors this process may use; a system that cannot tell has all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def die_with(parent: int) -> None:
    """Let this process die with the one that started it (on Linux); end it where that one is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def named(target: str) -> Any:
    """Return what ``module:function`` names."""
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)


def serve(parent: int) -> None:
    """Be one process: answer calls from stdin until it ends."""
    die_with(parent)
    # Libraries print to stdout as they like; the answers have a door of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(kind: str, content: Any) -> None:
        print(json.dumps([kind, content]), file=answers, flush=True)

    for line in sys.stdin:
        call = json.loads(line)
        try:
            result = named(call["target"])(call["argument"], lambda fields: answer("tell", fields))
        except BertwrightError as error:
            answer(type(error).__name__, str(error))
        else:
            answer("done", result)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
