"""Every command and every piece of Python in README and docs: options exist, and what is cheap is run on toy data."""

from __future__ import annotations

import csv
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import typer.main
import yaml
from toy_recipes import sentence, toy_in

import bertwright
import documented
from bertwright import files
from bertwright.cli.main import app, call
from bertwright.pack import read, write

COMMANDS = list(documented.commands())
# Not run here, and why; what they do has tests of its own.
NOT_RUN = {
    "demo": "takes minutes",
    "serve": "serves until it is ended",
    "submit": "needs GLUE's files",
    "init": "is run on a user's files in test_new_recipe",
    "memorise": "needs a folder of secrets; test_memorise has one",
    "--smoke": "takes minutes",
    "--compare": "needs two runs; test_compare has them",
}
STANDS_FOR = {"my-model/": "encoder", "FILE": "new.csv", "FILE.csv": "new.csv"}


def parsed(shown: documented.Shown) -> None:
    """Read a command as the command line would; of a part in running text its options and its name alone."""
    command: Any = typer.main.get_command(app)
    words, name = list(shown.words), "bertwright"
    while words and getattr(command, "commands", None) is not None:
        assert words[0] in command.commands, f"there is no command {words[0]}"
        name, command = f"{name} {words[0]}", command.commands[words.pop(0)]
    if shown.whole:
        with command.make_context(name, words):
            return
    known = {option for one in getattr(command, "params", ()) for option in one.opts}
    assert set() == {word for word in words if word.startswith("-")} - known - {"--help"}


@pytest.mark.parametrize("shown", COMMANDS, ids=str)
def test_a_command_of_the_pages_can_be_given(shown: documented.Shown) -> None:
    """Its name, its options and their number of values are those of the live command line."""
    try:
        parsed(shown)
    except click.UsageError as error:
        pytest.fail(f"{shown}: {error.format_message()}")


def rows(draw: random.Random, count: int, columns: tuple[str, str]) -> list[dict[str, str]]:
    """Return labelled rows."""
    return [{columns[0]: sentence(draw, 0, 48), columns[1]: ("high", "low")[i % 2]} for i in range(count)]


def write_csv(path: Path, found: list[dict[str, str]]) -> None:
    """Write rows as a csv file."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(found[0]))
        writer.writeheader()
        writer.writerows(found)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all that the pages name is there, small: recipe, runs, packs, files of rows."""
    folder = tmp_path_factory.mktemp("world")
    draw = random.Random(3)
    for name, count in (("triage/train", 48), ("triage/dev", 12), ("new", 6)):
        write_csv(folder / f"{name}.csv", rows(draw, count, ("note", "team")))
    write_csv(folder / "mine.csv", rows(draw, 12, ("note", "label")))
    pq.write_table(pa.Table.from_pylist(rows(draw, 6, ("note", "team"))), folder / "new.parquet")
    task = {"train": "triage/train.csv", "sets": {"dev": "triage/dev.csv"}, "text": "note", "label": "team"}
    exits = {"max_drop": ["50 %"], "timed_rows": 2, "epochs": 1}
    toy = toy_in(folder)(
        encoder={"layers": 2},
        pretrain={"budget": "4 steps"},
        finetune={"baseline": False, "seeds": 2, "exits": exits},
        tasks=[{"name": "triage", **task}, {"name": "topic", **task, "trainable": ["bitfit"]}],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bertwright.pipeline.run._forecast", lambda *_: {})  # it measures for longer than these run
        result = bertwright.run(toy.rename(folder / "recipe.yaml"))
    _names(folder, result.folder)
    return folder


def _names(folder: Path, run: Path) -> None:
    """Give what a run left the names that the pages have for such things."""
    (folder / "encoder").symlink_to(run / "encoder")
    packs = {name: run / f"tasks/topic/pretrained/seed-{seed}.pack" for name, seed in (("a", 0), ("b", 1))}
    places = {"a.pack": "a", "triage.pack": "a", "topic.pack": "b", "b.pack": "b", "b/seed-0.pack": "b"}
    tasks = "bertwright-store/runs/recipe/tasks"
    places |= {f"{tasks}/triage/given/seed-0.pack": "a", f"{tasks}/urgency/given/seed-0.pack": "b"}
    places |= {"FOLDER/a.pack": "a", "THIS.pack": "a"}
    for place, name in places.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(packs[name], folder / place)
        files.write_json((folder / place).parent / "encoder.json", {"encoder": str((run / "encoder").resolve())})
    for name in ("triage", "urgency"):
        path = folder / f"{tasks}/{name}/given/seed-0.pack"
        own = read(path)
        write(path, replace(own, task=replace(own.task, name=name)))
    ramped = run / "exits/triage/pretrained/seed-0"
    for place in ("MODEL", "bertwright-store/runs/recipe/exits/triage/given/seed-0", "exits/triage/given/seed-0"):
        shutil.copytree(ramped, folder / place)
    tuned = run / "tasks/triage/pretrained/seed-0"
    for place in ("RUN", "model", "handed-on", f"{tasks}/triage/given/seed-0"):
        shutil.copytree(tuned, folder / place)


def in_the_world(shown: documented.Shown, number: int) -> list[str] | None:
    """Return what is given in place of a page's command, or nothing where it is not run here."""
    words = [STANDS_FOR.get(word, word) for word in shown.words]
    words = [str(one) for word in words for one in (sorted(Path().glob(word)) if "*" in word else [word])]
    if words[0] in NOT_RUN or any("recipes/" in word or word in NOT_RUN for word in words):
        return None
    if any("=" in word and not word.startswith("-") for word in words) and words[0] == "run":
        words[0] = "plan"  # what it changes would be trained
    if "-o" in words:
        place = words.index("-o") + 1
        suffix = ".csv" if words[place] == "OUT" else "".join(Path(words[place]).suffixes)
        words[place] = f"out-{number}{suffix}"
    return words


def test_cheap_commands_of_the_pages_are_run(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each ends with 0 on toy data that stands for what the page names."""
    monkeypatch.chdir(world)
    given = {str(shown): in_the_world(shown, number) for number, shown in enumerate(COMMANDS) if shown.whole}
    failed = {}
    for shown, words in given.items():
        if words is not None and (code := call(words)) != 0:
            failed[shown] = (code, capsys.readouterr().err[-300:])
    assert {} == failed
    assert len([words for words in given.values() if words is not None]) > 20


@pytest.mark.parametrize("page", ["README.md", "packs.md", "exits.md", "deploy.md"])
def test_the_python_of_the_pages_runs(page: str, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, in a folder where what it names is there; texts as ids are drawn."""
    monkeypatch.chdir(world)
    if page == "deploy.md" and not Path("deployed").exists():
        one = read(Path("a.pack"))
        write(Path("inference.pack"), replace(one, task=replace(one.task, text=("premise", "hypothesis"))))
        assert 0 == call(["export", "encoder", "topic.pack", "inference.pack", "-o", "deployed"])
    ids = torch.randint(5, 60, (2, 8))
    names: dict[str, Any] = {"ids": ids, "mask": None, "segments": torch.zeros_like(ids)}
    [path] = [one for one in documented.PAGES if one.name == page]
    for block in documented.blocks(path, "python"):
        exec(compile(block, page, "exec"), names)


@pytest.mark.parametrize("page", documented.PAGES, ids=lambda page: page.name)
def test_the_yaml_of_the_pages_is_yaml(page: Path) -> None:
    """And what looks like a recipe has sections that a recipe has."""
    sections = set(bertwright.Recipe.model_fields)
    for block in documented.blocks(page, "yaml"):
        for found in yaml.safe_load_all(block):
            if isinstance(found, dict) and set(found) & {"finetune", "pretrain", "prepare", "tasks"}:
                assert set() == set(found) - sections
