"""Number formats: which one the machine is fast in, and how fast it is."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from bertwright.errors import InputError

Module = TypeVar("Module", bound=nn.Module)

_PATIENCE = 1.0  # seconds for one product
_CPU_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


@dataclass(frozen=True)
class Precision:
    """Where and in which format to train."""

    device: torch.device
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """The format's short name."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.dtype)

    def copy_of(self, module: Module) -> Module:
        """Return a copy of a trained module that answers there, in this format, dropout off; its own stays fp32."""
        return copy.deepcopy(module).to(self.device, self.dtype).eval()


DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def choose(device: str = "auto", precision: str = "auto") -> Precision:
    """Return device and format: ``device`` is "auto", "cpu" or "cuda", ``precision`` "auto" or a name of ``DTYPES``."""
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("system.device is cuda, and PyTorch sees no CUDA device here; use `system.device=cpu`")
    place = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    if precision != "auto":
        return Precision(place, DTYPES[precision])
    if place.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return Precision(place, torch.bfloat16 if fast else torch.float16)
    return Precision(place, torch.bfloat16 if _CPU_FLAGS & _cpu_flags() else torch.float32)


def _cpu_flags() -> set[str]:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return set()
    line = next((x for x in cpuinfo.read_text().splitlines() if x.startswith(("flags", "Features"))), "")
    return set(line.partition(":")[2].split())


@lru_cache(maxsize=4)
def matmul_peak(dtype: torch.dtype, device: str = "cpu") -> float:
    """Return the floating-point operations a second of the best of a few large matrix products, measured now."""
    small, large = (512, 2048) if device == "cpu" else (1024, 8192)
    peak = _products(dtype, device, small, times=2)
    # A format that a machine has no instructions for would take minutes.
    return peak if 2 * large**3 / peak > _PATIENCE else _products(dtype, device, large, times=6)


def _products(dtype: torch.dtype, device: str, size: int, *, times: int) -> float:
    a = torch.randn(size, size, device=device).to(dtype)
    b = torch.randn(size, size, device=device).to(dtype)
    best = float("inf")
    for _ in range(times):
        begun = time.perf_counter()
        a @ b
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best
