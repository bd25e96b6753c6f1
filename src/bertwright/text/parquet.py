"""Parquet files from anywhere: faults told in a sentence, and batches that fit into memory whatever the file says."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bertwright.errors import DataError


@contextlib.contextmanager
def faults_explained(path: Path, *, otherwise: str = "name its `format`") -> Iterator[None]:
    """Turn the many errors of the library, on a file that is cut off, damaged or made to harm, into a ``DataError``.

    ``otherwise`` is what to do where the file is of another format.
    """
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(
            f"{path} cannot be read as parquet ({why}). It may be cut off, damaged or of another format: copy it once "
            f"more, or {otherwise}."
        ) from error


def rows_at_once(
    table: pq.ParquetFile,
    path: Path,
    columns: Collection[str],
    *,
    rows: int,
    size: int,
    groups: Iterable[int] | None = None,
) -> int:
    """Return how many rows, at most ``rows``, to read at once so that their text takes about ``size`` bytes.

    A value of a dictionary stands in the file once and in memory as often as rows name it: a file of 50 KB can hold
    200 GB of text. So the longest value of the dictionaries counts, beside the mean.
    """
    groups = range(table.num_row_groups) if groups is None else groups
    sizes = [table.metadata.row_group(group) for group in groups]
    mean: int = sum(one.total_byte_size for one in sizes) // max(1, sum(one.num_rows for one in sizes))
    longest = max((_longest(table, path, group, columns) for group in groups), default=0)
    return max(1, min(rows, size // max(1, mean, longest)))


def _longest(table: pq.ParquetFile, path: Path, group: int, columns: Collection[str]) -> int:
    """Return the bytes of the longest value in the dictionaries of a row group's columns of text."""
    # By the schema, and not by the group's own table of columns: pyarrow ends the process where that one is damaged.
    parts = [table.schema.column(number) for number in range(len(table.schema))]
    paths = [part.path for part in parts if part.physical_type == "BYTE_ARRAY"]
    wanted = {path_: top for path_ in paths if (top := path_.partition(".")[0]) in columns}
    if not wanted or not table.metadata.row_group(group).num_rows:
        return 0
    longest = 0
    with pq.ParquetFile(path, read_dictionary=list(wanted), pre_buffer=False) as opened:
        for batch in opened.iter_batches(1, row_groups=[group], columns=list(wanted.values()), use_threads=False):
            for column in batch.columns:
                longest = max(longest, _longest_of(column))
            break
    return longest


def _longest_of(column: pa.Array) -> int:
    """Return the bytes of the longest value of a column's dictionary; those of lists are looked into."""
    while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = column.flatten()
    if not isinstance(column, pa.DictionaryArray) or not len(column.dictionary):
        return 0
    return int(pc.max(pc.binary_length(column.dictionary)).as_py() or 0)
