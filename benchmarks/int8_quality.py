"""What int8 costs in answers: finished fine-tuned runs on a real encoder, exported and held against torch in fp32.

    python benchmarks/int8_quality.py [RUNS ...] [--save NAME]

RUNS are folders of seeds, such as `build/store/runs/trial-bitfit-trec/tasks/trec/given-full`, whole models or packs of
BitFit; by default those of TREC that `bertwright run recipes/trial-bitfit.yaml` left. Nothing is trained. Every seed is
exported in int8 as `bertwright export` does it, and answers the task's own test or dev rows; `lost` is torch's score
(accuracy; Matthews correlation for CoLA) less int8's in points, with the 95 % interval of a bootstrap over pairs, rows
of a seed. The last line is one JSON object: `lost_points`, the largest of all runs, and each run's figures.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bertwright.deploy.export import Form, write_export
from bertwright.deploy.processor import bits_here
from bertwright.deploy.proof import Probe, ask, expected
from bertwright.deploy.runtime import Runtime
from bertwright.deploy.sources import deployable
from bertwright.stages.export_sources import gather
from bertwright.tasks.metrics import METRICS
from bertwright.tasks.statistics import compare
from bertwright.tasks.texts import columns_of

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
RUNS = [ROOT / "build/store/runs/trial-bitfit-trec/tasks/trec" / name for name in ("given-full", "given-bitfit")]
SETS = {
    "trec": "trec/test.jsonl",
    **{name: f"{name}/dev.jsonl" for name in ("cola", "mrpc", "rte", "sst2")},
    **{name: f"{name}/own_dev.jsonl" for name in ("fever", "snli")},
}
DATA = ROOT.parent / "shared" / "data" / "tasks"


def rows_of(task: str, columns: list[str]) -> tuple[tuple[tuple[str, ...], ...], list[str]]:
    """Return a task's texts and gold labels."""
    rows = [json.loads(line) for line in (DATA / SETS[task]).read_text(encoding="utf-8").splitlines()]
    return tuple(tuple(row[column] for column in columns) for row in rows), [row["label"] for row in rows]


def answers(seed: Path, task: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return gold classes and the classes that torch and int8 answer, (n,) each."""
    found = gather((seed,))
    ((name, pack),) = found.packs.items()
    columns = list(columns_of(pack.task.text))
    cells, gold = rows_of(task, columns)
    probe, labels = Probe(name, task, cells), pack.task.labels
    want = expected(found.loaded, pack, found.tokenizer, probe, exit="never").logits.argmax(axis=1)
    with tempfile.TemporaryDirectory() as folder:
        made = deployable(found.loaded, found.tokenizer.identity())
        write_export(Path(folder), made, found.tokenizer, Form("int8", bits=bits_here()), found.packs)
        got = np.array([np.argmax(one.logits) for one in ask(Runtime(folder), probe, "never")])
    return np.array([labels.index(one) for one in gold]), want, got


def mean_score(metric: str, gold: np.ndarray, seeds: list[np.ndarray]) -> float:
    """Return the mean of a metric over seeds' answers, (n,) each; undefined ones count as 0, as GLUE does."""
    return float(np.mean([METRICS[metric].compute(gold, one, None).value or 0.0 for one in seeds]))


def one_run(run: Path) -> dict[str, Any]:
    """Return what a run's seeds lose in int8."""
    task = run.parent.name
    seeds = sorted(run.glob("seed-*.pack")) or sorted(path for path in run.glob("seed-*") if path.is_dir())
    if not seeds:
        raise SystemExit(f"{run} holds no finished seeds; make them with `bertwright run recipes/trial-bitfit.yaml`")
    found = [answers(seed, task) for seed in seeds]
    gold, torch, int8 = found[0][0], [one[1] for one in found], [one[2] for one in found]
    # A seed's int8 is compared with that seed's torch: every row of every seed is a pair.
    pairs = (np.concatenate([one[place] for one in found]) for place in (1, 2))
    metric = "matthews" if task == "cola" else "accuracy"
    apart = compare(np.tile(gold, len(found)), *([one] for one in pairs), metric=metric)
    if apart is None:
        raise SystemExit(f"{run}: the {metric} is undefined")
    same = float(np.mean([np.mean(a == b) for a, b in zip(torch, int8, strict=True)]))
    figures = {
        "seeds": len(seeds),
        "rows": len(gold),
        "metric": metric,
        "torch": mean_score(metric, gold, torch),
        "int8": mean_score(metric, gold, int8),
        "same_answers": same,
        "lost_points": 100 * apart.difference,
        "interval_points": [100 * bound for bound in apart.interval],
    }
    low, high = figures["interval_points"]
    print(
        f"{task} {run.name}, {len(seeds)} seeds x {len(gold)} rows, {metric}: torch fp32 {figures['torch']:.2%}, int8 "
        f"{figures['int8']:.2%}, lost {figures['lost_points']:+.2f} points ({low:+.2f} to {high:+.2f}); "
        f"{same:.2%} same answers",
        flush=True,
    )
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, default=RUNS)
    parser.add_argument("--save", help="write the figures to benchmarks/results/NAME.json")
    arguments = parser.parse_args()
    found = {f"{run.parent.name} {run.name}": one_run(run) for run in arguments.runs}
    result = {"lost_points": max(one["lost_points"] for one in found.values()), "runs": found}
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{arguments.save}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
