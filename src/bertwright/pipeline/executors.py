"""One stage, from lock to seal: a plain function of plain values, so that any executor can carry it out.

``execute`` may be handed to anything with ``submit()`` in the sense of ``concurrent.futures``.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from bertwright import __version__, files
from bertwright.out_of_memory import memory_told
from bertwright.processes import Tell, processors, silent
from bertwright.recipe.sections import Recipe
from bertwright.reports.cards import write_cards
from bertwright.stages.kinds import KINDS, SIDE_BY_SIDE, stage_function
from bertwright.stages.work import Machine, Work
from bertwright.store import Sealed, Store, now
from bertwright.training.allocation import give_back


@dataclass(frozen=True)
class Job:
    """A stage that is due, and what is sealed with its results: all that another process or machine needs."""

    store: Path
    work: Work
    parts: Mapping[str, Any]
    recipe: str

    def as_json(self) -> dict[str, Any]:
        """Return the job as plain values, for another process or machine."""
        return {"store": str(self.store), "work": self.work.as_json(), "parts": self.parts, "recipe": self.recipe}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Job:
        """Return the job that ``as_json`` described."""
        return cls(Path(content["store"]), Work.from_json(content["work"]), content["parts"], content["recipe"])


def execute(job: Job, tell: Tell = silent) -> Sealed:
    """Do one stage and seal it; a stage that another run sealed meanwhile is taken as it is."""
    store, work = Store(job.store), job.work
    stage = work.kind, work.identity
    with store.lock(*stage):
        if sealed := store.sealed(*stage):
            return sealed
        with store.working(*stage) as folder:
            started, clock = now(), time.monotonic()
            with MemoryMeter() as meter, memory_told(work.kind, KINDS[work.kind].lower):
                results = stage_function(work.kind)(
                    replace(work, tell=lambda fields: tell({**fields, "memory_bytes": meter.now}))
                )
            give_back()
            files.write_text(folder / "recipe.yaml", job.recipe)
            told = {"kind": work.kind, "name": work.name, "identity": work.identity, "license": work.license}
            write_cards(folder, {**told, "parts": job.parts, "results": results}, work.inputs, work.paths)
            record = {
                "name": work.name,
                "parts": job.parts,
                "started": started,
                "seconds": round(time.monotonic() - clock, 3),
                "peak_memory_bytes": meter.peak,
                "machine": machine_facts(),
                "device": device_facts(work.kind, work.machine),
                "versions": versions(),
                "results": results,
            }
            return store.seal(*stage, record)


def carry_out(argument: Mapping[str, Any], tell: Tell = silent) -> dict[str, Any]:
    """Do one stage from its plain values, in another process; what is sealed then lies in the store."""
    tell({"event": "begin"})
    execute(Job.from_json(argument), lambda fields: tell({"event": "work", **fields}))
    return {}


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
