"""A recipe that uses a network says so before any work, and no other recipe does."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertwright.pipeline.check import network_notes
from bertwright.recipe.reading import default_recipe


def notes(tmp_path: Path, sources: list[object], **system: object) -> list[str]:
    """Return the notes of a recipe."""
    (tmp_path / "t.txt").write_text("text\n")
    return network_notes(default_recipe(folder=tmp_path, prepare={"sources": sources}, system=system))


def test_hub_datasets_and_far_trackers_are_named(tmp_path: Path) -> None:
    """Each by its name, with what goes over the network."""
    hub, tracker = notes(tmp_path, ["t.txt", {"hub": "owner/corpus"}], trackers=["wandb", "tensorboard"])
    assert "note: the network is asked for the hub dataset owner/corpus, and what comes is kept in the store" == hub
    assert "note: wandb is told the figures of a pretraining, and may send them over the network" == tracker


@pytest.mark.parametrize("trackers", [[], ["tensorboard"]])
def test_a_recipe_of_files_has_no_such_note(tmp_path: Path, trackers: list[str]) -> None:
    """Files, a dataset's folder on this machine, and a tracker that writes files."""
    assert [] == notes(tmp_path, ["t.txt", {"hub": str(tmp_path)}], trackers=trackers)
