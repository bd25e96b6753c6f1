"""Several worker processes behind one port, and the one that looks after them.

The parent opens the port and hands it down; each worker opens the export by itself, and the system keeps what is mapped
from its files (the embeddings) in memory once. A worker that ends unasked is replaced, more slowly the more often;
where one cannot begin, all end. SIGTERM goes on to every worker, and each drains.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from types import FrameType

_LOOK = 0.1  # seconds between two looks at the workers
_EARLY = 10.0  # seconds within which an end is a failed begin
_TRIES = 5  # failed begins in a row, of all workers
_PATIENCE = 5.0  # seconds beyond a drain's own, before a worker is ended


class Workers:
    """Starts ``count`` processes of a command and keeps them; ``tell`` gets a line for each that ends.

    They inherit the port's file descriptor; ``drain`` is how long a worker may take to end.
    """

    def __init__(
        self, command: Sequence[str], listening: socket.socket, count: int, *, drain: float, tell: Callable[[str], None]
    ) -> None:
        self._command, self._socket, self._count = list(command), listening, count
        self._drain, self._tell = drain, tell
        self._running: list[tuple[subprocess.Popen[bytes], float]] = []
        self._asked: float | None = None
        self._failed = 0
        self._next = 0.0  # before this moment no worker is replaced

    def run(self) -> int:
        """Keep the workers until a signal comes; return the exit code."""
        before = {number: signal.signal(number, self._signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            while self._asked is None and self._failed < _TRIES:
                self._replace()
                time.sleep(_LOOK)
        finally:
            code = self._end()
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._failed >= _TRIES:
            self._tell(f"workers ended {_TRIES} times within {_EARLY:g} s of their begin; see above what they said")
            return 1
        return code

    def _signal(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = time.monotonic()

    def _replace(self) -> None:
        """Begin what is missing."""
        now = time.monotonic()
        for one in [one for one in self._running if one[0].poll() is not None]:
            self._running.remove(one)
            process, begun = one
            early = now - begun < _EARLY
            self._failed = self._failed + 1 if early else 0
            self._next = now + (2.0**self._failed / 2 if early else 0.0)
            self._tell(f"worker {process.pid} ended with code {process.returncode}; another takes its place")
        if now >= self._next:
            while len(self._running) < self._count:
                self._running.append((self._begin(), now))

    def _begin(self) -> subprocess.Popen[bytes]:
        # A group of its own: Ctrl-C in a terminal reaches the parent alone, which passes it on once.
        return subprocess.Popen(self._command, pass_fds=[self._socket.fileno()], start_new_session=True)

    def _end(self) -> int:
        """Ask all to drain, wait, and end who does not; return the worst exit code."""
        self._socket.close()
        for process, _ in self._running:
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + self._drain + _PATIENCE
        worst = False
        for process, _ in self._running:
            try:
                code = process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            # One that had not begun knows no drain, and had taken nothing.
            worst = worst or (code != 0 and code != -signal.SIGTERM)
        return int(worst)
