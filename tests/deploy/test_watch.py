"""The folder of packs: what is put there is served, what cannot be is told, what goes is gone; without a restart."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from toy_runtime import BACKBONE, ToyRuntime, toy_pack, write_pack
from toy_server import Start

from bertwright.deploy.exit_watch import ExitWatch, calibration_exits
from bertwright.deploy.watch import PackFolder
from bertwright.pack import to_bytes


@pytest.fixture
def runtime() -> ToyRuntime:
    """An engine without packs."""
    return ToyRuntime()


def test_packs_come_change_and_go(tmp_path: Path, runtime: ToyRuntime) -> None:
    """At a start at once; later at the second look at which a file is the same."""
    write_pack(tmp_path / "a.pack", 1)
    said: list[str] = []
    folder = PackFolder(runtime, tmp_path, tell=said.append)
    folder.look(settled=True)
    assert ["a"] == list(runtime.packs)
    before = runtime.packs["a"].hash
    write_pack(tmp_path / "a.pack", 2)
    write_pack(tmp_path / "b.pack", 3)
    (tmp_path / "notes.txt").write_text("no pack")
    folder.look()
    assert ["a"] == list(runtime.packs)
    folder.look()
    assert ["a", "b"] == sorted(runtime.packs)
    assert before != runtime.packs["a"].hash
    (tmp_path / "a.pack").unlink()
    folder.look()
    assert ["b"] == list(runtime.packs)
    assert ["pack a: taken up", "pack a: replaced", "pack b: taken up", "pack a: removed"] == said
    assert {} == folder.faults


def test_a_file_that_grows_is_left_alone(tmp_path: Path, runtime: ToyRuntime) -> None:
    """While it is copied it is not read; a copy that stopped half-way is told, and taken up once it is whole."""
    content, path = to_bytes(toy_pack(1)), tmp_path / "a.pack"
    folder = PackFolder(runtime, tmp_path)
    for size in (100, 200, 300):
        path.write_bytes(content[:size])
        folder.look()
    assert ({}, []) == (folder.faults, list(runtime.packs))
    folder.look()
    assert "not a whole safetensors file" in folder.faults["a.pack"]
    path.write_bytes(content)
    folder.look()
    folder.look()
    assert ({}, ["a"]) == (folder.faults, list(runtime.packs))


def test_a_pack_for_another_backbone_is_told_and_the_others_are_served(tmp_path: Path, runtime: ToyRuntime) -> None:
    """Skipped, said, harmless."""
    write_pack(tmp_path / "a.pack", 1)
    write_pack(tmp_path / "foreign.pack", 2, backbone=replace(BACKBONE, hash="f" * 64))
    folder = PackFolder(runtime, tmp_path)
    folder.look(settled=True)
    assert ["a"] == list(runtime.packs)
    assert "made for the encoder ffffffffffff" in folder.faults["foreign.pack"]


def test_a_faulty_file_leaves_the_pack_that_was_there(tmp_path: Path, runtime: ToyRuntime) -> None:
    """Its answers go on, and the message says so."""
    path = write_pack(tmp_path / "a.pack", 1)
    folder = PackFolder(runtime, tmp_path)
    folder.look(settled=True)
    before = runtime.packs["a"].hash
    path.write_bytes(b"rubbish")
    folder.look()
    folder.look()
    assert before == runtime.packs["a"].hash
    assert folder.faults["a.pack"].endswith("the pack that was there before is still served")


def test_a_file_that_nobody_foresaw_harms_no_other(
    tmp_path: Path, runtime: ToyRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised while it is taken up, the server starts, and says which file it was."""
    write_pack(tmp_path / "a.pack", 1)
    write_pack(tmp_path / "b.pack", 2)
    add = runtime.add

    def odd(path: Path, name: str) -> None:
        if name == "a":
            raise KeyError("odd")
        add(path, name)

    monkeypatch.setattr(runtime, "add", odd)
    folder = PackFolder(runtime, tmp_path)
    folder.look(settled=True)
    assert (["b"], {"a.pack": "KeyError: 'odd'"}) == (list(runtime.packs), folder.faults)


def test_a_pack_of_the_export_is_not_replaced_by_a_file(tmp_path: Path, runtime: ToyRuntime) -> None:
    """Its name is taken: taking the file away would take away what the export brought."""
    runtime.add(toy_pack(1), "own")
    write_pack(tmp_path / "own.pack", 2)
    before = runtime.packs["own"].hash
    folder = PackFolder(runtime, tmp_path)
    folder.look(settled=True)
    assert before == runtime.packs["own"].hash
    assert "another name" in folder.faults["own.pack"]


def test_a_folder_that_is_away_takes_no_pack_away(tmp_path: Path, runtime: ToyRuntime) -> None:
    """A share that is not mounted for a while is no order to serve nothing."""
    packs = tmp_path / "packs"
    packs.mkdir()
    write_pack(packs / "a.pack", 1)
    folder = PackFolder(runtime, packs)
    folder.look(settled=True)
    packs.rename(tmp_path / "away")
    folder.look()
    assert (["a"], ["."]) == (list(runtime.packs), list(folder.faults))
    (tmp_path / "away").rename(packs)
    folder.look()
    assert (["a"], {}) == (list(runtime.packs), folder.faults)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_tried_again(tmp_path: Path, runtime: ToyRuntime) -> None:
    """What the system refuses now it may give at the next look, without a change of the file's time."""
    path = write_pack(tmp_path / "a.pack", 1)
    path.chmod(0)
    folder = PackFolder(runtime, tmp_path)
    folder.look(settled=True)
    assert "ermission" in folder.faults["a.pack"]
    path.chmod(0o600)
    folder.look()
    assert ["a"] == list(runtime.packs)


def test_a_server_takes_up_a_new_pack_while_it_answers(tmp_path: Path, start: Start) -> None:
    """No restart; the faults of the folder are told beside the packs."""
    server = start(folder=tmp_path)
    assert 404 == server.classify({"pack": "new", "texts": ["a"]}).status
    write_pack(tmp_path / "new.pack", 5)
    (tmp_path / "broken.pack").write_bytes(b"{}")
    for _ in range(100):
        if server.classify({"pack": "new", "texts": ["a"]}).status == 200:
            break
        time.sleep(0.02)
    found = server.ask("GET", "/v1/packs").json
    assert ["mood", "new", "pair"] == [pack["name"] for pack in found["packs"]]
    assert ["broken.pack"] == [fault["file"] for fault in found["faults"]]
    counts = server.ask("GET", "/metrics").body.decode().splitlines()
    assert {"bertwright_packs 3", "bertwright_pack_faults 1", 'bertwright_pack_changes_total{change="taken up"} 1'} <= {
        *counts
    }


def calibrated() -> dict[int, int]:
    """What is known of a pack with ramps after layers 1 and 3, of whose calibration rows most left early."""
    ramps = {f"{layer}/output.{part}": [0.0] for layer in (1, 3) for part in ("weight", "bias")}
    return calibration_exits(toy_pack(1, ramps=ramps, policy={"policy": "entropy:0.2", "counts": [800, 150, 50]}))


def test_rows_that_leave_elsewhere_are_a_warning() -> None:
    """Exits like the calibration's are none; later ones are; a new version begins anew."""
    watch = ExitWatch()
    watch.begin("a", calibrated())
    watch.begin("plain", calibration_exits(toy_pack(2)))
    for layer, count in ((1, 80), (3, 14), (4, 5)):
        for _ in range(count):
            watch.left("a", layer)
            watch.left("plain", layer)
    assert {} == watch.drifts()  # 99 rows are too few
    watch.left("a", 3)
    assert [False] == [found.drifted for found in watch.drifts().values()]
    for _ in range(150):
        watch.left("a", 4)
    assert watch.drifts()["a"].drifted
    watch.begin("a", calibrated())
    assert {} == watch.drifts()
