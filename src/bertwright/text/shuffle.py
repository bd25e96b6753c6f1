"""The order of rows on the disk: drawn from the seed, in two passes over buckets, whatever the number of processes.

Each row has a key, drawn from the seed, its segment and its number there; rows lie in the order of their keys. The
keys' highest bits are the bucket, and a bucket, which becomes one file, is small enough to be sorted in memory.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""What SplitMix64 adds to its state for each number: 2^64 over the golden ratio."""


def keys_of(segment: int, count: int, seed: int) -> Keys:
    """Return the keys of a segment's rows, (count,)."""
    rows = np.arange(count, dtype=np.uint64) + (np.uint64(segment) << np.uint64(40))
    return mix(rows ^ mix(np.array([seed], dtype=np.uint64)))


def buckets_of(keys: Keys, buckets: int) -> npt.NDArray[np.int64]:
    """Return the bucket of each key, from 0."""
    return ((keys >> np.uint64(32)) * np.uint64(buckets) >> np.uint64(32)).astype(np.int64)


def mix(numbers: Keys) -> Keys:
    """Return numbers that look drawn, one to one (the finaliser of SplitMix64; Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        numbers = numbers + GOLDEN
        numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
