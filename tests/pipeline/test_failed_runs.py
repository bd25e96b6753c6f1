"""Seeds that fail: scores over those that finished, with the failed ones said; the same command tries these again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import bertwright
from bertwright import pack
from bertwright.cli.main import call
from bertwright.errors import Diverged, RunError, RunsFailed
from bertwright.pipeline.plan import plan
from bertwright.pipeline.results import run_folder
from bertwright.pipeline.stage import standings
from bertwright.pipeline.status import status
from bertwright.stages import finetune, learning, search
from bertwright.store import Store, pointers

Toy = Callable[..., Path]
THREE = {"baseline": False, "seeds": 3, "epochs": 2}


@dataclass
class Failing:
    """Runs that diverge: those of the ``seeds``, and those of the ``task`` at every seed."""

    seeds: set[int] = field(default_factory=set)
    task: str = ""


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Return what says which runs diverge, settings that are tried among them; none at first."""
    chosen, real = Failing(), learning.learn

    def learn(work: Any, options: Any, *rest: Any, **more: Any) -> Any:
        if options["seed"] in chosen.seeds or work.options["task"]["name"] == chosen.task:
            raise Diverged("the loss was not a number")
        return real(work, options, *rest, **more)

    monkeypatch.setattr(finetune, "learn", learn)
    monkeypatch.setattr(search, "learn", learn)
    return chosen


def evaluated(path: Path) -> dict[str, Any]:
    """Return the record of the scores that the run's folder points to."""
    recipe = bertwright.load_recipe(path)
    entry = pointers(run_folder(recipe))["evaluate/height"]
    found = Store(recipe.store).sealed(entry["kind"], entry["identity"])
    assert found is not None
    return found.record


def began(path: Path) -> list[str]:
    """Run once more; return the stages that it began."""
    names: list[str] = []
    bertwright.run(path, listen=lambda name, told: names.append(name) if told["event"] == "begin" else None)
    return [name for name in names if name != "forecast"]


def test_scores_are_over_the_seeds_that_finished(tuned: Toy, failing: Failing) -> None:
    """The failed one is said in message, record, page and cards, and the command still ends as one that failed."""
    path = tuned(finetune=THREE)
    failing.seeds = {1}
    with pytest.raises(RunsFailed) as caught:
        bertwright.run(path)
    assert "1 of 4 stages failed" in str(caught.value)
    assert "evaluate/height is made of the runs that finished" in str(caught.value)
    assert "evaluate/height" in caught.value.result.stages
    (variant,) = evaluated(path)["results"]["variants"]
    assert ([0, 2], [1]) == (variant["seeds"], variant["failed_seeds"])
    assert 2 == len(variant["scores"]["dev"]["accuracy"]["values"])
    assert variant["protocol"].endswith("; seed 1 failed and is not among the scores")
    folder = run_folder(bertwright.load_recipe(path))
    for page in ((folder / "report.html").read_text(), bertwright.report(path).read_text()):
        assert "seed 1 failed and is not among the scores" in page
        assert "height: of the seeds of given failed 1; its scores are over 0, 2 alone" in page
        assert "2, 1 failed" in page
    assert "seed 1 failed and is not among the scores" in (folder / "cards/tasks/height/given/seed-0.md").read_text()
    assert "done" == next(one.state for one in status(bertwright.load_recipe(path)).stages if "evaluate" in one.name)


def test_the_terminal_shows_the_scores_that_there_are(
    tuned: Toy, failing: Failing, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their table stands on stdout, the failure on stderr, and with --json the one object says that it failed."""
    path = str(tuned(finetune=THREE))
    failing.seeds = {1}
    assert 1 == call(["run", path, "-q"])
    out, err = capsys.readouterr()
    assert "height" in out and "report: " in out
    assert "1 of 4 stages failed" in err
    assert 1 == call(["run", path, "-q", "--json"])
    out = capsys.readouterr().out
    assert 1 == out.count("\n")
    assert not json.loads(out)["ok"]


def test_failed_seeds_are_tried_again_and_then_all_are_scored(tuned: Toy, failing: Failing) -> None:
    """What fails again is scored as before, and nothing is done twice; what then finishes is among the scores."""
    path = tuned(finetune=THREE)
    failing.seeds = {1}
    for _ in range(2):
        with pytest.raises(RunError):
            bertwright.run(path)
        fewer = evaluated(path)
    recipe = bertwright.load_recipe(path)
    due = standings(plan(recipe), Store(recipe.store), pointers(run_folder(recipe)))
    assert "variants.given.failed_seeds was [1], is off" == due["evaluate/height"].why
    failing.seeds = set()
    assert ["finetune/height/given/seed-1", "evaluate/height"] == began(path)
    whole = evaluated(path)
    (variant,) = whole["results"]["variants"]
    assert [0, 1, 2] == variant["seeds"] and "failed_seeds" not in variant
    assert fewer["identity"] != whole["identity"]
    assert "seed 1 failed" not in bertwright.report(path).read_text()


def test_a_task_with_no_run_left_is_not_scored(tuned: Toy, failing: Failing) -> None:
    """A variant that has no seed left has no score, and neither has what would be compared with it."""
    path = tuned(finetune=THREE)
    failing.seeds = {0, 1, 2}
    with pytest.raises(RunError, match=r"3 of 4 stages failed.* evaluate/height needs what failed and did not run"):
        bertwright.run(path)
    assert "seed 1 failed and is not" not in bertwright.report(path).read_text()


def test_weights_of_finished_runs_wait_for_those_that_failed(tuned: Toy, failing: Failing) -> None:
    """They are scored once more with the ones that are missing: where no weights are kept these are, until then."""
    path = tuned(finetune={**THREE, "keep": "none"})
    failing.seeds = {1}
    with pytest.raises(RunError):
        bertwright.run(path)
    failing.seeds = set()
    assert ["finetune/height/given/seed-1", "evaluate/height"] == began(path)
    store = bertwright.load_recipe(path).store
    assert not list(store.glob("stages/finetune-*/model"))


def test_scored_packs_tell_of_the_seed_that_failed(tuned: Toy, failing: Failing) -> None:
    """A pack goes where no report goes with it."""
    path = tuned(finetune={**THREE, "trainable": "bitfit"})
    failing.seeds = {1}
    with pytest.raises(RunError):
        bertwright.run(path)
    packs = sorted(run_folder(bertwright.load_recipe(path)).glob("tasks/height/*/*.pack"))
    assert ["seed-0.pack", "seed-2.pack"] == [one.name for one in packs]
    for one in packs:
        told = pack.read(one)
        assert told.card is not None
        assert {2} == {score.seeds for score in told.card.scores}
        assert all("; seed 1 failed" in score.protocol for score in (*told.scores, *told.card.scores))


def test_a_task_without_a_setting_takes_no_other_one_along(tuned: Toy, failing: Failing) -> None:
    """Where all settings of one task diverge, there is nothing to choose for it, and the others go on."""
    path = tuned()
    (path.parent / "other.jsonl").write_text((path.parent / "train.jsonl").read_text())
    tasks = [
        {"name": name, "train": f"{file}.jsonl", "sets": {"dev": "dev.jsonl"}, "text": "text"}
        for name, file in (("height", "train"), ("other", "other"))
    ]
    grid = {"learning_rate": [1e-4, 1e-3]}
    path = tuned(tasks=tasks, finetune={"baseline": False, "seeds": 1, "epochs": 1, "grid": grid})
    failing.task = "height"
    with pytest.raises(RunError, match="choose/height/given: task height, given: all 2 settings failed"):
        bertwright.run(path)
    done = pointers(folder := run_folder(bertwright.load_recipe(path)))
    assert "failed" in done["choose/height/given"]
    assert (folder / "scores/other").exists() and not (folder / "scores/height").exists()
