"""Paths, folders and patterns to files with known formats."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bertwright.errors import DataError
from bertwright.text.sources import Source, TextFile, expand, passed_over


def touch(folder: Path, *names: str) -> None:
    """Make files of one line."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text\n")


def names(*sources: Source) -> list[str]:
    """Return the names of the files that sources give."""
    return [file.path.name for file in expand(sources)]


def test_a_folder_is_searched_through_in_one_order(tmp_path: Path) -> None:
    """All files under a folder come sorted by path; hidden files and folders are left out."""
    touch(tmp_path, "b.txt", "a/z.txt.gz", "a/y.jsonl", ".hidden.txt", ".git/x.txt", "c/UPPER.TXT")
    assert ["y.jsonl", "z.txt.gz", "b.txt", "UPPER.TXT"] == names(Source(str(tmp_path)))


def test_a_pipe_in_a_folder_is_no_file(tmp_path: Path) -> None:
    """Opening it would wait for somebody to write into it."""
    touch(tmp_path, "a.txt")
    os.mkfifo(tmp_path / "b.txt")
    assert ["a.txt"] == names(Source(str(tmp_path)))


def test_unknown_kinds_in_a_folder_are_told(tmp_path: Path) -> None:
    """A folder's files of unknown kinds are not read, and are listed."""
    touch(tmp_path, "a.txt", "picture.png", "notes")
    sources = [Source(str(tmp_path))]
    assert ["a.txt"] == names(*sources)
    assert ["notes", "picture.png"] == [path.name for path in passed_over(sources)]


def test_a_pattern_gives_files_and_folders(tmp_path: Path) -> None:
    """A pattern takes what matches, and searches matching folders through."""
    touch(tmp_path, "x1.txt", "x2/in.csv", "y.txt")
    assert ["x1.txt", "in.csv"] == names(Source(str(tmp_path / "x*")))


def test_signs_of_a_pattern_in_a_name_are_no_pattern(tmp_path: Path) -> None:
    """A file whose very name holds brackets is found by its name."""
    touch(tmp_path, "odd [1] ünï (2).txt")
    assert ["odd [1] ünï (2).txt"] == names(Source(str(tmp_path / "odd [1] ünï (2).txt")))


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("a.txt", {}, ("txt", None, "blank_line")),
        ("a.TXT.GZ", {}, ("txt", "gzip", "blank_line")),
        ("a.jsonl.zst", {}, ("jsonl", "zstd", "row")),
        ("a.csv.xz", {"boundary": "file"}, ("csv", "xz", "file")),
        ("a.tsv.bz2", {}, ("tsv", "bzip2", "row")),
        ("a.parquet", {}, ("parquet", None, "row")),
        ("a.log", {"format": "txt", "boundary": "row"}, ("txt", None, "row")),
    ],
)
def test_formats_come_from_suffixes(
    tmp_path: Path, name: str, source: dict[str, str], expected: tuple[str, str | None, str]
) -> None:
    """Suffixes, in any case, say format and compression; the source's own words go first."""
    touch(tmp_path, name)
    file = TextFile(tmp_path / name, expected[0], expected[1], "text", expected[2])
    assert (file,) == expand([Source(str(tmp_path / name), **source)])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"path": "absent"}, "is not there"),
        ({"path": "*.jsonl"}, "gives no file"),
        ({"path": "empty"}, "gives no file"),
        ({"path": "pictures"}, "only files of unknown kinds .such as p.png"),
        ({"path": "pictures/p.png"}, "'.png' does not say"),
        ({"path": "a.csv", "boundary": "blank_line"}, "no meaning in csv"),
    ],
)
def test_wrong_sources_are_refused(tmp_path: Path, source: dict[str, str], words: str) -> None:
    """A source that gives nothing to read is refused, with what was found."""
    touch(tmp_path, "pictures/p.png", "a.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=words):
        expand([Source(**{**source, "path": str(tmp_path / source["path"])})])


def test_a_file_is_never_read_twice(tmp_path: Path) -> None:
    """A file that two sources give is refused, naming both."""
    touch(tmp_path, "in/a.txt")
    with pytest.raises(DataError, match=r"read twice.*in and through .*in/a.txt"):
        expand([Source(str(tmp_path / "in")), Source(str(tmp_path / "in" / "a.txt"))])


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    """Folders that link to themselves are entered once; followed, two links would double the paths at every level."""
    touch(tmp_path, "in/a.txt")
    for name in ("again", "more"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "in", target_is_directory=True)
    assert ["a.txt"] == names(Source(str(tmp_path)))
