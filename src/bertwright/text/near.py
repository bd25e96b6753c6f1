"""Documents that are nearly the same as an earlier one: MinHash signatures (rensa), bands, and a comparison.

The share of equal places in two signatures estimates the Jaccard similarity of the documents' sets of 5-word runs
(Broder 1997), with a standard error of at most 4.5 points. Documents that agree in a whole band are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from bertwright.errors import InputError
from bertwright.text.shingles import Shingles

WORDS = 5
PLACES = 128
_BANDS = 32  # of 4 places each: documents of similarity 0.65 meet in one with a chance of 99.8 %
_SEED = 42
# Bytes of memory at once for each document: a band's hashes, their order, candidates.
PER_DOCUMENT = 80

Signatures = npt.NDArray[np.uint32]


def rensa_library() -> Any:
    """Return rensa; ``InputError`` where it is not installed."""
    try:
        import rensa
    except ImportError:
        raise InputError(
            'near-duplicates need the package rensa: pip install "bertwright[near-dedup]" (or leave '
            "prepare.near_duplicates out)"
        ) from None
    return rensa


def signatures_of(shingles: Shingles) -> Signatures:
    """Return each document's signature, (B, 128); one too short for a run of words has zeros."""
    found = np.zeros((len(shingles.counts), PLACES), dtype=np.uint32)
    some = np.flatnonzero(shingles.counts)
    if len(some):
        ends = np.concatenate([[0], np.cumsum(shingles.counts[some])]).astype(np.uint64)
        matrix = rensa_library().RMinHash.digest_matrix_from_flat_token_hashes(shingles.hashes, ends, PLACES, _SEED)
        found[some] = np.array(matrix.to_rows(), dtype=np.uint32)
    return found


def find_near(signatures: Signatures, there: npt.NDArray[np.bool_], *, least: float) -> npt.NDArray[np.int64]:
    """Return for each document, (n,), the first one that it is nearly the same as; itself where there is none.

    Signatures (n, 128) may be mapped from the disk. Only documents that are ``there`` are looked at. Where a is like b
    and b like c, all three are one group.
    """
    first = np.arange(len(signatures))
    for band in range(_BANDS):
        for one, other in _candidates(signatures, there, band):
            a, b = _root(first, one), _root(first, other)
            if a != b and np.mean(signatures[one] == signatures[other]) >= least:
                first[max(a, b)] = min(a, b)
    return np.array([_root(first, document) for document in range(len(first))], dtype=np.int64)


def _candidates(signatures: Signatures, there: npt.NDArray[np.bool_], band: int) -> Iterator[tuple[int, int]]:
    """Give pairs of documents that agree in a band: each with the first of its kind, and with the one before it."""
    rows = PLACES // _BANDS
    places = slice(band * rows, (band + 1) * rows)
    bands = signatures[:, places]
    documents = np.flatnonzero(there & bands.any(axis=1))
    keys = np.ascontiguousarray(bands[documents]).view([("", np.uint32)] * rows).ravel()
    _, kind = np.unique(keys, return_inverse=True)
    order = np.argsort(kind, kind="stable")
    documents, kind = documents[order], kind[order]
    head = 0
    for place in (np.flatnonzero(kind[1:] == kind[:-1]) + 1).tolist():
        if place == 1 or kind[place - 2] != kind[place - 1]:
            head = place - 1
        yield int(documents[place]), int(documents[head])
        if place - 1 != head:
            yield int(documents[place]), int(documents[place - 1])


def _root(first: npt.NDArray[np.int64], document: int) -> int:
    while first[document] != document:
        first[document] = first[first[document]]
        document = int(first[document])
    return document
