"""Trade-offs, cost and provenance: each model and policy once, with figures that the records hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bertwright.reports.cost import cost_table, part_costs, v100_days
from bertwright.reports.drawing import style_of
from bertwright.reports.provenance import data_files, provenance_tables
from bertwright.reports.records import RunRecords
from bertwright.reports.trade_off import models, trade_off_table
from bertwright.reports.trade_off_chart import trade_off_chart


def ramps(seed: int, saving: float) -> dict[str, Any]:
    """Return the record of one run's exits; two seeds have different thresholds."""
    policy = f"entropy:0.{seed + 1}"

    def on(score: float) -> dict[str, Any]:
        return {"chosen": [{"policy": policy, "score": score, "saving": saving}], "metric": "accuracy"}

    timed = {"batch": 1, "rows": 10, "policy": policy, "seconds": 0.02, "seconds_full": 0.05}
    results = {
        "task": "triage",
        "label": "pretrained",
        "seed": seed,
        "parameters": 1_000,
        "promises": [{"max_drop": 0.02, "policy": policy}],
        "sets": {"dev": on(0.8 + 0.02 * seed), "night shift": on(0.7)},
        "measured": [timed, {**timed, "policy": "entropy:9", "seconds": 1.0}],
    }
    files = {"model/model.safetensors": {"bytes": 30_000}, "model/ramps.safetensors": {"bytes": 4_000}}
    name = f"ramps/triage/pretrained/seed-{seed}"
    return {"kind": "ramps", "name": name, "results": results, "seconds": 5.0, "files": files}


@pytest.fixture
def leaving(whole_run: RunRecords) -> RunRecords:
    """The made-up run, one variant of which leaves early."""
    exits = tuple({**whole_run.stages[0], **ramps(seed, 0.1 + 0.2 * seed)} for seed in (0, 1))
    return dataclasses.replace(whole_run, stages=(*whole_run.stages, *exits))


def test_each_variant_and_policy_is_one_model(leaving: RunRecords) -> None:
    """A whole model has the evaluated score; a policy has means of its seeds, on the same sets, and its own clock."""
    found = models(leaving)
    assert [
        ("triage", "pretrained", None),
        ("triage", "pretrained", "may lose 2 %"),
        ("triage", "untrained", None),
        ("similar", "pretrained", None),
        ("similar", "untrained", None),
    ] == [(one.task, one.variant, one.policy) for one in found]
    whole, early, *_ = found
    assert (0.842, 1.0) == pytest.approx((whole.quality, whole.layers))
    assert (0.81, 0.8) == pytest.approx((early.quality, early.layers))
    assert {"night shift"} == set(whole.robustness) == set(early.robustness)
    assert 0.7 == pytest.approx(early.robustness["night shift"][1])
    assert ({1: 5.0}, {1: 2.0}) == (whole.milliseconds, early.milliseconds)
    assert (7_465_000, 7_466_000) == (whole.trained_parameters, early.trained_parameters)
    assert ((45_000_000, "model"), (34_000, "model")) == (whole.file, early.file)


def test_a_pack_with_ramps_is_its_own_file(leaving: RunRecords) -> None:
    """A policy's file is the pack that holds its ramps."""
    packs = tuple(
        {**one, "files": {"task.pack": {"bytes": 7_000 if one["kind"] == "ramps" else 5_000}}}
        if one["kind"] in ("finetune", "ramps")
        else one
        for one in leaving.stages
    )
    whole, early, *_ = models(dataclasses.replace(leaving, stages=packs))
    assert [(5_000, "pack"), (7_000, "pack")] == [whole.file, early.file]


def test_a_model_that_was_cut_runs_fewer_layers(leaving: RunRecords) -> None:
    """Beside exits its share is of the whole encoder's; where depths are not recorded, all are whole."""
    depths = {"pretrained": 6, "untrained": 3}
    stages = tuple(
        {**one, "results": {**one["results"], "layers": depths[one["name"].split("/")[-2]]}}
        if one["kind"] == "finetune"
        else one
        for one in leaving.stages
    )
    found = models(dataclasses.replace(leaving, stages=stages))
    assert [1.0, 0.8, 0.5] == pytest.approx([one.layers for one in found if one.task == "triage"])
    # The deepest was sealed before depths were recorded: the cut one is not taken for the whole encoder.
    some = tuple(old if "/pretrained/" in old["name"] else new for old, new in zip(leaving.stages, stages, strict=True))
    found = models(dataclasses.replace(leaving, stages=some))
    assert [1.0, 0.8, 1.0] == pytest.approx([one.layers for one in found if one.task == "triage"])


def test_trade_offs_stand_in_one_table(leaving: RunRecords) -> None:
    """The table has a line a model; columns that nobody fills are left out."""
    table = trade_off_table(leaving)
    assert "ms a row of 32" not in table.columns
    assert {"in distribution", "trained parameters"} <= table.numeric and "out of distribution" not in table.numeric
    row = dict(zip(table.columns, table.rows[1], strict=True))
    assert ("may lose 2 %", "81.0", "70.0 night shift", "80 %") == (
        row["exits"],
        row["in distribution"],
        row["out of distribution"],
        row["layers run"],
    )
    assert "exits" not in trade_off_table(dataclasses.replace(leaving, stages=leaving.stages[:-2])).columns


def test_one_picture_has_every_task_and_variant(leaving: RunRecords) -> None:
    """Tasks are titles, variants stand in the legend, and layers run is an axis only where a variant leaves early."""
    picture = trade_off_chart(leaving)
    assert picture is not None
    for word in ("triage", "similar", "pretrained", "untrained", "hollow: night shift", "layers run (%)"):
        assert f">{word}<" in picture.svg
    never = trade_off_chart(dataclasses.replace(leaving, stages=leaving.stages[:-2]))
    assert never is not None and "layers run (%)" not in never.svg


def test_one_model_has_nothing_to_be_set_against(whole_run: RunRecords) -> None:
    """A picture of one dot says nothing, so there is none."""
    [record] = [one for one in whole_run.stages if one["name"] == "evaluate/triage"]
    only = {**record, "results": {**record["results"], "variants": record["results"]["variants"][:1]}}
    assert trade_off_chart(dataclasses.replace(whole_run, stages=(only,))) is None


def test_lines_differ_without_colour() -> None:
    """No two of the first 36 lines have both colour and mark alike, and no two of six the same mark."""
    assert 36 == len({style_of(place) for place in range(36)})
    assert 6 == len({style_of(place)[1] for place in range(6)})


def test_device_hours_are_time_times_devices(whole_run: RunRecords) -> None:
    """Two threads for an hour are two core-hours; two GPUs likewise; a stage that did not record them has none."""
    kept = {one["name"]: one for one in whole_run.stages}
    stages = (
        {**kept["tokenizer"], "seconds": 3600.0, "device": {"name": "cpu", "count": 2}},
        {**kept["pretrain"], "seconds": 7200.0, "device": {"name": "NVIDIA GeForce RTX 3090", "count": 8}},
        kept["evaluate/triage"],
    )
    run = dataclasses.replace(whole_run, stages=stages)
    assert [("text", 2.0), ("encoder", 16.0), ("scores", None)] == [(one.part, one.hours) for one in part_costs(run)]
    rows = [(row[0], *row[3:]) for row in cost_table(run).rows]
    assert ("text", "processor core", "2.00", "unknown") in rows
    assert ("encoder", "NVIDIA GeForce RTX 3090", "16.00", "0.67") in rows
    assert ("scores", "not recorded", "–", "unknown") in rows


def test_v100_days_are_as_the_paper_counts_them() -> None:
    """ExtremeBERT: 8 RTX 3090 for 1.3 days are 10.4 V100-days (Pan et al. 2022, Table 1); an H200 has no factor."""
    assert 10.4 == pytest.approx(v100_days("NVIDIA GeForce RTX 3090", 8 * 1.3 * 24))
    assert 1.0 == pytest.approx(v100_days("Tesla V100-SXM2-16GB", 24.0))
    for other in ("NVIDIA H200", "NVIDIA GeForce RTX 3090 Ti", "Tesla V100S-PCIE-32GB", "cpu"):
        assert v100_days(other, 24.0) is None


def test_provenance_names_stages_and_files(whole_run: RunRecords) -> None:
    """Each stage stands with its identity and inputs, each of the user's files once with its checksum."""
    read = {
        "inputs": {"tokenizer": {"identity": "b" * 32, "stage": "tokenizer"}, "start": {"stage": None}},
        "contents": {"source 00000": "a" * 32},
    }
    tuned = {"inputs": {}, "contents": {"train": "c" * 32}}
    kept = {one["name"]: one for one in whole_run.stages}
    stages = (
        {**kept["tokenizer"], "parts": {"inputs": {}, "contents": {"source 00000": "a" * 32}}},
        {**kept["prepare"], "parts": read},
        {**kept["finetune/triage/pretrained/seed-0"], "parts": tuned},
        {**kept["finetune/triage/pretrained/seed-1"], "parts": tuned},
    )
    run = dataclasses.replace(whole_run, stages=stages)
    assert {("text", "source 00000"): "a" * 32, ("triage", "train"): "c" * 32} == data_files(run)
    identities, files = provenance_tables(run)
    assert ("prepare", f"{1:032x}"[:12], "tokenizer: tokenizer, start: a folder that was given") == identities.rows[1]
    assert ("triage", "train", "c" * 12) == files.rows[1]
