"""Settings that are tried, the best one's runs, tasks that start from each other, and runs that fail alone."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import yaml

import bertwright
from bertwright.errors import BertwrightError, Diverged, InputError, RecipeError, RunError
from bertwright.pipeline.plan import plan
from bertwright.pipeline.results import run_folder
from bertwright.pipeline.stage import standings
from bertwright.reports.tables import summary_lines
from bertwright.stages import learning, search
from bertwright.store import Store, pointers
from bertwright.tasks.metrics import METRICS, Score
from bertwright.tasks.protocols import PROTOCOLS, Plan, Protocol

Toy = Callable[..., Path]
RATES = [1e-4, 3e-2, 1e-3]
ONE = {"baseline": False, "seeds": 1, "epochs": 2}


def second(path: Path, **fields: Any) -> dict[str, Any]:
    """Return a task beside the first, on the same rows, for the recipe in a folder."""
    rows = [json.loads(line) for line in (path.parent / "train.jsonl").read_text().splitlines()]
    (path.parent / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:32]))
    return {"name": "other", "train": "other.jsonl", "sets": {"dev": "dev.jsonl"}, "text": "text", **fields}


def first() -> dict[str, Any]:
    """Return the toy's own task."""
    return {"name": "height", "train": "train.jsonl", "sets": {"dev": "dev.jsonl"}, "text": "text"}


def results(result: bertwright.Result, kind: str) -> dict[str, Any]:
    """Return the results of all stages of a kind by name."""
    return {name: sealed.record["results"] for name, sealed in result.stages.items() if sealed.record["kind"] == kind}


@pytest.mark.parametrize("select_on", ["holdout", "dev"])
def test_the_best_of_a_grid_is_scored(tuned: Toy, select_on: str) -> None:
    """Each setting is tried once, the table is sorted, and the seeds run at its first line, on all rows."""
    path = tuned(finetune={**ONE, "seeds": 2, "grid": {"learning_rate": RATES}, "select_on": select_on})
    result = bertwright.run(path)
    tried, ((_, chosen),) = results(result, "search"), results(result, "choose").items()
    assert RATES == [one["setting"]["learning_rate"] for one in tried.values()]
    assert {48 if select_on == "dev" else 24} == {one["rows"] for one in tried.values()}
    scores = [row["score"] for row in chosen["table"]]
    assert sorted(scores, reverse=True) == scores
    assert max(one["score"] for one in tried.values()) == scores[0]
    assert chosen["setting"]["learning_rate"] == chosen["table"][0]["learning_rate"]
    assert chosen["undecided"] is None
    runs = results(result, "finetune").values()
    assert {(48, chosen["setting"]["learning_rate"])} == {(r["rows"], r["settings"]["learning_rate"]) for r in runs}
    scored = result.stages["evaluate/height"].record["results"]
    where = "rows kept back from train" if select_on == "holdout" else "dev, where it is scored too"
    assert f"the best of 3 settings on {where}" in scored["variants"][0]["protocol"]
    assert {3} == {variant["settings_tried"] for variant in scored["variants"]}
    assert not any((sealed.folder / "model").exists() for name, sealed in result.stages.items() if "search" in name)


def test_too_few_rows_to_choose_on_are_told_as_they_are(tuned: Toy) -> None:
    """Of one row none can be kept back, which has nothing to do with labels that only one row has."""
    task = {"name": "few", "train": "few.jsonl", "sets": {"dev": "few.jsonl"}, "text": "text", "kind": "regression"}
    path = tuned()
    (path.parent / "few.jsonl").write_text('{"text": "balan", "label": 1.5}\n')
    path = tuned(tasks=[task], finetune={**ONE, "grid": {"learning_rate": RATES}})
    with pytest.raises(
        BertwrightError, match=r"of its 1 row\(s\) none can be kept back to choose a setting on: at most"
    ):
        bertwright.run(path)


def test_two_tasks_with_a_grid_run_again_from_their_own_recipe(tuned: Toy) -> None:
    """All is done the second time, also by the recipe that is written beside the results."""
    path = tuned()
    path = tuned(finetune=None, tasks=[first(), second(path)])
    finetune = {"grid": {"learning_rate": RATES[:2]}, "baseline": False, "seeds": 1}
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "finetune": finetune}))
    done = bertwright.run(path)
    for again in (path, done.folder / "recipe.yaml"):
        began: list[str] = []

        def listen(name: str, fields: dict[str, Any], began: list[str] = began) -> None:
            began.append(name) if fields["event"] == "begin" else None

        assert done.stages.keys() == bertwright.run(again, listen=listen).stages.keys()
        assert [] == began


def test_scores_stand_with_their_seeds(tuned: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds that are not in order keep theirs: each score is that of the seed's own predictions."""
    monkeypatch.setitem(PROTOCOLS, "cramming", Protocol("odd seeds", Plan(seeds=(7, 3, 5))))
    path = tuned(finetune=None)
    finetune = {"protocol": "cramming", "epochs": 2, "batch": 4, "learning_rate": 1e-2}
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "finetune": finetune}))
    sealed = bertwright.run(path).stages["evaluate/height"]
    variant = sealed.record["results"]["variants"][0]
    assert [7, 3, 5] == variant["seeds"]
    for seed, value in zip(variant["seeds"], variant["scores"]["dev"]["accuracy"]["values"], strict=True):
        table = pq.read_table(sealed.folder / f"predictions/given/seed-{seed}/dev.parquet").to_pydict()
        assert value == np.mean(np.array(table["gold"]) == np.array(table["predicted"]))


def test_undefined_scores_choose_nothing(tuned: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The grid's first setting is taken, the choice says why, and no score is called that of the best."""
    accuracy = METRICS["accuracy"]
    monkeypatch.setitem(METRICS, "accuracy", replace(accuracy, compute=lambda *_: Score(None, "made up")))
    result = bertwright.run(tuned(finetune={**ONE, "grid": {"learning_rate": RATES[:2]}}))
    (chosen,) = results(result, "choose").values()
    assert ("made up", RATES[0]) == (chosen["undecided"], chosen["setting"]["learning_rate"])
    said = "\n".join(summary_lines(result.records))
    assert "the first of 2 settings on rows kept back" in said and "the best of" not in said


def test_a_second_try_tries_nothing_twice(tuned: Toy) -> None:
    """A setting more is the only one that runs; all weights are kept where that is asked for."""
    path = tuned(finetune={**ONE, "grid": {"learning_rate": RATES[:2]}, "keep": "all"})
    before = bertwright.run(path)
    path = tuned(finetune={**ONE, "grid": {"learning_rate": RATES}, "keep": "all"})
    began: list[str] = []
    after = bertwright.run(path, listen=lambda name, fields: began.append(name) if fields["event"] == "begin" else None)
    assert [name for name in began if name.startswith("search/")] == ["search/height/given/03"]
    assert before.stages["search/height/given/01"].folder == after.stages["search/height/given/01"].folder
    assert all((sealed.folder / "model").exists() for name, sealed in after.stages.items() if "search" in name)


def test_halving_gives_the_better_half_more_epochs(tuned: Toy) -> None:
    """Four settings for half an epoch, two for one, and the best is known: of eight epochs four are spent."""
    grid = {"learning_rate": [1e-5, 1e-4, 1e-3, 1e-2]}
    result = bertwright.run(tuned(finetune={**ONE, "grid": grid, "halving": True}))
    tried = results(result, "search")
    assert [0.5] * 4 + [1.0] * 2 == [one["epochs"] for one in tried.values()]
    tables = list(results(result, "choose").values())
    for earlier, later in itertools.pairwise(tables):
        best = [row["learning_rate"] for row in earlier["table"][: later["tried"]]]
        assert sorted(best) == sorted(row["learning_rate"] for row in later["table"])
    assert (4.0, 8.0) == (tables[-1]["epochs_spent"], tables[-1]["epochs_of_all"])


def test_a_setting_that_diverges_is_told_and_the_others_go_on(tuned: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands last in the table with what happened; where all diverge there is nothing to choose."""
    real = learning.learn

    def learn(work: Any, options: Any, *rest: Any, **more: Any) -> Any:
        if options["learning_rate"] in broken:
            raise Diverged("the loss was not a number")
        return real(work, options, *rest, **more)

    monkeypatch.setattr(search, "learn", learn)
    broken = [1e-4]
    path = tuned(finetune={**ONE, "grid": {"learning_rate": RATES}})
    (chosen,) = results(bertwright.run(path), "choose").values()
    assert (1, "the loss was not a number") == (chosen["failed"], chosen["table"][-1]["failed"])
    broken = RATES
    with pytest.raises(RunError, match="height, given: all 3 settings failed, the first with: the loss was not"):
        bertwright.run(tuned(finetune={**ONE, "grid": {"learning_rate": RATES}}, seed=1))


def test_a_setting_whose_answers_are_no_numbers_has_failed_too(tuned: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """It went wrong behind its last update, so that training itself did not see it."""
    real = search._logits

    def logits(learnt: Any, task: Any, labels: Any, rows: Any, options: Any) -> Any:
        found = real(learnt, task, labels, rows, options)
        return found * float("nan") if options["learning_rate"] == RATES[0] else found

    monkeypatch.setattr(search, "_logits", logits)
    (chosen,) = results(bertwright.run(tuned(finetune={**ONE, "grid": {"learning_rate": RATES}})), "choose").values()
    assert 1 == chosen["failed"]
    assert "not finite" in chosen["table"][-1]["failed"]


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_run_that_fails_takes_along_only_what_needs_it(
    tuned: Toy, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """The other task is scored; message, plan and report name what failed; the same command tries it again."""
    path = tuned(finetune={**ONE, "seeds": 2}, system={"runs": at_once, "threads": at_once})
    path = tuned(
        finetune={**ONE, "seeds": 2},
        system={"runs": at_once, "threads": at_once},
        tasks=[first() | {"learning_rate": 1e30}, second(path)],
        report=False,
    )
    with pytest.raises(RunError) as caught:
        bertwright.run(path)
    told = str(caught.value)
    assert "evaluate/height needs what failed and did not run" in told
    assert "finetune/height/given/seed-1: the loss or its gradient was not a finite number" in told
    failing = bertwright.load_recipe(path)
    due = standings(plan(failing), Store(failing.store), pointers(run_folder(failing)))["finetune/height/given/seed-1"]
    assert due.why.startswith("failed (the loss or its gradient was not a finite number")
    page = bertwright.report(path).read_text()
    assert "finetune/height/given/seed-1 failed, and what needs it is missing here or did without it: the loss" in page
    mended = tuned(
        finetune={**ONE, "seeds": 2},
        system={"runs": at_once, "threads": at_once},
        tasks=[first(), second(path)],
    )
    began: list[str] = []
    bertwright.run(mended, listen=lambda name, fields: began.append(name) if fields["event"] == "begin" else None)
    assert not [name for name in began if "other" in name]


def test_one_task_is_finished_before_the_next_is_tried_out(tuned: Toy) -> None:
    """Side by side too: a choice waits for its own settings, and not for those of all tasks."""
    path = tuned()
    grid = {"learning_rate": [1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2]}
    path = tuned(finetune={**ONE, "grid": grid}, system={"runs": 2}, tasks=[first(), second(path)])
    began: list[str] = []
    bertwright.run(path, listen=lambda name, fields: began.append(name) if fields["event"] == "begin" else None)
    assert 6 == sum(name.startswith("search/other/") for name in began)
    # The last of one task's settings may outlast some of the next's, and no more.
    assert began.index("finetune/height/given/seed-0") < began.index("search/other/given/06")


def test_a_task_starts_from_anothers_best_run(tuned: Toy) -> None:
    """Encoder and pooler are the other run's, the last layer is new; the plan orders it, in any order of the recipe."""
    path = tuned()
    path = tuned(
        finetune={**ONE, "learning_rate": 1e-9, "schedule": "constant"},
        tasks=[second(path, start_from="height"), first() | {"learning_rate": 1e-2}],
    )
    names = [stage.name for stage in plan(bertwright.load_recipe(path))]
    assert names.index("finetune/height/given/seed-0") < names.index("finetune/other/given/seed-0")
    result = bertwright.run(path)
    tensors = {
        task: safetensors.torch.load_file(result.folder / f"tasks/{task}/given/seed-0/model.safetensors")
        for task in ("height", "other")
    }
    near = {name: np.allclose(tensors["height"][name], tensors["other"][name], atol=1e-6) for name in tensors["height"]}
    assert {name for name, same in near.items() if not same} <= {"classifier.weight", "classifier.bias"}
    assert not near["classifier.weight"]


@pytest.mark.parametrize("own", ["full", ["full", "bitfit"], ["bitfit", "full"]])
def test_a_start_is_found_by_its_method(tuned: Toy, own: Any) -> None:
    """Runs bear their method's name where a task has several: one side of a start may, and the other not."""
    path = tuned()
    tasks = [first() | {"trainable": own}, second(path, start_from="height", trainable="full")]
    stages = {stage.name: stage for stage in plan(bertwright.load_recipe(tuned(finetune=ONE, tasks=tasks)))}
    start = stages["finetune/other/given/seed-0"].inputs["encoder"]
    assert ("given-full" if len(own) == 2 else "given") == str(start.stage).split("/")[2]


def test_the_untrained_encoder_learns_the_first_method_alone(tuned: Toy) -> None:
    """So its runs can start from that one only, and the message says by which."""
    path = tuned()
    tasks = [first() | {"trainable": ["full", "bitfit"]}, second(path, start_from="height", trainable="bitfit")]
    recipe = tuned(finetune={**ONE, "baseline": True}, tasks=tasks)
    with pytest.raises(InputError, match="on the encoder untrained that task is learnt by full; give both"):
        plan(bertwright.load_recipe(recipe))


def test_a_task_may_start_from_one_that_learns_at_other_settings(tuned: Toy) -> None:
    """The other's method may have a rate of its own; one that changes other parameters is no start."""
    path = tuned()
    others = first() | {"trainable": [{"method": "full", "learning_rate": 1e-2, "epochs": 3}]}
    tasks = [others | {"seeds": 1}, second(path, start_from="height", seeds=2)]
    recipe = bertwright.load_recipe(tuned(finetune={"baseline": False}, tasks=tasks))
    names = [stage.name for stage in plan(recipe)]
    assert ["seed-0", "seed-0", "seed-1"] == [name.split("/")[-1] for name in names if name.startswith("finetune/")]
    assert names.index("finetune/height/given/seed-0") < names.index("finetune/other/given/seed-0")
    biases = first() | {"trainable": "bitfit"}
    with pytest.raises(
        InputError,
        match="starts from height by the method full, and on the encoder given that task is learnt by bitfit;",
    ):
        plan(bertwright.load_recipe(tuned(tasks=[biases, second(path, start_from="height")])))


def test_weights_that_are_not_kept_come_back_where_they_are_needed(tuned: Toy, tmp_path: Path) -> None:
    """Nothing runs again without a reason; a new set to score on is one, and the plan says so before."""
    path = tuned(finetune={**ONE, "keep": "none"})
    done = bertwright.run(path)
    name = "finetune/height/given/seed-0"
    assert not (done.stages[name].folder / "model").exists()
    store = Store(bertwright.load_recipe(path).store)
    assert [] == store.verify()
    began: list[str] = []

    def listen(stage: str, fields: dict[str, Any]) -> None:
        began.append(stage) if fields["event"] == "begin" else None

    bertwright.run(path, listen=listen)
    assert [] == began
    path = tuned(
        finetune={**ONE, "keep": "none"}, tasks=[first() | {"sets": {"dev": "dev.jsonl", "test": "train.jsonl"}}]
    )
    recipe = bertwright.load_recipe(path)
    found = standings(plan(recipe), store, pointers(run_folder(recipe)))
    assert "its weights were not kept, and evaluate/height needs them" == found[name].why
    bertwright.run(path, listen=listen)
    assert ["forecast", name, "evaluate/height"] == began
    assert [] == store.verify()
    # Asked for again, the weights come back.
    bertwright.run(bertwright.load_recipe(path, ["finetune.keep=best"]))
    assert (done.stages[name].folder / "model").exists()


def test_starts_that_lead_nowhere_are_told(tuned: Toy) -> None:
    """An unknown task with the nearest name, and a ring."""
    path = tuned()
    with pytest.raises(RecipeError, match="starts from 'heigth', which is no task .*; did you mean 'height'"):
        bertwright.load_recipe(tuned(tasks=[first(), second(path, start_from="heigth")]))
    ring = [first() | {"start_from": "other"}, second(path, start_from="height")]
    with pytest.raises(RecipeError, match="start from each other: height from other from height; let one"):
        bertwright.load_recipe(tuned(tasks=ring))


def test_choices_that_contradict_each_other_are_told(tuned: Toy) -> None:
    """A value beside a grid of it, a grid of nothing, dev where there is none, a protocol's start that is missing."""
    grid = {"learning_rate": RATES}
    with pytest.raises(InputError, match="`learning_rate` is set to 0.1, and the grid tries 0.0001, 0.03, 0.001"):
        plan(bertwright.load_recipe(tuned(finetune={"grid": grid, "learning_rate": 0.1})))
    with pytest.raises(RecipeError, match="a grid lists values of learning_rate, batch, epochs, weight_decay"):
        bertwright.load_recipe(tuned(finetune={"grid": {}}))
    path = tuned(finetune={"grid": grid, "select_on": "dev"}, tasks=[first() | {"sets": {"test": "dev.jsonl"}}])
    with pytest.raises(InputError, match="to be chosen on the set `dev`, and there are test; name a set `dev`"):
        plan(bertwright.load_recipe(path))


def test_a_protocol_brings_its_settings_and_seeds(tuned: Toy) -> None:
    """What the recipe says itself stands before it."""
    path = tuned(finetune={"protocol": "cramming", "seeds": 1, "epochs": 1, "batch": 16, "max_length": 16})
    runs = [stage for stage in plan(bertwright.load_recipe(path)) if stage.kind == "finetune"]
    assert {(4e-5, "cosine", 0.1, 1.0)} == {
        tuple(one.options[key] for key in ("learning_rate", "schedule", "warmup", "epochs")) for one in runs
    }
    path = tuned(finetune=None)
    path.write_text(path.read_text() + "finetune: {protocol: sane, baseline: false}\n")
    stages = plan(bertwright.load_recipe(path))
    assert 3 == sum(stage.kind == "search" for stage in stages)
    assert 3 == sum(stage.kind == "finetune" for stage in stages)


def named(path: Path) -> str:
    """Return what a recipe's only task is said to be learnt by, up to the number of settings."""
    (found,) = (stage for stage in plan(bertwright.load_recipe(path)) if stage.kind == "evaluate")
    (variant,) = found.options["variants"].values()
    return str(variant["protocol"].split(":")[0])


SMALL = {"learning_rate": 1e-3, "epochs": 1.0, "batch": 4}


@pytest.mark.parametrize(
    ("finetune", "own"),
    [
        ({"protocol": "mosaicbert"}, ""),
        ({"protocol": "mosaicbert", "max_length": 256, "epochs": 3, "warmup": "6 %", "micro_batch": 2}, ""),
        ({"protocol": "mosaicbert", **SMALL, "seeds": 1}, " with own epochs, batch, learning_rate, seeds"),
        ({"protocol": "mosaicbert", "schedule": "constant", "clip": None}, " with own schedule, clip"),
        ({"protocol": "cramming", "grid": {"epochs": [1, 5]}, "select_on": "dev"}, " with own epochs, select_on"),
        ({"protocol": "cramming", "select_on": "dev", "halving": True, "holdout": 0.2}, ""),
        ({"protocol": "cramming", "weight_decay": 0.1}, " with own weight_decay"),
        ({"protocol": "sane"}, ""),
        ({"protocol": "sane", "seeds": 5}, ""),
        ({"protocol": "sane", "select_on": "dev"}, " with own select_on"),
        ({"protocol": "sane", "halving": True, "holdout": "20 %"}, " with own holdout, halving"),
        ({"protocol": "sane", "grid": {"learning_rate": [3e-5, 1e-4]}}, " with own learning_rate"),
        ({"protocol": "bitfit", "trainable": "bitfit"}, ""),
        ({"protocol": "sane", "trainable": [{"method": "bitfit", "warmup": 0.1}]}, " with own warmup"),
        ({"protocol": "sane", "trainable": "head"}, ""),
    ],
)
def test_a_protocols_name_says_what_is_not_its_own(tuned: Toy, finetune: dict[str, Any], own: str) -> None:
    """Scores that were made otherwise do not stand under a published name alone."""
    path = tuned(finetune=None)
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "finetune": finetune}))
    assert f"protocol {finetune['protocol']}{own}" == named(path)


def test_a_tasks_own_settings_and_start_are_named_too(tuned: Toy) -> None:
    """A task of the recipe may depart where the others do not."""
    path = tuned(finetune=None, tasks=[first() | {"batch": 8, "seeds": 2}])
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "finetune": {"protocol": "mosaicbert"}}))
    assert "protocol mosaicbert with own batch, seeds" == named(path)
    pairs = {"train": "pairs.jsonl", "sets": {"dev": "pairs.jsonl"}}
    (path.parent / "pairs.jsonl").write_text('{"sentence1": "bala", "sentence2": "miso", "label": 1}\n' * 8)
    sentences = {"known": "rte", "start_from": "encoder", **pairs}
    path = tuned(finetune=None, tasks=[{"name": "rte", **sentences}])
    for name, own in (("mosaicbert", " with own start_from"), ("cramming", "")):
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "finetune": {"protocol": name}}))
        assert f"protocol {name}{own}" == named(path)


def test_a_protocols_betas_reach_every_run(tuned: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tries' and the chosen one's; runs of other protocols do not know of them, and keep their identities."""
    seen: list[tuple[float, float]] = []
    real = learning.Settings

    def noted(*given: Any, **more: Any) -> Any:
        seen.append(more["betas"])
        return real(*given, **more)

    monkeypatch.setattr(learning, "Settings", noted)
    path = tuned(finetune=None)
    small = {"epochs": 1, "seeds": 1, "max_length": 16, "grid": {"learning_rate": RATES[1:]}}
    for name, betas in (("mosaicbert", (0.9, 0.98)), ("cramming", (0.9, 0.999))):
        finetune = {"protocol": name, **small}
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "finetune": finetune}))
        stages = [one for one in plan(bertwright.load_recipe(path)) if one.kind == "search"]
        assert {name == "mosaicbert"} == {"betas" in one.options for one in stages}
        bertwright.run(path)
        assert [betas] * 3 == seen
        seen.clear()


def test_a_protocol_may_choose_by_another_metric(tuned: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ExtremeBERT takes STS-B's best by Pearson; its score stays Spearman; who says `score` has that."""
    rows = [{"sentence1": f"bala {'miso ' * n}", "sentence2": "bala", "label": n} for n in range(6)]
    for part in ("train", "dev"):
        (tmp_path / f"{part}.stsb.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * 5))
    pearson = METRICS["pearson"]
    monkeypatch.setitem(METRICS, "pearson", replace(pearson, compute=lambda *_: Score(0.123)))
    task = {"name": "stsb", "known": "stsb", "train": "train.stsb.jsonl", "sets": {"dev": "dev.stsb.jsonl"}}
    path = tuned(finetune=None, tasks=[{**task, "start_from": "encoder"}])
    small = {"protocol": "extremebert", "epochs": 1, "batch": 8, "grid": {"learning_rate": RATES[:2]}}
    for given, metric in (({}, "pearson"), ({"select_by": "score"}, "spearman")):
        document = {**yaml.safe_load(path.read_text()), "finetune": {**small, **given}}
        path.write_text(yaml.safe_dump(document))
        result = bertwright.run(path)
        (chosen,) = results(result, "choose").values()
        assert metric == chosen["metric"]
        assert (metric == "pearson") == ([0.123] * 2 == [row["score"] for row in chosen["table"]])
        scored = result.stages["evaluate/stsb"].record["results"]
        assert "spearman" == scored["headline"]["metric"]
        said = scored["variants"][0]["protocol"]
        assert (", by pearson; the weights" in said, "select_by" in said) == (not given, bool(given))
