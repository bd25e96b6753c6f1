"""What a plain, tuned `transformers` loop scores beside finished runs of ours: same grid, rows kept back, and seeds.

    bertwright run recipes/trial-tasks.yaml
    python benchmarks/plain_tuned.py [--tasks rte,mrpc,trec] [--run build/store/runs/trial-tasks] [--save NAME]

The plain loop is the fast one of `finetune_speed.py` (`AutoModelForSequenceClassification`, bf16 autocast, batches of
rows of like length, fused AdamW) with what that recipe asks of the protocol `sane`: three rates, each tried on the same
tenth of the training rows kept back, then three seeds of the best on all rows, three epochs of 32 rows an update,
linear with 6 % of warm-up. The score is the task's headline metric on its dev set (TREC: test); `difference` is ours
less the plain loop's in points, with the 95 % interval of a bootstrap over rows and seeds, both the same for both
sides. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import transformers

from bertwright.tasks.holdout import hold_out
from bertwright.tasks.metrics import METRICS, decide
from bertwright.tasks.statistics import compare
from finetune_speed import BATCH, ENCODER, EPOCHS, RESULTS, Data, answers_of, plain

RUN = Path(__file__).resolve().parents[1] / "build" / "store" / "runs" / "trial-tasks"
RATES, SEEDS, KEPT_BACK = (3e-5, 1e-4, 3e-4), (0, 1, 2), 0.1


def trained(data: Data, encoder: Path, rows: np.ndarray, seed: int, rate: float) -> transformers.PreTrainedModel:
    """Return the plain loop's model after the protocol's epochs over these rows."""
    updates = EPOCHS * -(-len(rows) // BATCH)
    return plain(data, encoder, rows, seed, grouped=True, updates=updates, rate=rate)[1]


def best_rate(data: Data, encoder: Path) -> tuple[float, dict[str, float]]:
    """Return the rate that does best on rows kept back, with what each does there, in points."""
    kept, scored = hold_out(data.train.labels, data.task.kind, share=KEPT_BACK, seed=SEEDS[0])
    chosen = [tuple(part[row] for row in scored) for part in (data.train.ids, data.train.segments)]
    held_out = replace(data.train, ids=chosen[0], segments=chosen[1], labels=data.train.labels[scored])
    found = {}
    for rate in RATES:
        logits = answers_of(trained(data, encoder, kept, SEEDS[0], rate), held_out)
        found[rate] = data.score(logits, held_out.labels)
    return max(found, key=lambda rate: found[rate]), {f"{rate:g}": score for rate, score in found.items()}


def ours_of(run: Path, task: str, part: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return gold classes and each seed's answers of a finished run."""
    folder = run / "scores" / task / "predictions" / "given"
    paths = [folder / f"seed-{seed}" / f"{part}.parquet" for seed in SEEDS]
    if missing := [str(path) for path in paths if not path.exists()]:
        raise SystemExit(f"{missing[0]} is not there; run `bertwright run recipes/trial-tasks.yaml` first")
    read = [pq.read_table(path, columns=["gold", "predicted"]).to_pydict() for path in paths]
    return np.array(read[0]["gold"]), [np.array(one["predicted"]) for one in read]


def one_task(name: str, own: argparse.Namespace) -> dict[str, Any]:
    """Return both sides' scores on a task, and their difference."""
    data = Data(name, own.encoder)
    gold, ours = ours_of(own.run, name, data.part)
    if not np.array_equal(gold, data.dev.labels):
        raise SystemExit(f"{name}: the run was scored on other rows than {data.part} has here")
    rate, tried = best_rate(data, own.encoder)
    whole = np.arange(len(data.train.ids))
    plain_answers = [
        decide(answers_of(trained(data, own.encoder, whole, seed, rate), data.dev), data.task.kind) for seed in SEEDS
    ]
    metric, positive = data.task.metrics[0], data.positive
    apart = compare(gold, ours, plain_answers, metric=metric, positive=positive, same_seeds=True)
    if apart is None:
        raise SystemExit(f"{name}: the {metric} is undefined")
    scores = {
        who: [100 * (METRICS[metric].compute(gold, one, positive).value or 0.0) for one in answers]
        for who, answers in (("ours", ours), ("plain", plain_answers))
    }
    return {
        "metric": metric,
        "set": data.part,
        "rate": rate,
        "tried": tried,
        "scores": scores,
        "difference": 100 * apart.difference,
        "interval": [100 * bound for bound in apart.interval],
        "clear": apart.clear,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="rte,mrpc,trec")
    parser.add_argument("--run", type=Path, default=RUN)
    parser.add_argument("--encoder", type=Path, default=ENCODER)
    parser.add_argument("--save", help="write the figures to benchmarks/results/NAME.json")
    own = parser.parse_args()
    found = {}
    for name in own.tasks.split(","):
        found[name] = one_task(name, own)
        print(f"{name}: {json.dumps(found[name])}", flush=True)
    if own.save:
        (RESULTS / f"{own.save}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
