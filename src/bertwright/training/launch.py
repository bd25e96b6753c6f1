"""Ranks that another launcher started (torchrun, ``accelerate launch``): one leads, the others wait for trainings."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

import torch.distributed as dist

from bertwright.errors import InputError
from bertwright.training.ranks import Ranks, join

_PATIENCE = timedelta(minutes=30)
# What `accelerate launch` sets for engines that bring a training loop of their own.
_ENGINES = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "accelerate's FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}
_EVERY, _GOODBYE = 0.2, 30.0  # seconds between looks, and to wait for the others at the end


class Launch:
    """The launcher's common store: the first rank leaves works there, and each other rank takes them in order.

    The ranks' own group is made with the first training and not before: text may take hours to prepare, and whoever
    waits in a group gives up after a while.
    """

    def __init__(self) -> None:
        """Meet the other ranks; ``InputError`` where the launcher asks for an engine that nobody would use."""
        for name, engine in _ENGINES.items():
            if os.environ.get(name, "").lower() in ("1", "true"):
                raise InputError(
                    f"the launcher asks for {engine} ({name} is set), and training would go on without it; start "
                    "without it and set `system.sharding=true`, which divides weights, gradients and the optimizer's "
                    "memory among the ranks"
                )
        self._store, self.rank, self.world = next(iter(dist.rendezvous("env://", timeout=_PATIENCE)))  # type: ignore[attr-defined]
        self._works = 0
        self._ranks: Ranks | None = None

    def send(self, work: Mapping[str, Any] | None) -> None:
        """Leave a work for the other ranks; ``None`` is the end."""
        self._store.set(f"bertwright/work/{self._works}", json.dumps(work))
        self._works += 1

    def receive(self) -> dict[str, Any] | None:
        """Wait for the next work."""
        key = f"bertwright/work/{self._works}"
        while not self._store.check([key]):
            time.sleep(_EVERY)
        self._works += 1
        work: dict[str, Any] | None = json.loads(self._store.get(key))
        if work is None:
            self._store.add("bertwright/left", 1)
        return work

    def end(self, *, wait: bool) -> None:
        """Tell the others that there is no more, and ``wait`` a while until they know: the store goes with this rank.

        After a failure nobody may be there to hear it.
        """
        self.send(None)
        begun = time.monotonic()
        while wait and self._store.add("bertwright/left", 0) < self.world - 1 and time.monotonic() - begun < _GOODBYE:
            time.sleep(_EVERY)
        self.leave()

    def leave(self) -> None:
        """Leave the group of ranks, if there was one."""
        if self._ranks is not None:
            dist.destroy_process_group()

    def ranks(self, place: str) -> Ranks:
        """Return this process's place among the ranks that train, on "auto" or "cpu"; all of them have to ask."""
        if self._ranks is None:
            store = dist.PrefixStore("bertwright/ranks", self._store)  # type: ignore[attr-defined]
            self._ranks = join(self.rank, self.world, place, store)
        return self._ranks


@lru_cache(maxsize=1)
def launch() -> Launch:
    """Return what this process was launched into."""
    return Launch()
