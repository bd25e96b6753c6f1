"""The machine that stages work on: what of it each gets, the memory they hold, and what readers want to know of it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

from bertwright import __version__
from bertwright.processes import processors
from bertwright.recipe.sections import Recipe
from bertwright.stages.kinds import KINDS, SIDE_BY_SIDE
from bertwright.stages.work import Machine


def machine(recipe: Recipe, kind: str | None = None) -> Machine:
    """Return where to work; a kind of stage that goes side by side has its share of the threads."""
    system = recipe.system
    threads = system.threads or processors()
    return Machine(
        threads=max(1, threads // system.runs) if kind in SIDE_BY_SIDE else threads,
        devices=system.devices,
        device=system.device,
        precision=system.precision,
        memory=system.memory,
        fixed_threads=system.threads is not None,
        probe=system.probe,
        attention=system.attention,
        compile=system.compile,
        activation_checkpointing=system.activation_checkpointing,
        sharding=system.sharding,
    )


class MemoryMeter:
    """The resident memory, in bytes, of this process and its children while a block runs: ``now``, and ``peak``."""

    def __init__(self, every: float = 0.2) -> None:
        self.peak = self.now = 0
        self._every = every
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryMeter:
        """Start to watch."""
        self._measure()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._measure()
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self._every):
            self._measure()

    def _measure(self) -> None:
        total = 0
        process = psutil.Process()
        for one in [process, *process.children(recursive=True)]:
            try:
                total += own_memory(one)
            except psutil.Error:
                continue
        self.now, self.peak = total, max(self.peak, total)


def own_memory(process: psutil.Process) -> int:
    """Return the bytes of memory that a process holds itself; pages of files it has mapped go when others need room."""
    info = process.memory_info()
    return int(info.rss - getattr(info, "shared", 0))


def machine_facts() -> dict[str, Any]:
    """Return what a reader of results wants to know of the machine."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
    }


def device_facts(kind: str, machine: Machine) -> dict[str, Any]:
    """Return what a stage worked on: ``cpu`` and its threads, or a GPU's name and how many of them."""
    torch = sys.modules.get("torch")
    if torch is None or not KINDS[kind].on_gpu or machine.device == "cpu" or not torch.cuda.is_available():
        return {"name": "cpu", "count": machine.threads}
    return {"name": torch.cuda.get_device_name(), "count": machine.devices if kind == "pretrain" else 1}


def processor() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str | None]:
    """Return the versions of what results depend on; ``None`` where a package is not installed."""
    found: dict[str, str | None] = {"bertwright": __version__, "python": platform.python_version()}
    for package in ("torch", "transformers", "tokenizers", "numpy", "pyarrow", "safetensors"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found
