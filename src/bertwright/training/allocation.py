"""Memory that is freed and soon wanted again stays with the process while it trains."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from typing import Any

import psutil

# glibc's names for its settings, and their usual values.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_USUAL_TRIM, _USUAL_MMAPS = 128 * 1024, 65_536
_LOOSE = 1.25


class Kept:
    """Memory that glibc keeps; ``tidy`` gives back what has come loose."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._needed, self._tidied = 0, True

    def tidy(self) -> None:
        """Call this after each step: pages go back when a quarter more is kept than steps have been seen to need.

        Tensors of ever other sizes leave gaps that nothing fits into, and a fine-tuning run would grow for as long as
        it lasts. What is kept one step after pages went back is what a step needs.
        """
        if self._library is None:
            return
        kept = psutil.Process().memory_info().rss
        if self._tidied:
            self._needed, self._tidied = max(kept, self._needed), False
        elif kept > _LOOSE * self._needed:
            self._library.malloc_trim(0)
            self._tidied = True


@contextlib.contextmanager
def memory_kept() -> Iterator[Kept]:
    """Keep freed memory while the block runs, and give it back at its end.

    glibc takes each large tensor from the system and returns it when it is freed, so that every step begins with new
    pages, zeroed one by one: a quarter of the time of training a small encoder. Elsewhere this does nothing.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt"):
        yield Kept(None)
        return
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, -1)
    try:
        yield Kept(library)
    finally:
        library.mallopt(_MMAP_MAX, _USUAL_MMAPS)
        library.mallopt(_TRIM_THRESHOLD, _USUAL_TRIM)
        library.malloc_trim(0)
