"""Columns of Arrow as values that a text format holds: text, numbers, lists and objects.

Days and times become ISO 8601 strings by Arrow itself: Python's own have no nanoseconds, no year behind 9999 and not
every time zone. A moment of a zone is written in UTC, so that it is the same on a machine that does not know the zone.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

_UNITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}  # digits of a second's parts


class NoForm(Exception):
    """A value has no form in text; ``row`` is its place in the column, from 0."""

    def __init__(self, what: str, row: int = 0) -> None:
        super().__init__(what)
        self.row = row


def without_form(kind: pa.DataType, *, decimals: bool) -> pa.DataType | None:
    """Return the part of a type, at whatever depth, that text has no form for; ``decimals``: whether it has for those.

    Bytes are no text, and of an object with two members of one name most readers lose one.
    """
    if _is_uuid(kind):
        return None
    if isinstance(kind, pa.BaseExtensionType):
        return without_form(kind.storage_type, decimals=decimals)
    names = [field.name for field in kind] if types.is_struct(kind) else []
    bare = types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    if bare or types.is_binary_view(kind) or types.is_union(kind) or types.is_interval(kind):
        return kind
    if len(names) > len(set(names)) or (types.is_decimal(kind) and not decimals):
        return kind
    return next(filter(None, (without_form(part, decimals=decimals) for part in _parts(kind))), None)


def plain_values(column: pa.ChunkedArray) -> list[Any]:
    """Return the values of a column whose type has a form; ``NoForm`` where one of them has none."""
    values: list[Any] = []
    for chunk in column.chunks:
        try:
            values += _plain(chunk)
        except NoForm:
            for row in range(len(chunk)):
                try:
                    _plain(chunk.slice(row, 1))
                except NoForm as error:
                    raise NoForm(str(error), len(values) + row) from None
            raise
    return values


def _is_uuid(kind: pa.DataType) -> bool:
    """Return whether a type is that of identities, which are 16 bytes and have a usual spelling."""
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.uuid"


def _is_view(kind: pa.DataType) -> bool:
    """Return whether a type is one of lists whose parts may lie anywhere in their column."""
    return bool(types.is_list_view(kind) or types.is_large_list_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    """Return whether a type is one of lists, in any of their layouts."""
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or _is_view(kind)


def _parts(kind: pa.DataType) -> Iterator[pa.DataType]:
    """Give the types that a type is made of."""
    if types.is_struct(kind):
        yield from (field.type for field in kind)
    elif types.is_map(kind):
        yield from (kind.key_type, kind.item_type)
    elif _is_list(kind) or types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        yield kind.value_type


def _plain(array: pa.Array) -> list[Any]:
    """Return the values of an array, column by column where it holds objects."""
    kind = array.type
    if _is_uuid(kind):
        return [None if one is None else str(uuid.UUID(bytes=one)) for one in array.storage.to_pylist()]
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(array.storage)
    if types.is_dictionary(kind):
        return _plain(array.dictionary_decode())
    if types.is_run_end_encoded(kind):
        return _plain(pc.run_end_decode(array))
    if types.is_struct(kind):
        return _objects(array)
    if types.is_map(kind):
        return _maps(array)
    if _is_list(kind):
        return _lists(array)
    if types.is_duration(kind):
        return [_duration(one, _UNITS[kind.unit]) for one in array.cast(pa.int64()).to_pylist()]
    if types.is_temporal(kind):
        found: list[Any] = _iso(array).to_pylist()
        return found
    return _single(array)


def _single(array: pa.Array) -> list[Any]:
    """Return text, numbers, truths and nulls; decimals as they are written, so that no digit is lost."""
    try:
        values: list[Any] = array.to_pylist()
    except UnicodeDecodeError as error:
        raise NoForm(f"bytes that are not UTF-8 ({error})") from None
    if types.is_decimal(array.type) or types.is_float16(array.type):
        form = str if types.is_decimal(array.type) else float
        return [None if one is None else form(one) for one in values]
    return values


def _objects(array: pa.StructArray) -> list[Any]:
    """Return objects, each made of the values of its columns."""
    names = [field.name for field in array.type]
    rows = zip(*map(_plain, array.flatten()), strict=True) if names else iter([()] * len(array))
    return [
        dict(zip(names, row, strict=True)) if there else None
        for there, row in zip(array.is_valid().to_pylist(), rows, strict=True)
    ]


def _lists(array: pa.Array) -> list[Any]:
    """Return lists, cut out of the values of all of them."""
    if _is_view(array.type):
        return [None if one.values is None else _plain(one.values) for one in array]
    left = iter(_plain(array.flatten()))  # in which null lists have no part
    lengths = pc.list_value_length(array).to_pylist()
    return [None if there is None else list(islice(left, there)) for there in lengths]


def _maps(array: pa.MapArray) -> list[Any]:
    """Return maps as lists of pairs: keys may be of any type, and come twice."""
    if not len(array):
        return []
    starts = array.offsets.to_pylist()
    parts = (part.slice(starts[0], starts[-1] - starts[0]) for part in (array.keys, array.items))
    pairs = [list(pair) for pair in zip(*map(_plain, parts), strict=True)]
    spans = zip(array.is_valid().to_pylist(), starts, starts[1:], strict=False)
    return [pairs[start - starts[0] : end - starts[0]] if there else None for there, start, end in spans]


def _iso(array: pa.Array) -> pa.Array:
    """Return days, moments and times of day as ISO 8601 strings, without zeros at the end of a fraction."""
    kind, zone = array.type, ""
    if types.is_timestamp(kind) and kind.tz is not None:
        array, zone = array.cast(pa.int64()).cast(pa.timestamp(kind.unit)), "Z"
    found = array.cast(pa.string())
    time = types.is_time(kind)
    fits = pc.match_substring_regex(found, r"^\d\d:" if time else r"^\d{4}-")
    if pc.any(pc.invert(fits)).as_py():
        raise NoForm(f"a {kind} {'that is no time of a day' if time else 'outside the years 0 to 9999'}")
    found = pc.replace_substring(found, " ", "T")
    found = pc.replace_substring_regex(found, r"(\.\d*?)0+$", r"\1")
    return pc.binary_join_element_wise(pc.replace_substring_regex(found, r"\.$", ""), zone, "")


def _duration(count: int | None, digits: int) -> str | None:
    """Return a length of time in seconds, as ISO 8601 has it."""
    if count is None:
        return None
    whole, rest = divmod(abs(count), 10**digits)
    fraction = f".{rest:0{digits}}".rstrip("0").rstrip(".")
    return f"{'-' if count < 0 else ''}PT{whole}{fraction}S"
