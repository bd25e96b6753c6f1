"""Documents keep their promises: references are fresh, links lead somewhere, shipped recipes are read."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main

from bertwright.cli.main import app
from bertwright.recipe.reading import draft_recipe
from test_house import ORDER

ROOT = Path(__file__).parents[1]


def test_the_references_are_what_the_live_help_says() -> None:
    """docs/commands.md and docs/recipe.md are made by `make docs`, not by hand."""
    command = [sys.executable, str(ROOT / "docs" / "make_reference.py"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, "") == (found.returncode, found.stdout)


def test_every_command_has_help() -> None:
    """No command and no option without a sentence."""
    group = typer.main.get_command(app)
    assert all(command.help for command in group.commands.values())  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")), ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page is a file of the project, and what stands behind # one of its headings."""
    for target, part in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", page.read_text(encoding="utf-8")):
        there = page.parent / target if target else page
        assert there.exists(), target
        headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE) if part else []
        names = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not part or part in names, f"{target}#{part}"


def test_the_order_of_rooms_is_the_tested_one() -> None:
    """CONTRIBUTING.md and the README's map name every room that `test_house` knows."""
    rooms = [" ".join(["", *line]) for line in ORDER if line != ["__main__"]]
    said = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("    errors < ")[2].partition("\n\n")[0]
    assert rooms == [f" {line.strip()}".replace(",", "") for line in f"errors < {said}".replace("\n", " ").split(" < ")]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [] == [room for line in ORDER[:-1] for room in line if not re.search(rf"\b{room}(\.py|/)", readme)]


def test_the_source_distribution_holds_what_the_readmes_map_shows() -> None:
    """Whoever has the archive alone has every folder of the map, and can run what README and Makefile name."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    held = settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    shown = re.findall(r"^(\w+)/ ", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"recipes", "docs", "fuzz"} <= set(shown) <= set(held)


def test_the_readmes_recipe_is_a_recipe(tmp_path: Path) -> None:
    """The first recipe of the README has no fault but the folders that a user has to fill in."""
    [text] = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(text)
    draft = draft_recipe(tmp_path / "recipe.yaml")
    assert all("is not there" in problem.message for problem in draft.problems)


def test_the_readmes_commands_exist() -> None:
    """Every `bertwright` command in the README is one."""
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    used = set(re.findall(r"^\s*`?bertwright (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert used
    assert used <= known


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("**/*.yaml")), ids=lambda p: p.name)
def test_shipped_recipes_are_read(path: Path, shared_data: Path) -> None:
    """A shipped recipe has no fault but a model folder that its first lines say how to make, or a paper's files."""
    assert shared_data
    problems = draft_recipe(path).problems
    papers = path.parent.name == "papers"
    assert all("is not there" in problem.message for problem in problems)
    assert papers or {"encoder.folder"} >= {problem.key for problem in problems}


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_recipes_say_what_is_missing(path: Path, tmp_path: Path) -> None:
    """Without the real data beside the project, the missing paths are named with their lines."""
    (tmp_path / "recipes").mkdir()
    copy = tmp_path / "recipes" / path.name
    copy.write_text(path.read_text())
    draft = draft_recipe(copy)
    assert draft.problems
    assert all("is not there" in problem.message and problem.line for problem in draft.problems)
