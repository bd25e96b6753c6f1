"""Ramps of one run: trained on its frozen model, or taken from a run that learnt them, then calibrated and measured.

Sealed: ``model/``, the run's model with its ramps and policy, or ``task.pack`` with both in it; what every exit
answered on the calibration rows; ``metrics.jsonl``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.torch
import torch

from bertwright import files, pack
from bertwright.exits.answers import EveryExit
from bertwright.exits.calibration import Promise, calibrate, candidates
from bertwright.exits.choice import by_score
from bertwright.exits.compaction import answer_everywhere
from bertwright.exits.costs import measure
from bertwright.exits.policies import Policy, parse
from bertwright.exits.ramps import Ramps, from_pack, from_tensors
from bertwright.exits.scores import ExitScores, scores_of, spread
from bertwright.exits.times import measured_savings
from bertwright.exits.two_stage import learn_ramps, pooled_states
from bertwright.recipe.exits_settings import RampSettings
from bertwright.stages.evaluate import headline_set
from bertwright.stages.exiting import CALIBRATION, EXITS, read_ramps, with_choice, write_calibration, write_ramps
from bertwright.stages.fine_tuned import Answering, answering
from bertwright.stages.packs import place
from bertwright.stages.ramped import asked_for
from bertwright.stages.work import MODEL, PACK, RAMPS, Work
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import Rows, read_kept_back, read_rows, read_set
from bertwright.tasks.scoring import ScoredSet, scored_set
from bertwright.tasks.task import Task
from bertwright.tasks.weights import label_weights
from bertwright.training.precision import choose

_TIMED = 4  # policies along the curve that are timed beside those that were chosen


@dataclass(frozen=True)
class _Run:
    """A run that is to have exits: its task and labels, what answers, and its rows."""

    work: Work
    task: Task
    labels: LabelMap
    rows: Rows
    model: Answering

    @property
    def exits(self) -> Mapping[str, Any]:
        """Return what is asked of ramps and thresholds."""
        own: Mapping[str, Any] = self.work.options["exits"]
        return own

    def everywhere(self, ramps: Ramps, rows: Rows) -> EveryExit:
        """Answer rows at every exit."""
        encoded = self.model.encode(rows.texts, self.work.options["max_length"])
        return answer_everywhere(self.model.model, ramps, encoded, self.task.kind)


def ramps(work: Work) -> dict[str, Any]:
    """Give a run ramps, choose their thresholds, and measure what leaving early saves and costs on every set."""
    torch.set_num_threads(work.machine.threads)
    run = _run(work)
    kept, told = _ramps(run)
    learnt = run.model.precision.copy_of(kept)
    sets = {name: scored_set(run.task, run.labels, name, read_set(run.task, name)) for name in run.task.sets}
    calibration, gold, promises, policies = _thresholds(run, learnt, sets)
    scores = {}
    for number, (name, one) in enumerate(sets.items()):
        scores[name] = scores_of(ExitScores(one, run.everywhere(learnt, one.rows)), policies, promises)
        work.tell({"share": 0.7 + 0.2 * (number + 1) / len(sets)})
    own = {name: path for name, path in run.task.sets.items() if run.task.form(name).known is None}
    headline = headline_set(own or run.task.sets)
    choice = {
        **promises[0].as_dict(),
        "kind": run.task.kind,
        "layers": list(calibration.layers),
        "calibrated_on": run.exits["calibrate_on"],
        "precision": run.model.precision.name,
    }
    times = _times(run, learnt, sets[headline], scores[headline]["curve"], promises)
    _keep(run, kept, choice, calibration, gold)
    options = work.options
    return {
        **{key: options[key] for key in ("variant", "label", "seed", "method", "known")},
        "task": run.task.name,
        "kind": run.task.kind,
        "settings": dict(run.exits),
        "precision": run.model.precision.name,
        "layers": list(calibration.layers),
        "rows": len(run.rows),
        "calibration_rows": calibration.rows,
        "headline": headline,
        **told,
        **times,
        "promises": [one.as_dict() for one in promises],
        "sets": scores,
        "notes": _notes(run, learnt, promises, scores),
    }


def _run(work: Work) -> _Run:
    paths = {label.removeprefix("set "): path for label, path in work.paths.items() if label != "train"}
    task = Task.from_options(work.options["task"], work.paths["train"], paths)
    rows = read_rows(task, task.train)
    precision = choose(work.machine.device, work.machine.precision)
    model = answering(work.inputs["run"], precision, work.inputs.get("encoder"))
    return _Run(work, task, LabelMap.from_rows(rows, task.kind), rows, model)


def _ramps(run: _Run) -> tuple[Ramps, dict[str, Any]]:
    """Return the run's ramps as they are kept, and what there is to tell of them."""
    path, exits = run.work.inputs["run"] / RAMPS, run.exits
    if path.is_file():
        found = from_tensors(run.model.config, safetensors.torch.load_file(path))
        told: dict[str, Any] = {"start": exits["start"], "seconds_states": 0.0, "seconds_training": 0.0}
    else:
        found, told = _learnt(run)
    pack_path = run.work.inputs["run"] / PACK
    if pack_path.is_file():
        # What is kept is rounded to the pack's format: thresholds are chosen for what is kept.
        made = with_choice(pack.read(pack_path), {}, found)
        found = from_pack(run.model.config, made.ramps)
    told["parameters"] = sum(value.numel() for value in found.tensors().values())
    return found, told


def _learnt(run: _Run) -> tuple[Ramps, dict[str, Any]]:
    """Train ramps on the frozen model: its states are computed once, and kept in the scratch folder."""
    exits, work, model = run.exits, run.work, run.model.model
    numbers = run.labels.numbers(run.rows)
    encoded = run.model.encode(run.rows.texts, work.options["max_length"])
    made = asked_for(model, exits, work.options["seed"]).float()
    begun, done = time.perf_counter(), 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        work.tell({"share": 0.5 * done / len(encoded.ids)})

    states_file = work.scratch / "states"
    states = pooled_states(model, encoded, made.layers, made.pooling, path=states_file, progress=tell)
    seconds = time.perf_counter() - begun
    weights = None
    if run.task.class_weights is not None:
        weights = torch.tensor(label_weights(run.task.class_weights, run.labels, numbers)).float()
    known = {name: exits[name] for name in RampSettings.__dataclass_fields__ if name in exits}
    outcome = learn_ramps(
        made,
        states,
        numbers,
        run.task.kind,
        RampSettings(**known, source=""),
        seed=work.options["seed"],
        folder=work.scratch / "training",
        metrics=work.folder / "metrics.jsonl",
        weights=weights,
        progress=lambda fields: work.tell({**fields, "share": 0.5 + 0.2 * fields.get("share", 0.0)}),
    )
    del states
    told = {"start": made.start, "seconds_states": seconds, "seconds_training": outcome.seconds, "steps": outcome.steps}
    return made, {**told, "train_loss": outcome.train_loss}


def _thresholds(
    run: _Run, learnt: Ramps, sets: Mapping[str, ScoredSet]
) -> tuple[EveryExit, np.ndarray, list[Promise], tuple[Policy, ...]]:
    """Return the calibration rows' answers and labels, a promise for each drop, and all candidates."""
    exits, task = run.exits, run.task
    name = exits["calibrate_on"]
    rows = sets[name].rows if name in sets else read_kept_back(task)
    every, gold = run.everywhere(learnt, rows), run.labels.numbers(rows)
    policies = candidates(
        exits["policy"], task.kind, ramps=len(learnt.layers), classes=learnt.classes, tolerance=exits["tolerance"]
    )
    if exits["choose"] == "certified":
        metric = task.selection_metric if task.kind == "regression" else None
        found = [
            calibrate(every, gold, policies, max_drop=drop, delta=exits["delta"], metric=metric)
            for drop in exits["max_drop"]
        ]
        return every, gold, found, policies
    own = ExitScores(scored_set(task, run.labels, name, rows), every)
    answers = own.answers
    found = [
        by_score(
            every,
            policies,
            lambda left: own.at(answers, left).value,
            metric=own.metric,
            max_drop=drop,
            delta=exits["delta"],
        )
        for drop in exits["max_drop"]
    ]
    return every, gold, found, policies


def _times(
    run: _Run, learnt: Ramps, one: ScoredSet, curve: list[dict[str, Any]], promises: list[Promise]
) -> dict[str, Any]:
    """Time what was chosen, and some policies along the curve, and what each exit costs."""
    texts = list(dict.fromkeys([*(p.policy.text for p in promises), *spread(curve, _TIMED)]))
    policies = [parse(text, run.task.kind) for text in texts]
    count = run.exits["timed_rows"]
    rows = run.model.encode(one.rows.texts[:count], run.work.options["max_length"])
    length = int(rows.lengths.mean().round())
    costs = measure(run.model.model, learnt, length)
    return {
        "measured": measured_savings(run.model.model, learnt, policies, rows, count),
        "exit_seconds": list(costs.of_exits((*learnt.layers, learnt.config.layers))),
        "exit_seconds_length": length,
    }


def _keep(run: _Run, learnt: Ramps, choice: Mapping[str, Any], every: EveryExit, gold: np.ndarray) -> None:
    """Write the run once more with its ramps: a pack holds them, a model has them beside its weights."""
    folder, source = run.work.folder, run.work.inputs["run"]
    if (source / PACK).is_file():
        place(folder / PACK, with_choice(pack.read(source / PACK), choice, learnt), run.work.inputs["encoder"])
        write_calibration(folder / CALIBRATION, every, gold)
        return
    own = folder / MODEL
    files.make_folder(own)
    for path in sorted((source / MODEL).iterdir()):
        files.same(path, own / path.name)
    write_ramps(own / RAMPS, learnt)
    files.write_json(own / EXITS, dict(choice))
    write_calibration(own / CALIBRATION, every, gold)
    read_ramps(own, run.model.config)


def _notes(run: _Run, learnt: Ramps, promises: list[Promise], scores: Mapping[str, Any]) -> list[str]:
    """Return what a reader has to know: what is promised, thresholds that never or always hold, text that differs."""
    found = [f"exits: {promises[0].sentence}"]
    for one in promises:
        found += [
            f"exits: {said}" for said in one.policy.check(len(learnt.layers), learnt.classes, scored=learnt.scored)
        ]
    found += [
        f"exits on {name}: {one['chosen'][0]['drift']}" for name, one in scores.items() if one["chosen"][0]["drifted"]
    ]
    return list(dict.fromkeys(found))
