"""Several processes as one trainer: what they sum, what the first decides for all, and how they are started.

Gradients are summed over ranks after the last micro-batch, in one flat piece, and divided by the count of the whole
step. So any loss works, whatever it does inside, and the number of ranks changes no result but rounding.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bertwright import door, files
from bertwright.errors import InputError, RunError
from bertwright.processes import die_with, ended, named

_PATIENCE = timedelta(minutes=30)
_GOODBYE = 120.0  # seconds for the end of a step and a checkpoint, when ranks are asked to stop


class Ranks:
    """This process's place among ``world`` ranks; alone, nothing is sent anywhere."""

    def __init__(self, rank: int = 0, world: int = 1, device: torch.device | None = None) -> None:
        self.rank = rank
        self.world = world
        self._device = device or torch.device("cpu")

    @classmethod
    def from_environment(cls, device: str = "auto") -> Ranks:
        """Join the ranks that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT tell of."""
        return join(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")), device)

    def sum_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Replace each gradient by its sum over all ranks."""
        if self.world > 1:
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            dist.all_reduce(flat)
            for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def total(self, *numbers: float) -> list[float]:
        """Return the sums over all ranks."""
        if self.world == 1:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float64, device=self._device)
        dist.all_reduce(tensor)
        return [float(number) for number in tensor.cpu()]

    def first(self, *numbers: float) -> list[float]:
        """Return the first rank's numbers, so that all decide alike."""
        return self.total(*(numbers if self.rank == 0 else [0.0] * len(numbers)))

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world > 1:
            dist.barrier()


def join(rank: int, world: int, place: str = "auto", store: Any = None) -> Ranks:
    """Join a group of ranks, each with its own GPU where there are any and ``place`` is not "cpu".

    They meet by a store or by the environment. ``InputError`` where there are fewer GPUs than ranks here.
    """
    if world == 1:
        return Ranks()
    cuda, number = torch.cuda.is_available() and place != "cpu", int(os.environ.get("LOCAL_RANK", rank))
    if cuda and number >= torch.cuda.device_count():
        raise InputError(
            f"there are {torch.cuda.device_count()} GPUs here and rank {number} has none (ranks count from 0); lower "
            "`system.devices`, or set `system.device=cpu`"
        )
    device = torch.device("cuda", number) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    meeting = {} if store is None else {"store": store, "rank": rank, "world_size": world}
    dist.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE, **meeting)
    return Ranks(rank, world, device)


def start(
    count: int,
    target: str,
    argument: Mapping[str, Any],
    *,
    threads: int,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Run ``module:function`` with a JSON argument in ``count`` local processes, which form one group.

    Cores are divided among them; ``meanwhile`` is called now and then. ``RunError`` tells the end of the first one's
    stderr that fails; the others are ended.
    """
    with door.passing_folder("ranks") as folder:
        files.write_json(folder / "argument.json", argument)
        environment = os.environ | {
            "WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            "OMP_NUM_THREADS": str(max(1, threads // count)),
        }
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(count):
                with door.opened_for(folder / f"stderr-{rank}") as stderr:
                    command = [sys.executable, "-m", __name__, target, str(folder / "argument.json"), str(os.getpid())]
                    own = environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                    processes.append(subprocess.Popen(command, env=own, stderr=stderr))
            _wait(processes, folder, meanwhile)
            meanwhile()
        finally:
            _end(processes)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask processes to save and leave; end those that do not, as one that waits in a collective may hear nothing."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    latest = time.monotonic() + _GOODBYE
    for process in processes:
        try:
            process.wait(max(0.0, latest - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(processes: Sequence[subprocess.Popen[bytes]], folder: Path, meanwhile: Callable[[], None]) -> None:
    """Wait until all have ended well; raise with what each said that did not."""
    while not any(codes := [process.poll() for process in processes]):  # each is asked: `any` stops at a failure
        if None not in codes:
            return
        time.sleep(0.1)
        meanwhile()
    # One failure soon breaks the others' connections: the first to fail is among those that ended by now.
    time.sleep(0.5)
    said = [
        f"rank {rank} of {len(processes)} {ended(process.returncode)} and said:\n"
        + (folder / f"stderr-{rank}").read_text(errors="replace").strip()[-1500:]
        for rank, process in enumerate(processes)
        if process.poll()
    ]
    for process in processes:
        process.kill()  # who waits for a rank that is gone may be in a call that hears no other signal
    raise RunError("training stopped. The last checkpoint is kept and the same command continues.\n" + "\n".join(said))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _main(target: str, argument: str, parent: str) -> None:
    """Be one rank."""
    die_with(int(parent))
    named(target)(json.loads(Path(argument).read_text(encoding="utf-8")))
    if dist.is_initialized():
        dist.destroy_process_group()
    # All is written. gloo's threads sometimes outlive it and abort an interpreter that winds itself down.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    _main(*sys.argv[1:])
