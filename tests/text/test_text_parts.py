"""Files in parts: wherever they are cut, packed or not, the parts give what the whole gives."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
import unittest.mock
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.errors import DataError
from bertwright.text import cells, parts
from bertwright.text.documents import Troubles, documents
from bertwright.text.parts import parts_of
from bertwright.text.sources import Source, TextFile, expand
from bertwright.text.troubles import Limit

CELL = st.text('ab,"\n\r\t é', max_size=12)
ROWS = st.lists(st.lists(CELL, min_size=2, max_size=2), max_size=12)
JUNK = st.sampled_from(["", 'a,"b"c', "one cell", 'x"y,z', '"never closed, and', "a,b,c"])


def pieces_of(file: TextFile, size: int, folder: Path) -> tuple[list[str], list[tuple[int, str]], int]:
    """Return the documents and broken rows of all parts of a file, and how many parts there are."""
    troubles, found, count = Troubles(), [], 0
    for part in parts_of(0, file, size, folder / "pieces"):
        found += documents(file, errors="replace", broken_rows="skip", troubles=troubles, span=part.span())
        count += 1
    return found, [(row.row, row.reason) for row in troubles.rows], count


def whole(file: TextFile) -> tuple[list[str], list[tuple[int, str]]]:
    """Return the documents and broken rows of a file that is read at once."""
    troubles = Troubles()
    found = list(documents(file, errors="replace", broken_rows="skip", troubles=troubles))
    return found, [(row.row, row.reason) for row in troubles.rows]


@settings(deadline=None, max_examples=150)
@given(ROWS, st.lists(JUNK, max_size=3), st.integers(1, 60), st.sampled_from(["", ".gz"]), st.booleans())
def test_parts_of_a_table_give_its_rows(
    rows: list[list[str]], junk: list[str], size: int, suffix: str, mark: bool
) -> None:
    """Cells over many lines, quotes, broken rows and quotes that never close: the same texts, broken rows and lines."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["text", "n"])
    for number, row in enumerate(rows):
        writer.writerow(row)
        text.write("".join(line + "\n" for line in junk[number : number + 1]))
    with tempfile.TemporaryDirectory() as name:
        content = (b"\xef\xbb\xbf" if mark else b"") + text.getvalue().encode()
        path = Path(name) / f"a.csv{suffix}"
        path.write_bytes(gzip.compress(content) if suffix else content)
        [file] = expand([Source(str(path))])
        found, broken, count = pieces_of(file, size, Path(name))
        assert whole(file) == (found, broken)
        assert size > 20 or len(rows) < 6 or count > 1


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_parts_of_a_table_without_quotes(tmp_path: Path, suffix: str) -> None:
    """A TSV file is cut at lines; every part knows the header, and broken rows keep their numbers."""
    content = "".join(f"{n}\ttext {n}\n" if n % 5 else f"{n}\n" for n in range(1, 60)).encode()
    path = tmp_path / f"a.tsv{suffix}"
    path.write_bytes(gzip.compress(b"n\ttext\n" + content) if suffix else b"n\ttext\n" + content)
    [file] = expand([Source(str(path))])
    found, broken, count = pieces_of(file, 50, tmp_path)
    assert [f"text {n}" for n in range(1, 60) if n % 5] == found
    assert [n + 1 for n in range(5, 60, 5)] == [row for row, _ in broken]
    assert count > 5


def test_what_is_unpacked_is_only_what_somebody_waits_for(tmp_path: Path) -> None:
    """A packed file is unpacked as its parts are asked for; an empty one has one part."""
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"line\n" * 1000))
    [file] = expand([Source(str(tmp_path / "a.txt.gz"), boundary="row")])
    given = parts_of(0, file, 100, tmp_path / "pieces")
    first, second = next(given), next(given)
    assert (0, 105, 105) == (first.start, first.end, second.start)
    assert 2 == len(list((tmp_path / "pieces").iterdir()))
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b""))
    [empty] = expand([Source(str(tmp_path / "b.txt.gz"))])
    assert [(0, 0)] == [(part.start, part.end) for part in parts_of(0, empty, 100, tmp_path / "pieces")]


def written(folder: Path, name: str, texts: list[str]) -> TextFile:
    """Write texts in the format of a name and return the file."""
    path = folder / name
    if name.endswith("jsonl"):
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    elif name.endswith("parquet"):
        pq.write_table(pa.table({"text": texts}), path)
    else:
        path.write_text(("\n" if name.startswith("rows") else "\n\n").join(texts))
    [file] = expand([Source(str(path), boundary="row" if name.startswith("rows") else None)])
    return file


FORMS = ["a.txt", "rows.txt", "a.jsonl", "a.parquet"]
LONG = "long " * 300


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("texts", [[LONG, "b", "c"], ["a", LONG, "c"], ["a", "b", LONG], [LONG, LONG, "c"]])
def test_a_document_over_the_limit_stops_or_is_left_out(tmp_path: Path, name: str, texts: list[str]) -> None:
    """What the memory has no room for stops the work; what the recipe does not want is counted, and the rest comes."""
    file = written(tmp_path, name, texts)
    how = {"errors": "stop", "broken_rows": "stop"}
    with pytest.raises(DataError, match=r"more than 0.0 MB, the most that `system.memory` leaves room for"):
        list(documents(file, **how, troubles=Troubles(), limit=Limit(1000)))
    troubles = Troubles()
    found = list(documents(file, **how, troubles=troubles, limit=Limit(1000, leave_out=True)))
    assert [text for text in texts if text != LONG] == found
    assert {"documents longer than asked for, left out": texts.count(LONG)} == troubles.counts
    assert [text.strip() for text in texts] == list(documents(file, **how, troubles=Troubles(), limit=Limit(1600)))


def test_lines_of_one_long_document_are_counted_together(tmp_path: Path) -> None:
    """A document of many short lines, and a whole file, are bounded too."""
    (tmp_path / "a.txt").write_text("short\n\n" + "line\n" * 500 + "\nlast\n")
    [lines_] = expand([Source(str(tmp_path / "a.txt"))])
    [file] = expand([Source(str(tmp_path / "a.txt"), boundary="file")])
    troubles, limit = Troubles(), Limit(1000, leave_out=True)
    how = {"errors": "stop", "broken_rows": "stop", "troubles": troubles, "limit": limit}
    assert ["short", "last"] == list(documents(lines_, **how))
    assert [] == list(documents(file, **how))
    assert {"documents longer than asked for, left out": 2} == troubles.counts


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_table_with_a_line_that_is_no_row_is_refused(tmp_path: Path, suffix: str) -> None:
    """Neither reading nor cutting keeps a line of any length in memory, and a quote that is never closed has an end."""
    path = tmp_path / f"a.csv{suffix}"
    content = b"text,n\na,1\n" + b"x" * 200 + b",2\n"
    path.write_bytes(gzip.compress(content) if suffix else content)
    [file] = expand([Source(str(path))])
    with unittest.mock.patch.multiple(cells, LARGEST_CELL=100), unittest.mock.patch.multiple(parts, LARGEST_CELL=100):
        with pytest.raises(DataError, match=r"a line of more than 0.0 MB, which is no row"):
            whole(file)
        with pytest.raises(DataError, match=r"a line of more than 0.0 MB, which is no row"):
            list(parts_of(0, file, 12, tmp_path / "pieces"))
        content = b'text,n\n"open,1\n' + b"b,2\n" * 40
        path.write_bytes(gzip.compress(content) if suffix else content)
        texts, broken = whole(file)
        assert pieces_of(file, 12, tmp_path)[:2] == (texts, broken)
        assert texts[-1] == "b"
        assert "a quote opened here is not closed for" in broken[0][1]
