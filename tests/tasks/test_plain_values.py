"""Values of Arrow's columns in text formats: the same as Python's where those are exact, ISO 8601 for times."""

from __future__ import annotations

import decimal
import uuid
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.tasks.plain_values import NoForm, plain_values, without_form

NUMBERS = st.none() | st.integers(-(2**63), 2**63 - 1)
WORDS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
PAIRS = st.lists(st.tuples(st.text("ab", max_size=2), NUMBERS), max_size=2)
INNER = pa.struct([("words", pa.list_(pa.string())), ("n", pa.int64())])
ROWS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int64(), NUMBERS),
    (pa.large_string(), WORDS),
    (pa.float64(), st.none() | st.floats(allow_nan=False)),
    (pa.bool_(), st.none() | st.booleans()),
    (pa.list_(pa.list_(pa.int64())), st.none() | st.lists(st.none() | st.lists(NUMBERS, max_size=2), max_size=3)),
    (pa.list_(pa.string(), 2), st.none() | st.lists(WORDS, min_size=2, max_size=2)),
    (pa.dictionary(pa.int32(), pa.string()), WORDS),
    (
        pa.large_list(INNER),
        st.none()
        | st.lists(
            st.none() | st.fixed_dictionaries({"words": st.none() | st.lists(WORDS, max_size=2), "n": NUMBERS}),
            max_size=2,
        ),
    ),
    (pa.map_(pa.string(), pa.int64()), st.none() | PAIRS),
    (pa.list_view(pa.int64()), st.none() | st.lists(NUMBERS, max_size=3)),
    (pa.null(), st.none()),
    (pa.struct([]), st.none() | st.just({})),
]


def in_lists(value: Any) -> Any:
    """Return a value with its pairs as lists, as JSON has them."""
    if isinstance(value, list | tuple):
        return [in_lists(one) for one in value]
    return {name: in_lists(one) for name, one in value.items()} if isinstance(value, dict) else value


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ROWS).flatmap(lambda row: st.tuples(st.just(row[0]), st.lists(row[1], max_size=5))))
def test_values_are_pythons_own(drawn: tuple[pa.DataType, list[Any]]) -> None:
    """Nested, null, in slices and in several chunks."""
    kind, rows = drawn
    whole = pa.array(rows, kind)
    for column in (pa.chunked_array([whole]), pa.chunked_array([whole[1:], whole[:2]]), pa.chunked_array([], kind)):
        assert in_lists(column.to_pylist()) == plain_values(column)
    assert without_form(kind, decimals=False) is None


TIMES: list[tuple[pa.DataType, int, str]] = [
    (pa.timestamp("ns"), 1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789"),
    (pa.timestamp("ns"), -1, "1969-12-31T23:59:59.999999999"),
    (pa.timestamp("us"), 0, "1970-01-01T00:00:00"),
    (pa.timestamp("ms"), 120, "1970-01-01T00:00:00.12"),
    (pa.timestamp("s"), 253_402_300_799, "9999-12-31T23:59:59"),
    (pa.timestamp("us", "Europe/Berlin"), 0, "1970-01-01T00:00:00Z"),
    (pa.timestamp("us", "+05:30"), 10, "1970-01-01T00:00:00.00001Z"),
    (pa.timestamp("us", "Mars/Olympus"), 10**15, "2001-09-09T01:46:40Z"),
    (pa.date32(), 18262, "2020-01-01"),
    (pa.date64(), 86_400_000, "1970-01-02"),
    (pa.time64("ns"), 1, "00:00:00.000000001"),
    (pa.time32("s"), 36_000, "10:00:00"),
    (pa.duration("ns"), 1, "PT0.000000001S"),
    (pa.duration("ms"), -90_500, "-PT90.5S"),
    (pa.duration("s"), 100, "PT100S"),
]


@pytest.mark.parametrize(("kind", "count", "text"), TIMES, ids=[f"{kind} {count}" for kind, count, _ in TIMES])
def test_times_are_iso_strings(kind: pa.DataType, count: int, text: str) -> None:
    """To the last nanosecond, in UTC where they have a zone, at any depth."""
    width = pa.int32() if kind.bit_width == 32 else pa.int64()
    values = pa.array([count, None], width).cast(pa.int64() if kind == pa.date64() else width).view(kind)
    assert [text, None] == plain_values(pa.chunked_array([values]))
    nested = pa.StructArray.from_arrays([pa.ListArray.from_arrays([0, 2], values)], names=["when"])
    assert [{"when": [text, None]}] == plain_values(pa.chunked_array([nested]))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["s", "ms", "us", "ns"]), st.integers(-(2**62), 2**62))
def test_moments_come_back(unit: str, count: int) -> None:
    """numpy reads the very number again, or there is no form."""
    column = pa.chunked_array([pa.array([count], pa.int64()).view(pa.timestamp(unit))])
    year = int(np.datetime64(count, unit).astype("datetime64[Y]").astype(np.int64)) + 1970
    if not 0 <= year <= 9999:
        with pytest.raises(NoForm, match=r"outside the years 0 to 9999"):
            plain_values(column)
        return
    assert count == int(np.datetime64(plain_values(column)[0], unit).astype(np.int64))


@pytest.mark.parametrize("zone", ["Europe/Berlin", None])
def test_lengths_of_time_come_back(zone: str | None) -> None:
    """Seconds, as `timedelta` counts them."""
    values = [timedelta(days=3, microseconds=5), timedelta(seconds=-1)]
    found = plain_values(pa.chunked_array([pa.array(values)]))
    signs = [-1 if one.startswith("-") else 1 for one in found]
    assert [one.total_seconds() for one in values] == [
        sign * float(one.strip("-PTS")) for sign, one in zip(signs, found, strict=True)
    ]


def test_numbers_that_python_has_as_objects() -> None:
    """Decimals keep their digits, halves are floats, and identities are written as usual."""
    tens = pa.array([decimal.Decimal("1.10"), None])
    assert ["1.10", None] == plain_values(pa.chunked_array([tens]))
    assert [1.5, None] == plain_values(pa.chunked_array([pa.array([np.float16(1.5), None], pa.float16())]))
    one = uuid.UUID(int=7)
    known = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([one.bytes, None], pa.binary(16)))
    assert [str(one), None] == plain_values(pa.chunked_array([known]))
    assert without_form(pa.uuid(), decimals=False) is None


BAD = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xff\xfe"))


@pytest.mark.parametrize(
    ("chunk", "words"),
    [
        (BAD, "bytes that are not UTF-8"),
        (pa.array([["a"], None]).flatten().dictionary_encode(), None),
        (pa.StructArray.from_arrays([BAD], names=["a"]), "bytes that are not UTF-8"),
        (BAD.dictionary_encode(), "bytes that are not UTF-8"),
        (pa.array([0, 10**12], pa.timestamp("s")), r"a timestamp\[s\] outside the years 0 to 9999"),
        (pa.array([0, 2**31 - 1], pa.int32()).view(pa.date32()), r"a date32\[day\] outside the years 0 to 9999"),
        (pa.array([0, 86_400 * 10**9], pa.int64()).view(pa.time64("ns")), r"a time64\[ns\] that is no time of a day"),
    ],
)
def test_a_value_without_a_form_is_told_with_its_row(chunk: pa.Array, words: str | None) -> None:
    """Of all chunks; what has a form is given."""
    column = pa.chunked_array([chunk[:1], chunk[:1], chunk[1:]])
    if words is None:
        assert ["a"] == plain_values(pa.chunked_array([chunk]))
        return
    with pytest.raises(NoForm, match=words) as caught:
        plain_values(column)
    assert 2 == caught.value.row


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        (pa.binary(), pa.binary()),
        (pa.struct([("a", pa.list_(pa.large_binary()))]), pa.large_binary()),
        (pa.map_(pa.string(), pa.binary(3)), pa.binary(3)),
        (pa.dictionary(pa.int8(), pa.binary()), pa.binary()),
        (pa.struct([("a", pa.int8()), ("a", pa.int8())]), pa.struct([("a", pa.int8()), ("a", pa.int8())])),
        (pa.list_(pa.decimal128(3, 2)), pa.decimal128(3, 2)),
        (pa.month_day_nano_interval(), pa.month_day_nano_interval()),
    ],
)
def test_types_without_a_form_are_found_at_any_depth(kind: pa.DataType, part: pa.DataType) -> None:
    """Before a value is read."""
    assert part == without_form(kind, decimals=False)
    assert (None if pa.types.is_decimal(part) else part) == without_form(kind, decimals=True)
