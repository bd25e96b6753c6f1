"""What a task's experts reach on its sets, in and out of distribution, held against the runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from bertwright import files
from bertwright.debias import signals
from bertwright.debias.expert_file import golds_of
from bertwright.debias.experts import partial
from bertwright.debias.figure import curves
from bertwright.debias.quality import Reached, not_biased, quality
from bertwright.recipe.debias_settings import Settings
from bertwright.stages.fine_tuned import answering
from bertwright.stages.work import EXPERT_OF, LEARNT_FROM, MODEL, SIGNALS, Work
from bertwright.store import RECORD
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import Rows
from bertwright.tasks.scoring import ScoredSet
from bertwright.tasks.task import Task
from bertwright.training.precision import choose


def measured_experts(
    work: Work,
    task: Task,
    labels: LabelMap,
    rows: Rows,
    sets: Mapping[str, ScoredSet],
    headline: str,
    main: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Measure each expert on every set by the model of its first fold, a file's on the training rows alone.

    ``main`` is the headline accuracy of plain cross entropy by encoder: an expert that reaches it is told of.
    """
    found = []
    for role, folder in work.inputs.items():
        if not role.startswith(EXPERT_OF):
            continue
        record = files.read_json(folder / RECORD)["results"]
        known = [main[one] for one in (record["variant"],) if one in main] or list(main.values())[:1]
        if (folder / MODEL).is_dir():
            of_sets, judged = _on_sets(work, task, labels, sets, headline, folder / MODEL, record["columns"])
        else:
            own = signals.read(folder / SIGNALS)
            place = {name: number for number, name in enumerate(own.labels)}
            golds = np.array([place[name] for name in golds_of(rows)])
            of_sets, judged = {}, (own.logits, golds)
        warnings = _against_main(judged, known[0]) if known and judged is not None else []
        reached = {
            name: _reached(sets[name], one["score"])
            for name, one in of_sets.items()
            if _is_accuracy(one) and name != LEARNT_FROM
        }
        warnings += [said] if (said := not_biased(headline, reached)) else []
        name = role.removeprefix(EXPERT_OF)
        about = {key: record[key] for key in ("kind", "columns", "folds", "train")}
        found.append({"expert": name, **about, "sets": of_sets, "warnings": warnings})
    return found


def _on_sets(
    work: Work,
    task: Task,
    labels: LabelMap,
    sets: Mapping[str, ScoredSet],
    headline: str,
    model: Path,
    columns: list[str],
) -> tuple[dict[str, Any], tuple[np.ndarray, np.ndarray] | None]:
    """Return an expert's scores and quality by set, and its logits and the gold labels of the headline's."""
    expert = answering(model, choose(work.machine.device, work.machine.precision))
    found, judged = {}, None
    for name, one in sets.items():
        texts, _ = partial(one.rows.texts, task.text, columns)
        logits = expert.logits(expert.encode(texts, work.options["max_length"]))
        metric = one.form.metrics[0]
        score: dict[str, Any] = {"metric": metric, "score": one.score(metric, one.answers(logits)).value}
        if one.form.known is None:
            golds = labels.numbers(one.rows)
            score["quality"] = asdict(quality(logits, golds))
            judged = (logits, golds) if name == headline else judged
        found[name] = score
    return found, judged


def _is_accuracy(score: Mapping[str, Any]) -> bool:
    return score["metric"] == "accuracy" and score["score"] is not None


def _reached(one: ScoredSet, accuracy: float) -> Reached:
    _, counts = np.unique(one.gold, return_counts=True)
    return Reached(accuracy, float(counts.max() / counts.sum()), int(counts.sum()))


def _against_main(judged: tuple[np.ndarray, np.ndarray], main: float) -> list[str]:
    alone, beside = (quality(*judged, main_accuracy=given).warnings for given in (None, main))
    return [one for one in beside if one not in alone]


def figure_of(work: Work) -> dict[str, Any] | None:
    """Return the curves of Figure 1 of Guide the Learner at the settings that the first guided variant was run at."""
    variants = work.options["variants"]
    guided = [name for name, one in variants.items() if one.get("loss", {}).get("method") == "guided"]
    if not guided:
        return None
    # A grid may have chosen alpha and beta: the plan does not know them, the run does.
    folder = next(folder for role, folder in work.inputs.items() if role.rpartition("/")[0] == guided[0])
    told = files.read_json(folder / RECORD)["results"]["against"]
    settings = Settings(**{one.name: told[one.name] for one in fields(Settings)})
    lines = curves(settings)
    return {
        "alpha": settings.alpha,
        "beta": settings.beta,
        "gold_logits": [round(x, 3) for x in lines[0].gold_logits],
        "lines": [
            {"expert": one.expert, "rho": one.rho, "losses": [round(loss, 4) for loss in one.losses]} for one in lines
        ],
    }
