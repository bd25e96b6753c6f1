"""What this machine's processor can do with 8-bit numbers."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

_FLAGS = Path("/proc/cpuinfo")


def bits_here() -> int:
    """Return the bits of a matrix's numbers in int8 that this processor adds up without overflow."""
    return 7 if overflows() else 8


@lru_cache(maxsize=1)
def overflows() -> bool:
    """Whether sums of two products of 8 bits are cut at 16 here: x86 without VNNI (AVX2 and the first AVX-512)."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not _FLAGS.is_file():
        return False
    return "vnni" not in _FLAGS.read_text(encoding="utf-8", errors="replace")
