"""Documents of all formats; faults are told or counted."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tempfile
import unittest.mock
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hostile_files import EDGE
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.errors import DataError
from bertwright.text import lines as lines_module
from bertwright.text.documents import Troubles, documents, normalise
from bertwright.text.parts import parts_of
from bertwright.text.sources import Source, expand

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def read(
    path: Path, *, errors: str = "stop", broken_rows: str = "stop", troubles: Troubles | None = None, **source: str
) -> list[str]:
    """Return the documents of one file."""
    (file,) = expand([Source(str(path), **source)])
    return list(documents(file, errors=errors, broken_rows=broken_rows, troubles=troubles or Troubles()))


def written(path: Path, content: bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content)
    return path


TEXTS = ["One two three.", "Ünïcode 日本 here.", "last"]
FORMS = {
    "a.txt": "One two\r\nthree.\r\n\r\n \t \r\nÜnïcode\xa0日本 here.\n\nlast".encode(),
    "a.jsonl": b"".join(json.dumps({"id": 1, "text": text}).encode() + b"\n" for text in TEXTS),
    "a.csv": 'id,text\r\n1,"One two\r\n\r\nthree."\r\n2,Ünïcode 日本 here.\r\n3,last'.encode(),
    "a.tsv": "text\tid\n One  two three. \t1\nÜnïcode 日本 here.\t2\nlast\t3\n".encode(),
}


@pytest.mark.parametrize("pack", ["", *PACK])
@pytest.mark.parametrize("name", FORMS)
def test_all_forms_give_the_same_documents(tmp_path: Path, name: str, pack: str) -> None:
    """Each format gives the same documents, plain and packed, in one member and in several."""
    content = FORMS[name]
    assert TEXTS == read(written(tmp_path / (name + pack), PACK[pack](content) if pack else content))
    if pack:
        parts = b"".join(PACK[pack](part) for part in (content[:9], b"", content[9:]))
        assert TEXTS == read(written(tmp_path / ("members." + name + pack), parts))


@pytest.mark.parametrize("pack", [pack for pack in PACK if pack])
def test_packed_parquet_is_read_too(tmp_path: Path, pack: str) -> None:
    """A parquet file that somebody packed once more."""
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "plain.parquet")
    path = written(tmp_path / f"a.parquet{pack}", PACK[pack]((tmp_path / "plain.parquet").read_bytes()))
    assert TEXTS == read(path)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_gives_the_same_documents(tmp_path: Path, kind: pa.DataType) -> None:
    """Parquet's kinds of text are read in row groups; nulls and empty texts are counted and no documents."""
    table = pa.table({"text": pa.array([*TEXTS, None, " "]).cast(kind), "n": range(5)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    troubles = Troubles()
    assert TEXTS == read(tmp_path / "a.parquet", troubles=troubles)
    assert {"no text in the row": 2} == troubles.counts


@pytest.mark.parametrize(
    ("name", "boundary", "expected"),
    [
        ("a.txt", "row", ["One two", "three.", "Ünïcode 日本 here.", "last"]),
        ("a.txt", "file", ["One two three. Ünïcode 日本 here. last"]),
        ("a.csv", "file", ["One two three. Ünïcode 日本 here. last"]),
    ],
)
def test_boundaries_part_documents(tmp_path: Path, name: str, boundary: str, expected: list[str]) -> None:
    """Lines or whole files can be documents, too."""
    assert expected == read(written(tmp_path / name, FORMS[name]), boundary=boundary)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=8))
def test_any_text_survives_json_lines(texts: list[str]) -> None:
    """Every text comes back normalised, and each row that has none is counted."""
    with tempfile.TemporaryDirectory() as folder:
        rows = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
        troubles = Troubles()
        got = read(written(Path(folder) / "a.jsonl", rows.encode()), troubles=troubles)
    assert [normalise(text) for text in texts if text.split()] == got
    assert sum(troubles.counts.values()) == len(texts) - len(got)


@pytest.mark.parametrize("pack", PACK)
def test_damaged_packed_files_are_refused(tmp_path: Path, pack: str) -> None:
    """A cut-off, mislabelled, empty or continued packed file names itself and never gives less text in silence."""
    good = PACK[pack](b"Some text. " * 1000)
    for number, bad in enumerate([good[:-3], good[: len(good) // 2], b"plain text", b"", good + b"GARBAGE"]):
        path = written(tmp_path / f"{number}.txt{pack}", bad)
        with pytest.raises(DataError, match=str(path)):
            read(path)
    path = written(tmp_path / "packed.txt", good)
    with pytest.raises(DataError, match="its name does not say so"):
        read(path)


def test_wrong_bytes_have_a_place(tmp_path: Path) -> None:
    """The first byte that is not UTF-8 is named by its offset, also behind a byte-order mark and in a packed file."""
    for content in (b"\xef\xbb\xbffine\n\nca\xe9 x\n", b"\xef\xbb\xbfca\xe9 x\n"):
        path = written(tmp_path / "a.txt.gz", gzip.compress(content))
        with pytest.raises(DataError, match=rf"a.txt.gz: byte {content.index(0xE9)} of the text \(0xe9\)"):
            read(path)


def test_replaced_bytes_are_counted(tmp_path: Path) -> None:
    """Replacing is counted; a replacement mark that the text itself holds is not."""
    troubles = Troubles()
    path = written(tmp_path / "a.txt", "ok \ufffd ".encode() + b"\xe9 and \xff\xfe end")
    assert ["ok \ufffd \ufffd and \ufffd\ufffd end"] == read(path, errors="replace", troubles=troubles)
    assert {"bytes that are not UTF-8, replaced": 3} == troubles.counts


def test_broken_rows_are_listed(tmp_path: Path) -> None:
    """Skipped rows are listed with file, line and reason; the default stops at the first."""
    path = written(tmp_path / "a.jsonl", b'{"text": "x"}\n[1]\n{"t": 2}\n{"text": 3}\n{"text": "y"}\n')
    troubles = Troubles()
    assert ["x", "y"] == read(path, broken_rows="skip", troubles=troubles)
    assert [(path, 2), (path, 3), (path, 4)] == [(row.path, row.row) for row in troubles.rows]
    assert "no key 'text'" == troubles.rows[1].reason
    with pytest.raises(DataError, match=r"a.jsonl: line 2: .*broken_rows: skip"):
        read(path)


def test_a_quote_is_an_ordinary_character_in_tsv(tmp_path: Path) -> None:
    """A cell of a TSV file that begins with a quote ends where its cell ends, and keeps the quote."""
    path = written(tmp_path / "a.tsv", b'text\tn\n"never closed\t1\n"closed"\t2\n')
    assert ['"never closed', '"closed"'] == read(path)


def test_csv_rows_are_numbered_by_lines(tmp_path: Path) -> None:
    """A row behind a cell of several lines is named by the line it begins in."""
    path = written(tmp_path / "a.csv", b'text,n\n"two\nlines",1\nshort\ngood,2\n"never closed,3\nlost,4\n')
    troubles = Troubles()
    assert ["two lines", "good"] == read(path, broken_rows="skip", troubles=troubles)
    assert [4, 6] == [row.row for row in troubles.rows]
    assert "2 lines to the end" in troubles.rows[1].reason


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"id;text\n1;x\n", "no column 'text'.*export the file with commas"),
        ("a.csv", b"text,text\n1,2\n", "2 columns named 'text'"),
        ("a.tsv", b"id\tbody\n1\tx\n", "found 'id', 'body'"),
        ("a.parquet", b"PAR1 and no more", "cannot be read as parquet"),
        ("a.txt", "text".encode("utf-16"), "UTF-16 LE"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    """A file without the column, or of another kind, is refused with what was found."""
    with pytest.raises(DataError, match=words):
        read(written(tmp_path / name, content))


def test_progress_ends_at_the_size(tmp_path: Path) -> None:
    """Progress grows and ends at the size of the file on the disk."""
    told: list[int] = []
    path = written(tmp_path / "a.txt.gz", gzip.compress(bytes(range(97, 123)) * 200_000, 0))
    (file,) = expand([Source(str(path))])
    list(documents(file, errors="stop", broken_rows="stop", troubles=Troubles(), progress=told.append))
    assert sorted(told) == told
    assert path.stat().st_size == told[-1]
    assert len(told) > 2


def test_every_hostile_file_is_in_the_table(shared_data: Path) -> None:
    """The table above names all files of the folder."""
    folder = shared_data / "corpora" / "edge"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found - {"README.md"} == set(EDGE)


@pytest.mark.parametrize("name", EDGE)
def test_hostile_files(shared_data: Path, name: str) -> None:
    """A hostile file gives the right number of documents, or an error that names it."""
    path, expected = shared_data / "corpora" / "edge" / name, EDGE[name]
    if isinstance(expected, int):
        texts = read(path)
        assert expected == len(texts)
        assert all(text == normalise(text) != "" for text in texts)
    else:
        with pytest.raises(DataError, match=expected) as caught:
            read(path)
        assert str(path) in str(caught.value)


def test_hostile_rows_are_skipped_and_counted(shared_data: Path) -> None:
    """Of thirteen hostile lines one is a text, four are empty and eight are listed."""
    troubles = Troubles()
    path = shared_data / "corpora" / "edge" / "bad_lines.jsonl"
    assert ["fine"] == read(path, broken_rows="skip", troubles=troubles)
    assert [2, 3, 5, 6, 7, 11, 12, 13] == [row.row for row in troubles.rows]
    assert 4 == troubles.counts["no text in the row"]


def test_a_mark_is_no_part_of_the_first_word(shared_data: Path) -> None:
    """A byte-order mark is gone, in text and in JSON lines."""
    folder = shared_data / "corpora" / "edge"
    assert read(folder / "bom_utf8.txt")[0].startswith("The quick")
    assert read(folder / "bom.jsonl")[0].startswith("record")


def test_the_same_articles_in_eleven_forms(shared_data: Path) -> None:
    """All sample files give the same thirty documents."""
    paths = sorted((shared_data / "corpora" / "formats").glob("sample.*"))
    assert 11 == len(paths)
    first = read(paths[0])
    assert 30 == len(first)
    assert all(first == read(path) for path in paths[1:])


def test_a_file_that_is_gone_or_no_file_says_which(tmp_path: Path) -> None:
    """Between planning and reading a file may vanish or become a folder: the remedy fits the cause."""
    path = tmp_path / "a.txt"
    path.write_text("text\n")
    [file] = expand([Source(str(path))])
    path.unlink()
    with pytest.raises(DataError, match=r"a\.txt cannot be opened: No such file.*Put it back"):
        next(documents(file, errors="stop", broken_rows="stop", troubles=Troubles()))
    path.mkdir()
    with pytest.raises(DataError, match=r"a\.txt cannot be opened: Is a directory.*ordinary file"):
        next(documents(file, errors="stop", broken_rows="stop", troubles=Troubles()))


# Lines that are blank, hold only whitespace, end in \r\n, are long or hold characters of several bytes.
LINES = st.lists(
    st.sampled_from(["", " \t", "\u00a0", "a b", "c", "d\u00e9 \u4e2d\u6587", "e " * 20, "f\r"]), max_size=30
)


BLOCK = st.sampled_from([3, 17, 1 << 20])


@settings(deadline=None, max_examples=150)
@given(
    LINES,
    st.integers(1, 40),
    st.sampled_from(["blank_line", "row"]),
    st.sampled_from(["", ".gz"]),
    st.booleans(),
    BLOCK,
)
def test_parts_of_a_file_give_its_documents(
    lines: list[str], size: int, boundary: str, suffix: str, end: bool, block: int
) -> None:
    """Wherever a file is cut into parts, packed or not, they give the documents of the whole, once and in order."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"a.txt{suffix}"
        content = ("\n".join(lines) + ("\n" if end else "")).encode()
        path.write_bytes(gzip.compress(content) if suffix else content)
        [file] = expand([Source(str(path), boundary=boundary)])
        whole = list(documents(file, errors="stop", broken_rows="stop", troubles=Troubles()))
        found: list[str] = []
        with unittest.mock.patch.object(lines_module, "_BLOCK", block):
            for part in parts_of(0, file, size, Path(name) / "pieces"):
                found += documents(file, errors="stop", broken_rows="stop", troubles=Troubles(), span=part.span())
    runs = [[]] if boundary == "blank_line" else []
    for line in content.decode().split("\n"):
        if boundary == "row" or not line.split():
            runs.append([])
        runs[-1] += line.split()
    assert [" ".join(run) for run in runs if run] == whole == found


def test_rows_of_parts_keep_their_numbers(tmp_path: Path) -> None:
    """A broken line's number is that in the file, whatever part it is in; parquet's parts are row groups."""
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {n}"}) + "\n" if n % 7 else "{\n" for n in range(1, 50)))
    [file] = expand([Source(str(path))])
    troubles, texts = Troubles(), []
    for part in parts_of(0, file, 100, tmp_path / "pieces"):
        texts += documents(file, errors="stop", broken_rows="skip", troubles=troubles, span=part.span())
    assert list(range(7, 50, 7)) == [row.row for row in troubles.rows]
    assert [f"text {n}" for n in range(1, 50) if n % 7] == texts
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=5)
    [table] = expand([Source(str(tmp_path / "a.parquet"))])
    parts = list(parts_of(0, table, 100, tmp_path / "pieces"))
    assert len(parts) > 3
    spans = [part.span() for part in parts]
    reads = [documents(table, errors="stop", broken_rows="stop", troubles=Troubles(), span=span) for span in spans]
    assert texts == [text for read in reads for text in read]


def test_every_whitespace_is_a_space() -> None:
    """Texts are normalised as the standard library parts words, for every character there is."""
    for code in range(0x110000):
        text = f"a{chr(code)}b"
        if len(text.split()) > 1 or normalise(text) != text:
            assert " ".join(text.split()) == normalise(text)


@settings(deadline=None, max_examples=100)
@given(st.text("ab \t\n\u00a0\u2028\x1c\u3000", max_size=40))
def test_runs_of_whitespace_are_one_space(text: str) -> None:
    """Runs of several kinds, and at the ends."""
    assert " ".join(text.split()) == normalise(text)
