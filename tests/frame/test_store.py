"""The store: whole or nothing, locks, verification, garbage."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import subprocess
from multiprocessing.synchronize import Event
from pathlib import Path
from types import SimpleNamespace

import pytest

from bertwright import door, files
from bertwright.cli.main import call
from bertwright.errors import LockHeld, StoreError
from bertwright.store import Store, identity

_OTHERS = ({"results": []}, {"started": 5}, {"kind": 7}, {"seconds": "x"})
ODD = [json.dumps({"files": {}, "started": "", **other}) for other in _OTHERS]
RECORD = {"name": "x", "started": "2026-01-01T00:00:00+00:00", "seconds": 1.0}


def sealed(store: Store, kind: str = "prepare", own: str = "a" * 32) -> Path:
    """Seal a stage of one file and return its folder."""
    with store.working(kind, own) as folder:
        files.write_text(folder / "rows.bin", "content")
        files.write_text(folder / "scratch" / "checkpoint", "old")
        return store.seal(kind, own, RECORD).folder


def test_an_identity_hangs_on_every_part() -> None:
    """Another kind, option, input or content is another stage; the order of keys is not."""
    base = identity("prepare", {"a": 1, "b": 2}, {"tokenizer": "t"}, {"source": "s"})
    assert base == identity("prepare", {"b": 2, "a": 1}, {"tokenizer": "t"}, {"source": "s"})
    others = {
        identity("pretrain", {"a": 1, "b": 2}, {"tokenizer": "t"}, {"source": "s"}),
        identity("prepare", {"a": 1, "b": 3}, {"tokenizer": "t"}, {"source": "s"}),
        identity("prepare", {"a": 1, "b": 2}, {"tokenizer": "u"}, {"source": "s"}),
        identity("prepare", {"a": 1, "b": 2}, {"tokenizer": "t"}, {"source": "r"}),
    }
    assert 4 == len(others - {base})


def test_a_sealed_stage_is_whole_and_has_no_scratch(tmp_path: Path) -> None:
    """Sealing writes the checksums, drops checkpoints and gives the final name."""
    store = Store(tmp_path / "store")
    folder = sealed(store)
    found = store.sealed("prepare", "a" * 32)
    assert found is not None
    assert {"rows.bin"} == set(found.record["files"])
    assert not (folder / "scratch").exists()
    assert not store.partial("prepare", "a" * 32)
    assert [] == store.verify()


def test_what_a_kill_left_half_removed_is_not_sealed(tmp_path: Path) -> None:
    """A kill while the checkpoints go leaves them under a temporary name; the next try's seal has nothing of them."""
    store = Store(tmp_path / "store")
    with store.working("prepare", "a" * 32) as folder:
        files.write_text(folder / "scratch.123.tmp" / "rows" / "1.tmp" / "keys.bin", "half")
        files.write_text(folder / "model.tmp" / "weights.bin", "half")
    folder = sealed(store)
    assert ["record.json", "rows.bin"] == sorted(path.name for path in folder.iterdir())
    assert {"rows.bin"} == set(files.read_json(folder / "record.json")["files"])


def test_verification_finds_changed_missing_and_foreign_files(tmp_path: Path) -> None:
    """Every kind of damage is named with its stage and file."""
    store = Store(tmp_path / "store")
    for own in "abc":
        sealed(store, own=own * 32)
    (store.folder("prepare", "a" * 32) / "rows.bin").write_text("CONTENT")
    (store.folder("prepare", "b" * 32) / "rows.bin").unlink()
    (store.folder("prepare", "c" * 32) / "more").write_text("x")
    assert ["has changed", "is missing", "is not in its record"] == [
        next(words for words in ("has changed", "is missing", "is not in its record") if words in damage.message)
        for damage in store.verify()
    ]


@pytest.mark.parametrize(("left", "told"), [(None, "rows.bin is missing"), ("cut", "rows.bin has 3 bytes, .* says 7")])
def test_a_stage_that_was_not_copied_whole_is_not_taken_up(tmp_path: Path, left: str | None, told: str) -> None:
    """As behind a broken copy of a store: sizes are looked at each time, checksums by ``verify``."""
    store = Store(tmp_path / "store")
    path = sealed(store) / "rows.bin"
    path.unlink()
    if left is not None:
        path.write_text(left)
    with pytest.raises(StoreError, match=rf"prepare-a+: {told}.*Copy it once more, or remove the folder"):
        store.sealed("prepare", "a" * 32)


def test_a_part_that_goes_while_a_stage_is_looked_up_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record was read before, its files are looked at behind that."""
    store = Store(tmp_path / "store")
    with store.working("finetune", "a" * 32) as folder:
        files.write_text(folder / "weights" / "w.bin", "content")
        store.seal("finetune", "a" * 32, RECORD)
    read, waits = files.read_json, [True]

    def shed_behind(path: Path) -> object:
        found = read(path)
        if waits and path.name == "record.json":
            waits.clear()
            store.shed("finetune", "a" * 32, "weights")
        return found

    monkeypatch.setattr(files, "read_json", shed_behind)
    found = store.sealed("finetune", "a" * 32)
    assert found is not None and ["weights"] == found.record["shed"]


@pytest.mark.parametrize("left", ['{"files": {', "[]", "{}", '{"files": [1], "started": ""}', *ODD, None])
def test_a_damaged_record_is_told_with_what_to_do(
    tmp_path: Path, left: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """By verification beside all else, and by whoever needs the stage."""
    store = Store(tmp_path / "store")
    record = sealed(store) / "record.json"
    sealed(store, own="b" * 32)
    record.unlink()
    if left is not None:
        record.write_text(left)
    for ask in (lambda: store.sealed("prepare", "a" * 32), store.all_sealed):
        with pytest.raises(StoreError, match=r"record.json: .* cannot be read .*Remove .*prepare-a+, and"):
            ask()
    assert 1 == call(["store", "verify", "--store", str(store.root), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (2, [record.parent.name]) == (told["stages"], [one["stage"] for one in told["damage"]])


@pytest.mark.parametrize(("found", "way"), [(99, "Upgrade bertwright"), (0, "Keep the old version for this store")])
def test_a_store_of_another_format_is_refused_with_what_to_do(tmp_path: Path, found: int, way: str) -> None:
    """A store of a later or an earlier format is not touched."""
    Store(tmp_path / "store")
    (tmp_path / "store" / "store.json").write_text(json.dumps({"format": found}))
    with pytest.raises(StoreError, match=f"format {found}.*reads format 1.*{way}.*store=FOLDER"):
        Store(tmp_path / "store")
    assert {"format": found} == files.read_json(tmp_path / "store" / "store.json")


def test_a_part_that_goes_leaves_a_whole_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill while weights are shed: the store verifies with what is left of them, and the next time they go."""
    store = Store(tmp_path / "store")
    with store.working("finetune", "a" * 32) as folder:
        for name in ("one", "two"):
            files.write_text(folder / "model" / name, name)
        store.seal("finetune", "a" * 32, RECORD)

    def killed(folder: Path) -> None:
        (folder / "one").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(door, "remove_folder", killed)
    with pytest.raises(KeyboardInterrupt):
        store.shed("finetune", "a" * 32, "model")
    monkeypatch.undo()
    assert [] == store.verify()
    # The process that removed it has ended by now, as far as its number tells.
    monkeypatch.setattr(files, "_at_work", lambda *_: False)
    store.shed("finetune", "a" * 32, "model")
    assert ["record.json"] == [path.name for path in store.folder("finetune", "a" * 32).iterdir()]


def _hold(root: Path, ready: Event, leave: Event) -> None:
    with Store(root).lock("prepare", "a" * 32):
        ready.set()
        leave.wait(30)


def test_a_held_lock_names_its_owner_and_a_kill_frees_it(tmp_path: Path) -> None:
    """Another process that works on the stage is named; after its kill the lock is free."""
    store = Store(tmp_path / "store")
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(store.root, ready, leave))
    other.start()
    assert ready.wait(30)
    with pytest.raises(LockHeld, match=rf"process {other.pid} of .* since 20"), store.lock("prepare", "a" * 32):
        pass
    with store.lock("prepare", "b" * 32):
        pass
    other.kill()
    other.join()
    with store.lock("prepare", "a" * 32):
        pass


def test_garbage_is_what_no_run_points_to(tmp_path: Path) -> None:
    """Collection keeps what a run needs, begun or finished, and what is locked; the rest and half-written files go."""
    store = Store(tmp_path / "store")
    for own in "abc":
        sealed(store, own=own * 32)
    with store.working("prepare", "d" * 32):
        pass
    for number, own in enumerate("ae"):
        entry = {"prepare": {"kind": "prepare", "identity": own * 32}}
        files.write_json(store.runs / f"mine-{number}" / "stages.json", entry)
    with store.working("prepare", "e" * 32):  # what a run that stopped goes on from
        pass
    dead = subprocess.Popen(["true"])
    dead.wait()
    half, whole = (store.runs / "mine-0" / f"report.html.{number}-17-3.tmp" for number in (dead.pid, os.getppid()))
    half.write_text("half")
    whole.write_text("another process writes it")
    with store.lock("prepare", "b" * 32):
        expected = ["prepare-" + "c" * 32, "prepare-" + "d" * 32 + ".partial"]
        assert expected == store.collect_garbage(dry_run=True)[0]
        assert expected == store.collect_garbage()[0]
    left = {"prepare-" + "a" * 32, "prepare-" + "b" * 32, "prepare-" + "e" * 32 + ".partial"}
    assert left == {path.name for path in store.stages.iterdir()}
    assert (False, True) == (half.exists(), whole.exists())


@pytest.mark.parametrize("damage", ["{", "[]", '{"prepare": {"kind": "prepare"}}', '{"prepare": 3}'])
def test_garbage_is_left_where_nobody_knows_what_a_run_needs(tmp_path: Path, damage: str) -> None:
    """A damaged list of what a run points to is told with what to do, and nothing is removed on its word."""
    store = Store(tmp_path / "store")
    sealed(store, own="a" * 32)
    files.write_text(store.runs / "mine" / "stages.json", damage)
    with pytest.raises(StoreError, match=r"mine/stages\.json: what a run points to cannot be read .* Remove it"):
        store.collect_garbage()
    assert ["prepare-" + "a" * 32] == [path.name for path in store.stages.iterdir()]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_store_without_permission_says_so(tmp_path: Path) -> None:
    """A folder that this user may not write to is named, with a way out."""
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="no permission to write"):
        Store(tmp_path / "store")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "no permission to write"),
        (errno.EROFS, "no permission to write"),
        (errno.ENOSPC, "the disk is full"),
        (errno.EIO, "the disk refused a write"),
    ],
)
def test_the_systems_refusals_are_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    """Permission, a read-only disk and a full disk each say what to do, and leave no half file."""

    def refuse(_handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(door, "sync", refuse)
    with pytest.raises(StoreError, match=words):
        files.write_text(tmp_path / "file", "content")
    monkeypatch.undo()
    assert [] == list(tmp_path.iterdir())


def test_lines_cut_off_by_a_kill_are_passed_over(tmp_path: Path) -> None:
    """A metrics file whose last line is half written gives the lines before it."""
    path = tmp_path / "metrics.jsonl"
    files.append_json(path, {"step": 1})
    with path.open("a") as stream:
        stream.write('{"step": 2, "lo')
    assert [{"step": 1}] == files.read_json_lines(path)


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x85", "\x1c", "\r"])
def test_lines_are_parted_by_line_ends_alone(tmp_path: Path, letter: str) -> None:
    """Letters that end a line in Unicode stand in JSON as they are; the row that held one was lost."""
    rows = [{"note": f"a{letter}b"}, {"note": "c"}]
    for row in rows:
        files.append_json(tmp_path / "rows.jsonl", row)
    assert rows == files.read_json_lines(tmp_path / "rows.jsonl")


def test_writers_of_one_file_leave_each_other_alone(tmp_path: Path) -> None:
    """Two threads of a process: neither takes away what the other has half written, and the last one wins."""
    with files.writing(tmp_path / "a") as first:
        first.write(b"1")
        with files.writing(tmp_path / "a") as second:
            second.write(b"2")
        assert b"2" == (tmp_path / "a").read_bytes()
    assert b"1" == (tmp_path / "a").read_bytes()
    assert ["a"] == [path.name for path in tmp_path.iterdir()]


def test_a_half_written_file_goes_by_its_own_name_alone(tmp_path: Path) -> None:
    """What a killed process left of `a` goes with the next `a`; a neighbour of `a.7` is none of it."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    names = [f"{name}.{number}-17-0.tmp" for name in ("a", "a.7") for number in (dead.pid, os.getpid())]
    for name in names:
        (tmp_path / name).write_text("half")
    (tmp_path / "a.7.tmp").mkdir()  # a folder that somebody fills, who holds a lock
    files.write_text(tmp_path / "a", "whole")
    assert {"a", "a.7.tmp", *names[2:]} == {path.name for path in tmp_path.iterdir()}
    files.clear(tmp_path)
    assert {"a", "a.7.tmp"} == {path.name for path in tmp_path.iterdir()}


def test_a_system_that_cannot_keep_the_promise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows a store is not opened, nothing is written, and the message says what does instead."""
    monkeypatch.setattr("bertwright.store.sys", SimpleNamespace(platform="win32"))
    with pytest.raises(StoreError, match="found Windows.*expected Linux.*WSL"):
        Store(tmp_path / "store")
    assert not (tmp_path / "store").exists()
