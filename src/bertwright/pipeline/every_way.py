"""The demo's last table: each way of one task, what it gives and what it costs, down to int8 with mixed packs.

Every time is taken alike: one row at a time on one thread, from its text to its answer.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bertwright import files
from bertwright.deploy.rows import Row
from bertwright.deploy.runtime import Runtime
from bertwright.pack import SUFFIX
from bertwright.pipeline.results import WAYS, Result
from bertwright.pipeline.run import report
from bertwright.reports.exits_tables import mean, ramps_by_label
from bertwright.reports.methods_tables import runs_by_label
from bertwright.reports.records import RunRecords, score_rows
from bertwright.stages.exiting import load_exiting
from bertwright.stages.export import Asked, export
from bertwright.stages.fine_tuned import answering, find
from bertwright.training.precision import choose

TASK, SETS = "inference", ("dev", "ood")
SERVED = "served"
_PLAIN, _PACKED = "pretrained-full", "pretrained-bitfit"
_TRAINED = {
    "untrained": "untrained-full",
    "pretrained": _PLAIN,
    "BitFit": _PACKED,
    "debiased": "pretrained-full-guided",
}
_TIMED = 32


@dataclass(frozen=True)
class Way:
    """A row of the table: accuracy by set, numbers that learnt, bytes of a pack, milliseconds of a row alone."""

    name: str
    accuracy: Mapping[str, float | None]
    trained: int
    pack_bytes: int | None
    milliseconds: float


@dataclass(frozen=True)
class EveryWay:
    """All ways, the identity of their scores, where the packs went, and a row's time among mixed ones in int8."""

    ways: tuple[Way, ...]
    of: str
    folder: Path
    mixed_rows: int
    mixed_milliseconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as reports read them."""
        plain = {**asdict(self), "ways": [asdict(way) for way in self.ways], "folder": str(self.folder)}
        return {"task": TASK, "sets": list(SETS), **plain}


def close(result: Result, folder: Path, tell: Callable[[str], None]) -> Result:
    """Measure every way of a finished demo in ``folder``, export its packs there, and write the report with that."""
    done = result.records.stages
    scored = next(record["identity"] for record in done if record["name"] == f"evaluate/{TASK}")
    if result.records.ways is None or not (folder / SERVED).is_dir():
        found = every_way(result.records, result.folder, folder / "tasks", folder / SERVED, scored, tell)
        files.write_json(result.folder / WAYS, found.as_dict())
        records = replace(result.records, ways=found.as_dict())
        page = report(folder / "recipe.yaml", command=records.command) if result.report else None
        return replace(result, records=records, report=page)
    return result


def every_way(records: RunRecords, run: Path, tasks: Path, out: Path, of: str, tell: Callable[[str], None]) -> EveryWay:
    """Export the packs of a finished demo, prove them, answer its rows in mixed batches, and time every way.

    ``run`` is the run's folder, ``tasks`` that of the demo's rows, ``out`` where the export is written anew, ``of`` the
    identity of the task's scores.
    """
    packs = _packs(run)
    proved = {name: tasks / name.partition("-")[0] / _dev(name) for name in packs.values() if name.endswith("-0")}
    files.remove(out)
    export(Asked(tuple(packs), packs, rows=proved, label="label"), out, tell)
    tell("times every way, one row at a time")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ways = [_trained(records, run, tasks, name, label) for name, label in _TRAINED.items()]
        ways.append(_early(records, run, tasks))
    finally:
        torch.set_num_threads(threads)
    tell("answers mixed rows in int8")
    small, count, mixed = _mixed(Runtime(out, threads=1), tasks)
    bitfit = next(way for way in ways if way.name == "BitFit")
    ways.append(Way("int8, mixed packs", small[0], bitfit.trained, bitfit.pack_bytes, small[1]))
    return EveryWay(tuple(ways), of, out, count, mixed)


def _packs(run: Path) -> dict[Path, str]:
    """Return the task's packs of all seeds, and one of each other task for company, with the names that they get."""
    found = {}
    for path in sorted(run.glob(f"tasks/*/{_PACKED}/*{SUFFIX}")):
        task, seed = path.parents[1].name, path.stem.removeprefix("seed-")
        if task == TASK or seed == "0":
            found[path] = f"{task}-{seed}"
    return found


def _dev(pack: str) -> str:
    return "dev.csv" if pack.startswith("topic") else "dev.jsonl"


def _trained(records: RunRecords, run: Path, tasks: Path, name: str, label: str) -> Way:
    """Return a way that was learnt and scored in the run."""
    scores = {
        row.set: row.mean
        for row in score_rows(records)
        if (row.task, row.variant, row.metric) == (TASK, label, "accuracy")
    }
    learnt = runs_by_label(records, TASK)[label][0]
    path = run / "tasks" / TASK / label / "seed-0"
    path = pack if (pack := path.with_name(f"{path.name}{SUFFIX}")).is_file() else path
    where, task = find(path)
    model = answering(where, choose("cpu"))
    took = _alone(lambda texts: model.logits(model.encode([texts], task.max_length)), _texts(tasks))
    accuracy = {part: scores.get(part) for part in SETS}
    return Way(name, accuracy, learnt["counts"]["total"], learnt.get("pack_bytes"), took)


def _early(records: RunRecords, run: Path, tasks: Path) -> Way:
    """Return the pretrained model that leaves by the first policy that was promised something of."""
    seeds = ramps_by_label(records, TASK)[_PLAIN]
    accuracy = {part: mean([one["sets"][part]["chosen"][0]["score"] for one in seeds]) for part in SETS}
    learnt = runs_by_label(records, TASK)[_PLAIN][0]["counts"]["total"] + seeds[0]["parameters"]
    path = run / "exits" / TASK / _PLAIN / "seed-0"
    model, length = load_exiting(path, seeds[0]["promises"][0]["policy"]), find(path)[1].max_length
    took = _alone(lambda texts: model.answer(model.answering.encode([texts], length)), _texts(tasks))
    return Way("early exit", accuracy, learnt, None, took)


def _alone(answer: Callable[[tuple[str, ...]], object], rows: Sequence[tuple[str, ...]]) -> float:
    """Return the milliseconds of a row that is answered alone, the median; the first ones warm up."""
    times = []
    for row in [*rows[:3], *rows]:
        begun = time.perf_counter()
        answer(row)
        times.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(times[3:])


def _cells(tasks: Path, part: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (tasks / TASK / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]


def _texts(tasks: Path) -> list[tuple[str, ...]]:
    return [(cells["premise"], cells["hypothesis"]) for cells in _cells(tasks, "dev")[:_TIMED]]


def _mixed(runtime: Runtime, tasks: Path) -> tuple[tuple[dict[str, float | None], float], int, float]:
    """Answer the task's rows by all its packs, a row of another task's pack behind each.

    Returns accuracies with a row's milliseconds alone, how many rows there were, and the milliseconds of one of them.
    """
    own = [name for name in runtime.packs if name.startswith(TASK)]
    others = [name for name in runtime.packs if name not in own]
    asked: list[Row] = []
    gold: list[tuple[str, str]] = []
    for part in SETS:
        for cells in _cells(tasks, part):
            for pack in own:
                other = others[len(gold) % len(others)]
                texts = (cells["premise"], cells["hypothesis"])
                asked += [Row(texts, pack), Row(texts[: len(runtime.packs[other].columns)], other)]
                gold.append((part, cells["label"]))
    begun = time.perf_counter()
    answers = runtime.predict_rows(asked)[::2]
    took = 1e3 * (time.perf_counter() - begun) / len(asked)
    right: dict[str, list[bool]] = {part: [] for part in SETS}
    for answer, (part, label) in zip(answers, gold, strict=True):
        right[part].append(answer.label == label)
    alone = _alone(lambda texts: runtime.predict_rows([Row(texts, own[0])]), _texts(tasks))
    return ({part: statistics.fmean(found) for part, found in right.items()}, alone), len(asked), took
