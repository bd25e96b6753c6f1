"""The folder beside a file that is being written: whose it is, what of it is removed, and what a damaged one says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertwright import door, files
from bertwright.errors import InputError, StoreError
from bertwright.tasks.partial_rows import Done, working


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def write(out: Path, *, during: Callable[[Path], object] = lambda _: None) -> None:
    """Write a file of two rows."""
    with working(out) as partial:
        partial.begin({"input": "a"}, b"text\n")
        partial.add(b"one\n", Done(rows=1))
        during(partial.folder)
        partial.add(b"two\n", Done(rows=1))
        partial.finish(out, lambda rows, whole: shutil.copyfile(rows, whole))


def content(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def a_file(place: Path) -> None:
    """A folder with a file."""
    (place / "o.csv.partial").mkdir()
    (place / "o.csv.partial" / "precious.txt").write_text("mine")


def a_temporary_file(place: Path) -> None:
    """A folder with a temporary file that is not ours."""
    (place / "o.csv.partial").mkdir()
    (place / "o.csv.partial" / "notes.1.tmp").write_text("mine")


def a_folder_of_our_name(place: Path) -> None:
    """A folder with a folder that is called as one of our files."""
    (place / "o.csv.partial" / "rows").mkdir(parents=True)
    (place / "o.csv.partial" / "rows" / "1").write_text("mine")


def a_link_of_our_name(place: Path) -> None:
    """A folder whose rows are a link to somebody's file."""
    (place / "o.csv.partial").mkdir()
    (place / "mine.txt").write_text("mine")
    (place / "o.csv.partial" / "rows").symlink_to(place / "mine.txt")


def a_link(place: Path) -> None:
    """A link to a folder."""
    (place / "own").mkdir()
    (place / "own" / "rows").write_text("mine")
    (place / "o.csv.partial").symlink_to(place / "own")


def no_folder(place: Path) -> None:
    """A file."""
    (place / "o.csv.partial").write_text("mine")


OWN = [
    (a_file, "holds precious.txt"),
    (a_temporary_file, "holds notes.1.tmp"),
    (a_folder_of_our_name, "holds rows"),
    (a_link_of_our_name, "holds rows"),
    (a_link, "is there already and is no folder"),
    (no_folder, "is there already and is no folder"),
]


@pytest.mark.parametrize(("make", "words"), OWN, ids=[make.__name__ for make, _ in OWN])
def test_what_is_somebodys_own_is_refused_and_left(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    """Before anything is written, and where the file is there already."""
    make(tmp_path)
    before = content(tmp_path)
    with pytest.raises(InputError, match=rf"o.csv.partial {words}, and a folder of that name is needed.*move it away"):
        write(tmp_path / "o.csv")
    assert before == content(tmp_path)
    (tmp_path / "o.csv").write_text("x")
    with pytest.raises(InputError, match="is there already; remove it first"):
        write(tmp_path / "o.csv")
    assert before == {name: found for name, found in content(tmp_path).items() if name != "o.csv"}


def test_what_somebody_puts_beside_unfinished_rows_stays(tmp_path: Path) -> None:
    """Our files go, the folder with theirs stays; of a try that fails too."""
    write(tmp_path / "o.csv", during=lambda folder: (folder / "precious.txt").write_text("mine"))
    assert {"o.csv": b"text\none\ntwo\n", "o.csv.partial/precious.txt": b"mine"} == content(tmp_path)
    with pytest.raises(StoreError), working(tmp_path / "p.csv") as partial:
        (partial.folder / "precious.txt").write_text("mine")
        raise StoreError("a fault before the first row")
    assert {"precious.txt": b"mine"} == content(tmp_path / "p.csv.partial")


def test_what_a_kill_left_of_ours_is_used_again(tmp_path: Path) -> None:
    """A half-written note, under the very name that it has while it is written, and rows that nothing was noted of."""
    folder = tmp_path / "o.csv.partial"
    with files.writing(folder / "state.json"):
        (half,) = (path.name for path in folder.iterdir())
    files.remove(folder / "state.json")
    for name in (half, "rows", "lock", "whole"):
        (folder / name).write_text("torn")
    write(tmp_path / "o.csv")
    assert {"o.csv": b"text\none\ntwo\n"} == content(tmp_path)
    assert not folder.exists()


NAMES = ("write", "sync", "create", "append", "rename", "make_folder", "remove_file", "remove_folder", "lock")


def die_at(patch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Have nothing reach the disk from the ``number``-th operation on; return the list that operations are noted in."""
    done: list[str] = []

    def before(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any) -> Any:
            done.append(name)
            if len(done) >= number:
                raise Killed
            return real(*arguments)

        return operation

    for name in NAMES:
        patch.setattr(door, name, before(name, getattr(door, name)))
    return done


def test_a_kill_at_any_operation_behind_the_last_rename_leaves_what_the_next_try_puts_away(tmp_path: Path) -> None:
    """Between any two files that are removed; the file itself is whole."""
    with pytest.MonkeyPatch.context() as patch:
        done = die_at(patch, 1 << 20)
        write(tmp_path / "whole.csv")
    last = len(done) - done[::-1].index("rename")
    assert len(done) - last > 3
    for number in range(last + 1, len(done) + 1):
        out = tmp_path / f"{number}.csv"
        with pytest.MonkeyPatch.context() as patch:
            die_at(patch, number)
            with pytest.raises(Killed):
                write(out)
        assert out.with_name(f"{out.name}.partial").exists()
        with pytest.raises(InputError, match="is there already; remove it first"):
            write(out)
        assert (tmp_path / "whole.csv").read_bytes() == out.read_bytes()
        assert not out.with_name(f"{out.name}.partial").exists()


def test_unfinished_rows_stay_where_somebody_else_made_the_file(tmp_path: Path) -> None:
    """They are work that its owner may want to go on with under another name."""
    with working(tmp_path / "o.csv") as partial:
        partial.begin({"input": "a"}, b"text\n")
    (tmp_path / "o.csv").write_text("x")
    with pytest.raises(InputError, match="is there already"):
        write(tmp_path / "o.csv")
    assert b"text\n" == (tmp_path / "o.csv.partial" / "rows").read_bytes()


DAMAGED = [
    *("", "{}", "[]", "null", '{"asked": {}, "done": {"rows": "x"}}', '{"asked": 1, "done": {}}', "[" * 5000),
    *('{"asked": {"input": "a"}, "done": {"rows": -1}}', '{"asked": {"input": "a"}, "done": {"bytes": 1.5}}'),
    *('{"asked": {"input": "a"}, "done": {"left": [null]}}', '{"asked": {"input": "a"}, "done": {}, "more'),
]


@pytest.mark.parametrize("state", [*DAMAGED, b"\xff\xfe"], ids=range(len(DAMAGED) + 1))
def test_a_damaged_note_begins_afresh(tmp_path: Path, state: str | bytes) -> None:
    """It is told, and is in nobody's way; beside a whole file it stays."""
    with working(tmp_path / "o.csv") as partial:
        partial.begin({"input": "a"}, b"text\n")
    noted = tmp_path / "o.csv.partial" / "state.json"
    noted.write_bytes(state if isinstance(state, bytes) else state.encode())
    with working(tmp_path / "o.csv") as partial:
        assert (False, f"{noted} is damaged") == partial.resume({"input": "a"})
        assert Done() == partial.done
    write(tmp_path / "o.csv")
    assert {"o.csv": b"text\none\ntwo\n"} == content(tmp_path)


@pytest.mark.parametrize(("left", "there"), [(b"text\no", 6), (None, 0)])
def test_rows_that_were_lost_begin_afresh(tmp_path: Path, left: bytes | None, there: int) -> None:
    """A file that is shorter than noted is not filled up with zeros."""
    with working(tmp_path / "o.csv") as partial:
        partial.begin({"input": "a"}, b"text\n")
        partial.add(b"one\n", Done(rows=1))
    rows = tmp_path / "o.csv.partial" / "rows"
    rows.unlink() if left is None else rows.write_bytes(left)
    with working(tmp_path / "o.csv") as partial:
        again, why = partial.resume({"input": "a"})
    assert (False, f"{rows} is damaged: it holds {there} bytes of 9 that were finished") == (again, why)
    assert left is None or left == rows.read_bytes()


def test_counts_of_windows_come_together(tmp_path: Path) -> None:
    """Rows, those that were cut and that have no text, and those that left at each exit; over stops too."""
    for start in (0, 1):
        with working(tmp_path / "o.csv") as partial:
            resumed, _ = partial.resume({"input": "a"})
            assert resumed == bool(start)
            if not start:
                partial.begin({"input": "a"}, b"text\n")
            partial.add(b"one\n", Done(rows=2, cut=1, left=(1, 1), empty=1))
    assert Done(rows=4, cut=2, bytes=13, left=(2, 2), empty=2) == partial.done
