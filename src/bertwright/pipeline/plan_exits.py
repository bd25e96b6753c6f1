"""The stages of early exits: ramps on finished runs, their thresholds and what they save."""

from __future__ import annotations

from bertwright.pipeline.settings import Trial
from bertwright.pipeline.stage import Input, Stages, Variant
from bertwright.tasks.task import Task


def plan_ramps(
    task: Task,
    variant: Variant,
    trial: Trial,
    label: str,
    seed: int,
    run: Input,
    precision: str,
    known: str | None,
    stages: Stages,
) -> Input | None:
    """Plan the ramps of one run, which may have learnt in it; ``None`` where the run has no exits.

    The stage leaves the run's model, or pack, once more with ramps and a policy in it.
    """
    if trial.exits is None:
        return None
    options = {
        "task": task.options(),
        "known": known,
        "variant": variant.name,
        "label": label,
        "method": trial.method.method,
        "max_length": trial.settings[0]["max_length"],
        "precision": precision,
        "seed": seed,
        "exits": trial.exits.options(task.kind),
    }
    beside = {"encoder": variant.encoder} if trial.method.leaves_a_pack else {}
    paths = {"train": task.train, **{f"set {part}": path for part, path in task.sets.items()}}
    name = f"ramps/{task.name}/{label}/seed-{seed}"
    return stages.add(name, "ramps", options, inputs={"run": run, **beside}, paths=paths)
