"""`bertwright init` on a terminal: it asks, looks into what is named, and writes nothing where nobody goes on."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from bertwright.recipe.reading import draft_recipe, load_recipe


def typed(folder: Path, keys: str, *options: str) -> tuple[int, str]:
    """Give the command on a terminal with what a person types; return its exit code and what the screen shows."""
    ours, terminal = pty.openpty()
    command = [sys.executable, "-m", "bertwright", "init", *options]
    with subprocess.Popen(command, cwd=folder, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        os.write(ours, keys.encode())
        shown = b""
        while True:
            try:
                got = os.read(ours, 4096)
            except OSError:  # the other end is closed: the command has ended
                break
            if not got:
                break
            shown += got
        os.close(ours)
    return process.returncode, shown.decode()


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder with a text and a file of labelled rows."""
    (tmp_path / "notes.txt").write_text("The ward was full.\n\nNo doctor came.\n")
    rows = "".join(f"the words of row {n},{('beds', 'staff')[n % 2]}\n" for n in range(8))
    for name in ("train.csv", "dev.csv"):
        (tmp_path / name).write_text(f"note,team\n{rows}")
    return tmp_path


def test_what_a_person_answers_fills_the_recipe(notes: Path) -> None:
    """Text, rows and time; a file that is not there and a time that is none are asked for again."""
    keys = "nots.txt\nnotes.txt\n\ntrain.csv\n\n\nsoon\n5 min\n"
    code, shown = typed(notes, keys)
    assert 0 == code, shown
    assert "nots.txt is not there; name a file or folder that is, or press Enter" in shown
    assert "soon" in shown
    recipe = load_recipe(notes / "recipe.yaml")
    assert recipe.prepare is not None and recipe.pretrain is not None
    assert ["notes.txt"] == [Path(str(one.path)).name for one in recipe.prepare.sources]
    assert 300 == recipe.pretrain.budget.amount
    assert "team" == recipe.tasks[0].label


def test_enter_alone_leaves_places_to_fill_in(notes: Path) -> None:
    """As the command does where nobody is asked."""
    code, shown = typed(notes, "\n\n\n")
    assert 0 == code, shown
    assert "put your own folders in" in shown
    problems = {problem.key for problem in draft_recipe(notes / "recipe.yaml").problems}
    assert {"prepare.sources.0.path", "tasks.0.train", "tasks.0.sets.dev"} == problems


def test_who_goes_away_leaves_nothing(notes: Path) -> None:
    """Ctrl-D at a question ends the command in words, with exit code 1, and no file is written."""
    code, shown = typed(notes, "notes.txt\n\x04")
    assert 1 == code
    assert "stopped" in shown
    assert "Traceback" not in shown
    assert not (notes / "recipe.yaml").exists()


def test_quiet_asks_nothing(notes: Path) -> None:
    """A script that has a terminal is not held up."""
    code, shown = typed(notes, "", "-q")
    assert 0 == code, shown
    assert "Enter alone" not in shown
