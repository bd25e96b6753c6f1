"""Memory that ran out, said in words, with the setting that lowers it.

Libraries say it each in their own way: Python, NumPy and Arrow raise ``MemoryError``, torch and ONNX Runtime a
``RuntimeError`` with a text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bertwright.errors import InputError

_TEXTS = ("can't allocate memory", "bad_alloc", "out of memory", "not enough memory", "failed to allocate memory")
SAID = (
    "the memory that this process may take is full. Close other programs, or take fewer rows at once (`micro_batch` in "
    "a recipe; the batch stays the same). What was finished is kept; give the same command again."
)
"""What there is to say where no stage is at work."""


@contextlib.contextmanager
def memory_told(kind: str, lower: str | None) -> Iterator[None]:
    """Turn what libraries raise for want of memory into an ``InputError`` with the settings that ``lower`` it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        advice = f"Lower {lower}" if lower else "Close other programs, or take a larger machine"
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        raise InputError(
            f"{kind}: the memory that this process may take is full ({said}). {advice}; what was finished is kept and "
            "the same command continues."
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out."""
    return isinstance(error, MemoryError) or any(text in str(error).lower() for text in _TEXTS)
