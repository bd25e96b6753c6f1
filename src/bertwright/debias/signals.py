"""What an expert says of a training set, in one file: logits and attributions, joined to rows by id and content.

A parquet file with, for each row, its id, a hash of its texts and gold label, a logit a label, and the saliency of each
of its tokens in fp16, as a share of the row's largest (a cosine sees no scale). Its schema holds what it was made with.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from bertwright import files
from bertwright.errors import DataError, InputError

_ABOUT = b"bertwright-signals"
_VERSION = 1
_LOGITS: dict[str, type[np.float16] | type[np.float32]] = {"fp16": np.float16, "fp32": np.float32}
_AGAIN = "make the signals again from these rows"


@dataclass(frozen=True)
class Signals:
    """An expert's signals over n rows: ids, content hashes (n,), label names, logits (n, C) fp32 and saliency.

    ``saliency`` (N,) holds the rows' tokens one behind the other within ``bounds`` (n + 1,); both ``None`` for an
    expert of unknown inside. ``about`` says what made them, in plain values.
    """

    ids: tuple[str, ...]
    content: npt.NDArray[np.uint64]
    labels: tuple[str, ...]
    logits: npt.NDArray[np.float32]
    saliency: npt.NDArray[np.float16] | None = None
    bounds: npt.NDArray[np.int64] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def some(self, rows: npt.NDArray[np.int64]) -> Signals:
        """Return the signals of the rows of these numbers, in this order."""
        ids, content, logits = tuple(self.ids[row] for row in rows), self.content[rows], self.logits[rows]
        if self.saliency is None or self.bounds is None:
            return Signals(ids, content, self.labels, logits, about=self.about)
        counts = np.diff(self.bounds)[rows]
        ends = np.cumsum(counts)
        tokens = np.arange(int(counts.sum())) + np.repeat(self.bounds[rows] - (ends - counts), counts)
        bounds = np.concatenate([[0], ends]).astype(np.int64)
        return Signals(ids, content, self.labels, logits, self.saliency[tokens], bounds, self.about)


def content_of(texts: Sequence[tuple[str, ...]], golds: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Return a hash of each row's texts and gold label, (n,): of all that an attribution of the gold logit hangs on."""
    hashes = []
    for parts, gold in zip(texts, golds, strict=True):
        digest = xxhash.xxh3_64()
        for part in (*parts, gold):
            content = part.encode()
            # The length stands in front, so that no two rows read alike.
            digest.update(len(content).to_bytes(8, "little"))
            digest.update(content)
        hashes.append(digest.intdigest())
    return np.array(hashes, dtype=np.uint64)


def shares_of(saliency: npt.NDArray[np.floating], bounds: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
    """Return saliencies (N,) as shares of their row's largest, fp16; each row within ``bounds`` has one or more."""
    largest = np.maximum.reduceat(saliency.astype(np.float64), bounds[:-1])
    divisor = np.where(largest > 0, largest, 1.0)
    return np.asarray(saliency / np.repeat(divisor, np.diff(bounds)), dtype=np.float16)


def write(path: Path, signals: Signals, *, logits: str = "fp16") -> None:
    """Write signals, whole or not at all; ``logits`` is "fp16" or "fp32". ``DataError`` for one that is not finite."""
    kind = _LOGITS[logits]
    fits = (np.abs(signals.logits) <= np.finfo(kind).max).all(axis=1)  # false for NaN too
    if not fits.all():
        row = int(np.flatnonzero(~fits)[0])
        raise DataError(
            f"row with id {signals.ids[row]}: its logits {signals.logits[row].tolist()} are no finite numbers in "
            f"{logits}; correct the expert, or keep the logits in fp32"
        )
    columns = {
        "id": pa.array(signals.ids, pa.string()),
        "content": pa.array(signals.content, pa.uint64()),
        **{f"logit_{n}": pa.array(signals.logits[:, n].astype(kind)) for n in range(len(signals.labels))},
    }
    if signals.saliency is not None and signals.bounds is not None:
        offsets = pa.array(signals.bounds, pa.int32())
        columns["saliency"] = pa.ListArray.from_arrays(offsets, pa.array(signals.saliency))
    about = {"version": _VERSION, "labels": list(signals.labels), "about": dict(signals.about)}
    table = pa.table(columns).replace_schema_metadata({_ABOUT: json.dumps(about, allow_nan=False).encode()})
    # Signs and exponents of neighbours are alike: side by side they pack better.
    split = ["saliency.list.element"] if "saliency" in columns else False
    with files.writing(path) as stream:
        pq.write_table(
            *(table, stream),
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
            use_byte_stream_split=split,
            column_encoding={"id": "DELTA_BYTE_ARRAY"},
        )


def read(path: Path) -> Signals:
    """Read what ``write`` wrote; ``DataError`` for any other file."""
    if not path.is_file():
        raise DataError(f"{path} is not there; name a file of signals")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]}); {_AGAIN}") from error
    header = (table.schema.metadata or {}).get(_ABOUT)
    if header is None:
        raise DataError(
            f"{path}: found a parquet file without an expert's signals in it (its columns are "
            f"{', '.join(table.column_names)}); name a file that bertwright wrote, or an expert's `file`"
        )
    about = json.loads(header)
    if about["version"] != _VERSION:
        raise DataError(f"{path}: found signals of version {about['version']}, expected {_VERSION}; {_AGAIN}")
    labels = tuple(about["labels"])
    logits = np.stack([table[f"logit_{n}"].to_numpy().astype(np.float32) for n in range(len(labels))], axis=1)
    ids, content = tuple(table["id"].to_pylist()), table["content"].to_numpy()
    if "saliency" not in table.column_names:
        return Signals(ids, content, labels, logits, about=about["about"])
    lists = table["saliency"].combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    bounds = lists.offsets.to_numpy().astype(np.int64)
    values = lists.values.to_numpy(zero_copy_only=False)[bounds[0] : bounds[-1]]
    return Signals(ids, content, labels, logits, values, bounds - bounds[0], about["about"])


def join(
    signals: Signals,
    ids: Sequence[str],
    texts: Sequence[tuple[str, ...]],
    golds: Sequence[str],
    labels: Sequence[str],
    *,
    source: Path | str = "the signals",
    mend: str = _AGAIN,
) -> Signals:
    """Return signals in the order of a training set's rows, their logits in the order of its ``labels``.

    ``DataError`` where a row is missing, is there too much, or has another text or gold label than the expert read, or
    where the labels are others; in another order they are matched by name. ``mend`` is what messages tell to do.
    """
    order = label_order(signals.labels, labels, source)
    for name, own in (("the signals", signals.ids), ("the rows", ids)):
        if len(set(own)) < len(own):
            twice = Counter(own).most_common(1)[0][0]
            raise DataError(f"{source}: id {twice!r} stands twice in {name}; every row needs an id of its own")
    place = {one: row for row, one in enumerate(signals.ids)}
    missing = [one for one in ids if one not in place]
    extra = sorted(place.keys() - set(ids), key=place.__getitem__)
    for fault, some in (("have no signals", missing), ("are not in the training set", extra)):
        if some:
            raise DataError(
                f"{source}: {len(some):,} row(s) {fault} (ids {_few(some)}); found signals of {len(place):,} rows for "
                f"{len(ids):,}: {mend}"
            )
    found = signals.some(np.array([place[one] for one in ids], dtype=np.int64))
    if changed := np.flatnonzero(found.content != content_of(texts, golds)).tolist():
        raise DataError(
            f"{source}: {len(changed):,} row(s) have another text or label than the expert read (ids "
            f"{_few([ids[row] for row in changed])}); {mend}"
        )
    return Signals(
        found.ids, found.content, tuple(labels), found.logits[:, order], found.saliency, found.bounds, found.about
    )


def label_order(found: Sequence[str], wanted: Sequence[str], source: Path | str) -> list[int]:
    """Return where each wanted label stands among those found; ``DataError`` where they are not the same labels."""
    if sorted(found) != sorted(wanted) or len(set(found)) < len(found):
        raise DataError(
            f"{source}: found the labels {', '.join(found)}, expected {', '.join(wanted)}; an expert has to know the "
            "task's own labels, each once, by their names"
        )
    return [list(found).index(name) for name in wanted]


def of_rows(
    ids: Sequence[str],
    texts: Sequence[tuple[str, ...]],
    golds: Sequence[str],
    labels: Sequence[str],
    logits: np.ndarray,
    *,
    saliency: Sequence[np.ndarray] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Signals:
    """Make signals of a training set's rows; ``saliency`` holds an array of each row's tokens, of one or more."""
    if len(logits) != len(ids):
        raise InputError(f"found logits of {len(logits):,} rows, expected {len(ids):,}; one row of them for each")
    values = bounds = None
    if saliency is not None:
        bounds = np.cumsum([0, *(len(row) for row in saliency)]).astype(np.int64)
        values = shares_of(np.concatenate(saliency), bounds)
    content = content_of(texts, golds)
    return Signals(tuple(ids), content, tuple(labels), logits.astype(np.float32), values, bounds, about or {})


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
