"""One stage, from lock to seal: a plain function of plain values, so that any executor can carry it out.

``execute`` may be handed to anything with ``submit()`` in the sense of ``concurrent.futures``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bertwright import files
from bertwright.out_of_memory import memory_told
from bertwright.pipeline.machine import MemoryMeter, device_facts, machine_facts, versions
from bertwright.processes import Tell, silent
from bertwright.reports.cards import write_cards
from bertwright.stages.kinds import KINDS, stage_function
from bertwright.stages.work import Work
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
