"""What the workers behind one port tell each other: their counts, so that any of them answers for all.

Each worker writes its counts into a file of its own, once a second, whole or not at all; who is asked for metrics sums
its own with the others' last ones. Counts of a worker that has ended stay in the sum; what it had under way does not.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from bertwright import door, files
from bertwright.deploy.metrics import METRICS, Snapshot, summed

LOG = logging.getLogger("bertwright.serve")
_EVERY = 1.0  # seconds


class Shares:
    """The counts of one worker in a folder that all share."""

    def __init__(self, folder: Path, snapshot: Callable[[], Snapshot]) -> None:
        self._own = folder / f"{os.getpid()}.json"
        self._folder, self._snapshot = folder, snapshot
        self._stop, self._told = threading.Event(), False
        self._thread = threading.Thread(target=self._write_often, name="shares", daemon=True)
        self._thread.start()

    def together(self, own: Snapshot) -> Snapshot:
        """Return the sum of all workers' counts, this one's as given."""
        others = []
        for path in self._folder.glob("*.json"):
            if path != self._own:
                others.append(_read(path))
        return summed([own, *(other for other in others if other is not None)])

    def stop(self) -> None:
        """Write the last counts and end."""
        self._stop.set()
        self._thread.join()
        self._write()

    def _write_often(self) -> None:
        while not self._stop.wait(_EVERY):
            self._write()

    def _write(self) -> None:
        content = {name: [[list(key), cell] for key, cell in cells.items()] for name, cells in self._snapshot().items()}
        partial = self._own.with_suffix(".partial")
        try:
            with door.create(partial) as stream:
                stream.write(json.dumps(content).encode())
            door.rename(partial, self._own)
        except OSError as error:
            if not self._told:
                LOG.error("the counts of this worker cannot be shared (%s); /metrics lacks them", error.strerror)
            self._told = True
        else:
            self._told = False


def _read(path: Path) -> Snapshot | None:
    """Return another worker's counts; of one that has ended without its gauges."""
    try:
        content = files.read_json(path)
    except (OSError, ValueError):
        return None
    here = _runs(int(path.stem))
    return {
        name: {tuple(key): list(map(float, cell)) for key, cell in cells}
        for name, cells in content.items()
        if name in METRICS and (here or METRICS[name].kind in ("counter", "histogram"))
    }


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
