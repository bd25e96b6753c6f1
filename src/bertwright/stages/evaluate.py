"""The scores of one task: all its runs, on all its sets, with what seeds and rows allow to say.

Sealed: ``predictions/<variant>/seed-<n>/<set>.parquet`` with ids, gold and predicted labels and logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bertwright import files, pack
from bertwright.errors import DataError
from bertwright.pack_card import Data, PackCard, SeedScores
from bertwright.stages.expert_scores import figure_of, measured_experts
from bertwright.stages.fine_tuned import answering
from bertwright.stages.packs import place
from bertwright.stages.work import EXPERT_OF, LEARNT_FROM, PACK, SEEN_ROWS, Work
from bertwright.tasks.insight import insight
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.metrics import METRICS, Score
from bertwright.tasks.readers import Rows, read_rows, read_set
from bertwright.tasks.scoring import ScoredSet, scored_set
from bertwright.tasks.shared_rows import shared_note
from bertwright.tasks.statistics import compare, summarise
from bertwright.tasks.task import Task
from bertwright.training.precision import choose


@dataclass(frozen=True)
class _Answered:
    """One run's answers on a set, the logits behind them, and of how many windows, where long rows became some.

    ``cut`` rows were longer than the ``longest`` input, in tokens.
    """

    answers: np.ndarray
    logits: np.ndarray
    windows: int | None
    cut: int
    longest: int


_Seeds = Mapping[int, _Answered]
ENCODER_OF = "encoder of "


def evaluate(work: Work) -> dict[str, Any]:
    """Score every run of a task on every set, summarise over seeds, and compare the variants."""
    paths = {label.removeprefix("set "): path for label, path in work.paths.items() if label != "train"}
    task = Task.from_options(work.options["task"], work.paths["train"], paths)
    torch.set_num_threads(work.machine.threads)
    learnt_from = read_rows(task, task.train)
    labels = LabelMap.from_rows(learnt_from, task.kind)
    sets = {name: scored_set(task, labels, name, read_set(task, name)) for name in paths}
    headline = headline_set({name: path for name, path in paths.items() if task.form(name).known is None} or paths)
    if work.options["score_train"]:
        sets |= {LEARNT_FROM: scored_set(_of_rows(task), labels, LEARNT_FROM, _some_of(learnt_from))}
    answered: dict[str, dict[str, dict[int, _Answered]]] = {}
    runs = {role: folder for role, folder in work.inputs.items() if not role.startswith((ENCODER_OF, EXPERT_OF))}
    for number, (role, folder) in enumerate(runs.items()):
        variant, seed = role.rsplit("/", 1)
        for name, found in _predict_run(work, task, labels, sets, folder, role).items():
            answered.setdefault(variant, {}).setdefault(name, {})[int(seed)] = found
        work.tell({"share": (number + 1) / len(runs)})
    variants = [_variant(work, variant, by_set, sets, headline) for variant, by_set in answered.items()]
    for role, folder in runs.items():
        if (folder / PACK).is_file():
            _scored_pack(work, role, folder / PACK, answered, sets, variants)
    against = _against_shortcuts(work, task, labels, learnt_from, sets, headline, answered)
    warned = [f"expert {one['expert']}: {said}" for one in against.get("experts", ()) for said in one["warnings"]]
    return {
        "task": task.name,
        "known": work.options["known"],
        "kind": task.kind,
        "headline": {"set": headline, "metric": sets[headline].form.metrics[0]},
        "labels": list(labels.names or ()),
        "sets": {name: {**_facts(one), **_cut(name, answered)} for name, one in sets.items()},
        "variants": variants,
        "comparisons": _comparisons(sets, answered),
        **against,
        "notes": [*labels.notes, *(note for one in sets.values() for note in _notes(one, learnt_from)), *warned],
    }


def _against_shortcuts(
    work: Work,
    task: Task,
    labels: LabelMap,
    learnt_from: Rows,
    sets: Mapping[str, ScoredSet],
    headline: str,
    answered: Mapping[str, Mapping[str, _Seeds]],
) -> dict[str, Any]:
    """Return what there is to tell where a variant is learnt by a loss against a shortcut."""
    variants = work.options["variants"]
    if not any("loss" in one for one in variants.values()):
        return {}
    plain: dict[str, float] = {}
    for name, one in variants.items():
        right = [sets[headline].gold == seed.answers for seed in answered[name][headline].values()]
        if "loss" not in one:
            plain.setdefault(one["encoder"], float(np.mean(right)))
    experts = measured_experts(work, task, labels, learnt_from, sets, headline, plain)
    return {"experts": experts, "figure": figure_of(work)}


def _of_rows(task: Task) -> Task:
    """Return a task as its training rows are scored: each alone, whatever columns other sets have beside."""
    metrics = tuple(name for name in task.metrics if not METRICS[name].of_documents)
    return replace(task, metrics=metrics or (task.selection_metric,), groups=(), documents=None, forms={})


def _some_of(rows: Rows) -> Rows:
    """Return training rows to score, drawn where there are many."""
    drawn = np.random.Generator(np.random.Philox(key=[0, 0])).permutation(len(rows))[:SEEN_ROWS]
    return rows.some(np.sort(drawn).tolist())


def _variant(
    work: Work, name: str, by_set: Mapping[str, _Seeds], sets: Mapping[str, ScoredSet], headline: str
) -> dict[str, Any]:
    """Return all that is told of one variant."""
    windows = {part: one.windows for part, by_seed in by_set.items() for one in by_seed.values() if one.windows}
    return {
        "variant": name,
        **work.options["variants"][name],
        "seeds": list(next(iter(by_set.values()))),
        "scores": {part: _scores(sets[part], by_seed) for part, by_seed in by_set.items()},
        "groups": {part: _group_scores(sets[part], seeds) for part, seeds in by_set.items() if sets[part].form.groups},
        "insight": {
            part: insight(sets[part], [one.logits for one in seeds.values()], [one.answers for one in seeds.values()])
            for part, seeds in by_set.items()
        },
        **({"gap": _gap(sets, by_set, headline)} if work.options["score_train"] else {}),
        **({"windows": windows} if windows else {}),
    }


def _scored_pack(
    work: Work,
    role: str,
    path: Path,
    answered: Mapping[str, Mapping[str, _Seeds]],
    sets: Mapping[str, ScoredSet],
    variants: Sequence[Mapping[str, Any]],
) -> None:
    """Write a run's pack once more, with what it and its other seeds reached, at which precision of its encoder."""
    variant, seed = role.rsplit("/", 1)
    precision = choose(work.machine.device, work.machine.precision).name
    scores = tuple(
        pack.Score(
            set=name,
            metric=metric,
            value=one.score(metric, answered[variant][name][int(seed)].answers).value,
            seed=int(seed),
            precision=precision,
            protocol=work.options["variants"][variant]["protocol"],
        )
        for name, one in sets.items()
        for metric in one.form.metrics
    )
    found = pack.read(path)
    told = next(one for one in variants if one["variant"] == variant)
    made = replace(found, scores=scores, card=_card(work, found, told, sets))
    place(work.folder / "packs" / variant / f"seed-{seed}{pack.SUFFIX}", made, work.inputs[ENCODER_OF + variant])


def _card(work: Work, found: pack.Pack, told: Mapping[str, Any], sets: Mapping[str, ScoredSet]) -> PackCard | None:
    """Return a pack's card with the sets that it was scored on, and the scores of all seeds."""
    if found.card is None:
        return None
    data = tuple(
        Data(work.paths[f"set {name}"].name, name, len(one.rows)) for name, one in sets.items() if name != LEARNT_FROM
    )
    scores = tuple(
        SeedScores(
            set=name,
            metric=metric,
            seeds=len(told["seeds"]),
            rows=len(sets[name].rows),
            mean=one["mean"],
            deviation=one["deviation"],
            interval=None if one["interval"] is None else tuple(one["interval"]),
            protocol=told["protocol"],
        )
        for name, by_metric in told["scores"].items()
        for metric, one in by_metric.items()
    )
    return replace(found.card, data=(*found.card.data, *data), scores=scores)


def _gap(sets: Mapping[str, ScoredSet], by_set: Mapping[str, _Seeds], headline: str) -> dict[str, Any]:
    """Summarise over seeds how much better a run does on rows that it learnt from than on the headline's."""
    metric = sets[LEARNT_FROM].form.metrics[0]
    means, each = {}, []
    for key, name in (("seen", LEARNT_FROM), ("unseen", headline)):
        means[key] = {seed: sets[name].score(metric, one.answers) for seed, one in by_set[name].items()}
    for seed, seen in means["seen"].items():
        pair = (seen, means["unseen"][seed])
        undefined = next((score for score in pair if score.value is None), None)
        each.append(undefined or Score(pair[0].value - pair[1].value, None))  # type: ignore[operator]
    told = {key: _summary(list(scores.values()))["mean"] for key, scores in means.items()}
    return {"metric": metric, "set": headline, "rows": len(sets[LEARNT_FROM].rows), **told, **_summary(each)}


def headline_set(sets: Mapping[str, Path]) -> str:
    """Return the set that a task's headline stands on: test where there is one, else dev, else the first."""
    return next((name for name in ("test", "dev") if name in sets), next(iter(sets)))


def _notes(one: ScoredSet, learnt_from: Rows) -> list[str]:
    """Return what was left out of a set's file, what of it was learnt from, and how answers became the set's labels."""
    shared = None if one.name == LEARNT_FROM else shared_note(learnt_from, one.rows)
    said = [f"answers on {one.name}: {one.convention}"] if one.convention else []
    return [*one.rows.notes, *([shared] if shared else []), *said]


def _predict_run(
    work: Work, task: Task, labels: LabelMap, sets: Mapping[str, ScoredSet], folder: Path, role: str
) -> dict[str, _Answered]:
    """Answer all sets with one run's model, and keep the logits."""
    variant, seed = role.rsplit("/", 1)
    model = answering(
        folder, choose(work.machine.device, work.machine.precision), work.inputs.get(ENCODER_OF + variant)
    )
    if labels.names is not None and not labels.same(model.labels):
        raise DataError(
            f"{folder}: its labels {model.labels} are not those of the training rows {labels.names}; train it again"
        )
    decided = {}
    for name, one in sets.items():
        encoded = model.encode(one.rows.texts, work.options["max_length"], task.window_stride)
        logits = model.logits(encoded)
        answers = one.answers(logits)
        windows = None if encoded.owners is None else len(encoded.ids)
        longest = min(work.options["max_length"], model.config.positions)
        decided[name] = _Answered(answers, logits, windows, encoded.cut, longest)
        _write(work.folder / "predictions" / variant / f"seed-{seed}", one, answers, logits)
    return decided


def _write(folder: Path, one: ScoredSet, decided: np.ndarray, logits: np.ndarray) -> None:
    """Write a set's answers into a folder; ``DataError`` where the set's name leads elsewhere."""
    path = folder / f"{one.name}.parquet"
    if path.resolve().parent != folder.resolve():
        raise DataError(f"the set {one.name!r} has a name that leads out of {folder}; rename it in the task's `sets`")
    table = pa.table(
        {
            "id": list(one.rows.ids),
            "gold": one.gold.tolist(),
            "predicted": decided.tolist(),
            "logits": logits.tolist(),
        }
    )
    with files.writing(path) as stream:
        pq.write_table(table, stream)


def _facts(one: ScoredSet) -> dict[str, Any]:
    """Return a set's size and floor and, where its labels are not the model's, how answers became them."""
    other = {"known": one.form.known, "labels": list(one.names or ()), "merge": one.form.merge, "said": one.convention}
    return {
        "rows": len(one.rows),
        **({"documents": one.documents} if one.documents else {}),
        "floor": {metric: one.floor(metric).value for metric in one.form.metrics},
        **(other if one.form.known else {}),
    }


def _cut(name: str, answered: Mapping[str, Mapping[str, _Seeds]]) -> dict[str, int]:
    """Return how many rows of a set were cut, and to how many tokens, by the encoder that takes the fewest."""
    worst = max((one for by_set in answered.values() for one in by_set[name].values()), key=lambda one: one.cut)
    return {"rows_cut": worst.cut, "longest": worst.longest} if worst.cut else {}


def _scores(one: ScoredSet, by_seed: _Seeds) -> dict[str, Any]:
    """Summarise each metric of a set over seeds."""
    return {
        metric: _summary([one.score(metric, found.answers) for found in by_seed.values()], metric)
        for metric in one.form.metrics
    }


def _group_scores(one: ScoredSet, by_seed: _Seeds) -> list[dict[str, Any]]:
    """Summarise each group of a set's rows over seeds."""
    return [
        {
            "group": group.group,
            "value": group.value,
            "metric": group.metric,
            "rows": len(group.rows),
            **_summary([one.score_group(group, found.answers) for found in by_seed.values()], group.metric),
        }
        for group in one.groups()
    ]


def _summary(each: Sequence[Score], metric: str | None = None) -> dict[str, Any]:
    """Summarise scores of a metric over seeds, or differences of scores."""
    bounds = {"least": METRICS[metric].least, "most": 1.0} if metric else {}
    values = [score.value for score in each if score.value is not None]
    # A mean over the seeds that happen to be defined would flatter: one undefined score makes it undefined.
    summary = summarise(values if len(values) == len(each) else [], **bounds)
    return {
        "values": [score.value for score in each],
        "mean": summary.mean,
        "deviation": summary.deviation,
        "interval": summary.interval,
        "notes": sorted({score.note for score in each if score.note}),
    }


def _comparisons(sets: Mapping[str, ScoredSet], answered: Mapping[str, Mapping[str, _Seeds]]) -> list[dict[str, Any]]:
    """Compare the first variant with each other one, by the headline metric of each set."""
    first, *others = answered
    rows = []
    for other in others:
        for name, one in sets.items():
            metric, a, b = one.form.metrics[0], answered[first][name], answered[other][name]
            found = compare(
                one.compared(metric, one.gold),
                [one.compared(metric, seed.answers) for seed in a.values()],
                [one.compared(metric, seed.answers) for seed in b.values()],
                metric=metric,
                positive=one.positive,
                same_seeds=list(a) == list(b),
            )
            if found is not None:
                rows.append(
                    {
                        "a": first,
                        "b": other,
                        "set": name,
                        "metric": metric,
                        "difference": found.difference,
                        "interval": list(found.interval),
                        "clear": found.clear,
                        "samples": found.samples,
                        "same_seeds": found.same_seeds,
                    }
                )
    return rows
