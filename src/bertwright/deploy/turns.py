"""RoPE's angles and the local window of the modern family, on numpy: what its segments are given beside the states."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from bertwright.encoder.config import EncoderConfig

_LEAST = np.float32(np.finfo(np.float32).min)


@lru_cache(maxsize=64)
def turns(config: EncoderConfig, length: int) -> dict[str, np.ndarray]:
    """Return ``cosine``, ``sine``, ``local_cosine``, ``local_sine`` (T, 1, D) and ``window`` (1, 1, T, T)."""
    if config.family != "modern":
        return {}
    found = {"window": window(length, config.local_window)}
    for prefix, base in (("", config.rope_base), ("local_", config.local_rope_base)):
        found[f"{prefix}cosine"], found[f"{prefix}sine"] = rotation(length, config.width // config.heads, base)
    return found


def rotation(length: int, width: int, base: float) -> tuple[np.ndarray, np.ndarray]:
    """Return RoPE's cosines and sines, each (T, 1, D); the sines of the first half are negative."""
    frequencies = np.float32(base) ** (-np.arange(0, width, 2, dtype=np.float32) / np.float32(width))
    angles = np.arange(length, dtype=np.float32)[:, None] * frequencies.astype(np.float32)
    sines = np.concatenate((-np.sin(angles), np.sin(angles)), axis=-1)
    cosines = np.concatenate((np.cos(angles),) * 2, axis=-1)
    return cosines[:, None].astype(np.float32), sines[:, None].astype(np.float32)


def window(length: int, wide: int) -> np.ndarray:
    """Return what hides tokens further away than half a window, (1, 1, T, T)."""
    place = np.arange(length)
    far = np.abs(place[:, None] - place[None, :]) > wide // 2
    return np.where(far, _LEAST, np.float32(0))[None, None]
