"""The folder of packs that a server watches: what is put there is served, what is taken away is not, without a restart.

Files are looked at by name, size and time. A file is read once it has been the same at two looks, so that one that is
still being written is left alone; one that cannot be served is told with its reason and harms no other. Where a new
file of a served pack is faulty, the pack that was there goes on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bertwright.deploy.exit_watch import ExitWatch
from bertwright.deploy.metrics import Metrics
from bertwright.errors import BertwrightError
from bertwright.pack import SUFFIX

Signature = tuple[int, int, int]


class Serves(Protocol):
    """What a folder does to the runtime."""

    @property
    def packs(self) -> Mapping[str, Any]:
        """The packs that are served, by name."""

    def add(self, pack: Path, name: str) -> str:
        """Serve a pack under a name, in place of one that has it."""

    def remove(self, name: str) -> None:
        """Serve a pack no longer."""


@dataclass
class _File:
    seen: Signature
    done: bool = False  # this content was read, or found faulty


def _nothing(_line: str) -> None:
    return


class PackFolder:
    """Keeps a runtime's packs as the files of a folder are. ``tell`` gets a line for each change."""

    def __init__(
        self,
        runtime: Serves,
        folder: Path,
        *,
        metrics: Metrics | None = None,
        exits: ExitWatch | None = None,
        tell: Callable[[str], None] = _nothing,
    ) -> None:
        self.folder, self._runtime, self._tell = folder, runtime, tell
        self._metrics, self._exits = metrics or Metrics(), exits or ExitWatch()
        self._own = frozenset(runtime.packs)  # of the export; no file takes their names
        self._files: dict[str, _File] = {}
        self._served: set[str] = set()
        self._faults: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def faults(self) -> dict[str, str]:
        """What is not served, by file name, and why; the folder itself as `.`."""
        return dict(self._faults)

    def look(self, *, settled: bool = False) -> None:
        """Take up what has changed; ``settled`` takes new files at their first look, as at a start."""
        try:
            found = _signatures(self.folder)
        except OSError as error:
            # A share that is away for a minute is no order to drop every pack.
            self._fault(".", f"the folder cannot be read ({error.strerror}); its packs are served as they were")
            self._show()
            return
        self._faults.pop(".", None)
        for name in sorted(set(self._files) - set(found)):
            self._forget(name)
        for name, signature in sorted(found.items()):
            file = self._files.get(name)
            if file is None or file.seen != signature:
                self._files[name] = file = _File(signature)
                if not settled:
                    continue
            if not file.done:
                self._take(name, file)
        self._show()

    def start(self, interval: float) -> None:
        """Look every so many seconds, in a thread."""
        self._thread = threading.Thread(target=self._watch, args=(interval,), name="packs folder", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, interval: float) -> None:
        while not self._stop.wait(interval):
            try:
                self.look()
            except Exception as error:  # the watch has to outlive whatever one file brings
                self._fault(".", f"{type(error).__name__}: {error}")

    def _take(self, file_name: str, file: _File) -> None:
        name, path = file_name.removesuffix(SUFFIX), self.folder / file_name
        file.done = True
        if name in self._own:
            self._fault(file_name, f"the export has a pack {name!r} of its own; give the file another name")
            return
        try:
            self._runtime.add(path, name)
        except Exception as error:  # the packs beside it have to outlive whatever one file brings
            kept = "; the pack that was there before is still served" if name in self._served else ""
            told = str(error) if isinstance(error, BertwrightError | OSError) else f"{type(error).__name__}: {error}"
            self._fault(file_name, f"{told}{kept}")
            file.done = not isinstance(error, OSError)  # what the system refused now it may give later
            return
        change = "replaced" if name in self._served else "taken up"
        self._exits.begin(name, self._runtime.packs[name].calibrated)
        self._served.add(name)
        self._faults.pop(file_name, None)
        self._say(change, name)

    def _forget(self, file_name: str) -> None:
        name = file_name.removesuffix(SUFFIX)
        del self._files[file_name]
        self._faults.pop(file_name, None)
        if name in self._served:
            self._served.remove(name)
            self._runtime.remove(name)
            self._exits.end(name)
            self._say("removed", name)

    def _say(self, change: str, name: str) -> None:
        self._metrics.count("pack_changes_total", (change,))
        self._tell(f"pack {name}: {change}")

    def _fault(self, file_name: str, message: str) -> None:
        if self._faults.get(file_name) != message:
            self._tell(f"{file_name}: {message}")
        self._faults[file_name] = message

    def _show(self) -> None:
        self._metrics.put("packs", len(self._runtime.packs))
        self._metrics.put("pack_faults", len(self._faults))


def _signatures(folder: Path) -> dict[str, Signature]:
    """Return time, size and number of every pack's file in a folder."""
    found: dict[str, Signature] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.endswith(SUFFIX) or entry.name.startswith("."):
                continue
            try:
                status = entry.stat()
            except FileNotFoundError:
                continue  # gone since the listing; the next look sees it so
            found[entry.name] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found
