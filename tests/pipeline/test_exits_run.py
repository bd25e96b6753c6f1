"""Early exits through the whole road: ramps of all kinds of runs, thresholds, packs, records, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bertwright
from bertwright import pack
from bertwright.errors import BertwrightError
from bertwright.pipeline.as_published import as_published
from bertwright.pipeline.plan import plan
from bertwright.pipeline.smoke import smoke
from bertwright.recipe.reading import to_yaml
from bertwright.reports.exits_tables import exits_tables
from bertwright.reports.words import ABSENT, interval_text, score_text
from bertwright.stages.exiting import read_calibration
from bertwright.tasks.readers import read_kept_back, read_rows
from bertwright.tasks.task import Task

Toy = Callable[..., Path]
RAMPS = {"epochs": 3, "timed_rows": 3}


def test_methods_of_all_kinds_get_ramps(deep: Toy) -> None:
    """Two-stage on a whole model and on a pack, three ways of joint training: records, files, packs with ramps."""
    methods = [
        {"method": "full", "exits": RAMPS},
        {"method": "bitfit", "exits": {**RAMPS, "form": "linear", "layers": [1]}},
        {"method": "full", "exits": {"training": "joint", "timed_rows": 3}},
        {"method": "bitfit", "exits": {"settings": "berxit", "timed_rows": 3}},
        {
            "method": "full",
            "exits": {"settings": "pabee", "timed_rows": 3, "choose": "by-score", "calibrate_on": "dev"},
        },
    ]
    result = bertwright.run(deep(finetune={"trainable": methods}))
    records = {n.split("/")[2]: s.record["results"] for n, s in result.stages.items() if n.startswith("ramps/")}
    assert 5 == len(records)
    for name, one in records.items():
        exits = [1, 3] if name == "given-bitfit-two-stage" else [1, 2, 3]
        assert exits == one["layers"]
        assert {"dev", "odd"} == set(one["sets"])
        assert len(exits) == len(one["sets"]["dev"]["scores"]) == len(one["exit_seconds"])
        assert 24 == sum(one["sets"]["dev"]["chosen"][0]["counts"])
        assert one["calibration_rows"] == one["promises"][0]["rows"] == 24
        assert {1, 32} == {two["batch"] for two in one["measured"]}
        told = "Nothing is promised of other rows" if name == "given-full-pabee" else "not enough data"
        assert any(told in note for note in one["notes"])
    scored = result.stages["evaluate/height"].record["results"]["variants"]
    for variant in scored:
        last = records[variant["variant"]]["sets"]["dev"]["scores"][-1]
        assert variant["scores"]["dev"]["accuracy"]["values"][0] == pytest.approx(last)
    kept = pack.read(result.folder / "tasks" / "height" / "given-bitfit-berxit" / "seed-0.pack")
    assert "score.weight" in kept.ramps
    assert kept.scores
    assert kept.policy is not None
    assert kept.policy["policy"].startswith("learned:")
    tables = {table.title: table for table in exits_tables(result.records, "height")}
    assert 4 == len(tables)
    chosen = tables["Early exits: height"].rows
    assert 10 == len(chosen)  # five runs on two sets
    one = records["given-full-two-stage"]
    dev = one["sets"]["dev"]
    whole, early = (score_text(value, "accuracy") for value in (dev["scores"][-1], dev["chosen"][0]["score"]))
    assert ("given-full-two-stage", "dev (accuracy)", "0.5 %") == chosen[0][:3]
    assert (one["promises"][0]["policy"], "uncertified", whole, early) == chosen[0][3:7]
    difference, interval = dev["chosen"][0]["difference"], dev["chosen"][0]["interval"]
    lost = f"{score_text(difference, 'accuracy', signed=True)} {interval_text(interval, 'accuracy', signed=True)}"
    assert lost == chosen[0][7]
    layers = {row[0]: row for row in tables["Score of each layer: height"].rows}
    assert ABSENT == layers["given-bitfit-two-stage"][3]  # it has no ramp after the second layer
    for picture in ("exits", "exit_layers", "exit_shares", "exit_times"):
        assert (result.folder / "figures" / f"{picture}.png").is_file()
    run = result.folder / "exits" / "height" / "given-full-two-stage" / "seed-0"
    assert {"ramps.safetensors", "exits.json", "calibration.safetensors", "model.safetensors"} <= {
        path.name for path in run.iterdir()
    }


def test_calibration_rows_take_part_in_nothing_else(deep: Toy) -> None:
    """They are in no row that the run, its search or its ramps learn from; without exits nothing is kept back."""
    tried = {"method": "full", "grid": {"learning_rate": [1e-3, 5e-3]}}
    path = deep(finetune={"exits": {**RAMPS, "keep_back": "25 %"}, "trainable": tried})
    recipe = bertwright.load_recipe(path)
    stages = {one.name: one for one in plan(recipe)}
    for name in ("search/height/given/01", "finetune/height/given/seed-0", "ramps/height/given/seed-0"):
        assert 0.25 == stages[name].options["task"]["keep_back"], name
    task = Task.from_options(stages["ramps/height/given/seed-0"].options["task"], path.with_name("train.jsonl"), {})
    learnt, kept = read_rows(task, task.train), read_kept_back(task)
    assert (24, 24) == (len(learnt), len(kept))
    assert set() == set(learnt.ids) & set(kept.ids)
    result = bertwright.run(recipe)
    every, gold = read_calibration(
        result.folder / "exits" / "height" / "given" / "seed-0" / "calibration.safetensors", "classification"
    )
    assert (3, 24, 2) == every.logits.shape
    assert [("high", "low").index(str(label)) for label in kept.labels] == gold.tolist()
    assert 24 == result.stages["finetune/height/given/seed-0"].record["results"]["rows"]
    plain = {one.name: one for one in plan(bertwright.load_recipe(deep()))}
    assert not {"keep_back", "exits"} & {*plain["finetune/height/given/seed-0"].options["task"]}


def test_thresholds_do_not_train_a_run_again(deep: Toy) -> None:
    """Two-stage exits leave a run what it is, whatever ramps and thresholds; joint ones are part of it."""

    def identity(exits: Any) -> str:
        stages = {one.name: one for one in plan(bertwright.load_recipe(deep(finetune={"exits": exits})))}
        return stages["finetune/height/given/seed-0"].identity

    assert identity(True) == identity("deebert") == identity({"max_drop": "2 %", "form": "linear"})
    assert identity({"training": "joint"}) == identity({"training": "joint", "max_drop": "2 %"}) != identity(True)
    recipe = bertwright.load_recipe(deep(finetune={"exits": {"settings": "berxit", "max_drop": ["1 %", "2 %"]}}))
    again = recipe.store.parent / "again.yaml"
    again.write_text(to_yaml(recipe))
    assert [one.identity for one in plan(recipe)] == [one.identity for one in plan(bertwright.load_recipe(again))]


def test_a_static_rival_is_cut_and_tuned(deep: Toy) -> None:
    """The lowest layers alone, whole otherwise: an ordinary folder of fewer layers, scored beside the others."""
    methods = ["full", {"method": "full", "depth": 2}]
    result = bertwright.run(deep(finetune={"trainable": methods, "epochs": 1}))
    folder = result.folder / "tasks" / "height" / "given-full-depth-2" / "seed-0"
    assert 2 == json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    found = [one["variant"] for one in result.stages["evaluate/height"].record["results"]["variants"]]
    assert ["given-full", "given-full-depth-2"] == found


@pytest.mark.parametrize(
    ("finetune", "task", "told"),
    [
        ({"trainable": {"depth": 4}}, {}, r"`depth` is 4, and the encoder has 3 layers; give at most so many"),
        ({"trainable": {"method": "bitfit", "depth": 2}}, {}, r"`depth` cuts the encoder, and bitfit leaves it"),
        ({"exits": "deeber"}, {}, r"found the settings 'deeber'; .*; did you mean deebert\?"),
        ({"exits": {"layers": [1, 2, 3]}}, {}, r"ramps after the layers 1, 2, 3 of 3; expected numbers from 1 to 2"),
        (
            {"exits": {"policy": "patience", "layers": [2]}},
            {},
            r"patience compares ramps, and there are 1; use entropy",
        ),
        ({"exits": {"calibrate_on": "tset"}}, {}, r"on the set 'tset', and there are dev, odd; name one of these"),
        ({"exits": True}, {"window_stride": 8}, r"are of whole rows, and `window_stride` cuts long ones into windows"),
        ({"exits": {"training": "joint", "epochs": 3}}, {}, r"`epochs` is of a training of its own"),
        ({"exits": {"form": "linear", "start": "tuned"}}, {}, r"a linear ramp has none; remove it"),
        ({"exits": {"tolerance": 0.1}}, {}, r"`tolerance` is of the policy patience, and this is entropy"),
        ({"exits": {"max_drop": 1.5}}, {}, r"found the drops \[1.5\]; write shares between 0 and 1"),
        ({"exits": {"calibrate_on": "dev", "keep_back": 0.2}}, {}, r"kept back for `calibrate_on: holdout`"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(deep: Toy, finetune: Any, task: Any, told: str) -> None:
    """Each fault says what was found and what to write."""
    with pytest.raises(BertwrightError, match=told):
        bertwright.run(deep(finetune=finetune, task=task))


@pytest.mark.long
@pytest.mark.parametrize("task", ["sst2", "mnli"])
def test_the_papers_table_goes_all_the_way_at_toy_size(task: str, tmp_path: Path) -> None:
    """With nothing of what it names; as published, three thresholds chosen by score, rows timed one by one."""
    path = Path(__file__).parents[2] / "recipes" / "papers" / "deebert-table1.yaml"
    recipe = bertwright.load_recipe(path, [f"store={tmp_path / 's'}", "system.threads=1"], stand_ins=True)
    small = smoke(as_published(recipe))
    assert {"sst2", "mrpc", "qnli", "rte", "qqp", "mnli"} == {one.name for one in small.tasks}
    (own,) = (one for one in small.tasks if one.name == task)
    result = bertwright.run(small.model_copy(update={"tasks": (own,)}))
    (record,) = (s.record["results"] for name, s in result.stages.items() if name.startswith("ramps/"))
    assert "deebert-table1-as-published-smoke" == result.folder.name
    assert ["by-score"] * 3 == [one["basis"] for one in record["promises"]]
    assert [0.005, 0.015, 0.04] == [one["max_drop"] for one in record["promises"]]
    for one in record["promises"]:
        assert "Nothing is promised of other rows." in one["sentence"]
    assert 3 == len(record["sets"]["dev"]["chosen"])


def test_without_exits_nothing_is_as_published(deep: Toy) -> None:
    """The option says what it is for."""
    with pytest.raises(BertwrightError, match="the recipe has no `exits`, so leave it out"):
        as_published(bertwright.load_recipe(deep()))
