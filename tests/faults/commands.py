"""The commands of the small whole pipeline, each from the state that those before it left."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
import yaml
from toy_recipes import sentence, toy_in

# Imported before the forks, so that each of them finds it done.
import bertwright.pipeline.forecast_training
import bertwright.pipeline.run
import bertwright.reports.page
import bertwright.stages.evaluate
import bertwright.stages.expert
import bertwright.stages.export
import bertwright.stages.finetune
import bertwright.stages.prepare
import bertwright.stages.pretrain
import bertwright.stages.ramps
import bertwright.stages.tune_exits  # noqa: F401
from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.model_folder import save_model
from bertwright.encoder.models import build_classifier, build_masked_lm
from bertwright.stages import measure, prepare
from bertwright.tasks import submission, tables
from bertwright.text.executors import Done
from bertwright.text.tokenizer import train_tokenizer
from bertwright.training.precision import matmul_peak

mpl.use("agg")
torch.set_num_threads(1)


_RUN = "bertwright-store/runs"


def _nothing() -> None:
    """Change nothing."""


@dataclass(frozen=True)
class Command:
    """A command: a short name, its arguments, what a page calls it, and what is changed in the process before it."""

    name: str
    arguments: list[str]
    shown: str
    set_up: Callable[[], None] = _nothing


def _small_windows() -> None:
    tables.WINDOW = 8


def _forget_a_run() -> None:
    Path(_RUN, "guided", "stages.json").unlink(missing_ok=True)


def _few_rows() -> None:
    for name, one in submission.EXPECTED.items():
        submission.EXPECTED[name] = replace(one, rows=4)


COMMANDS = [
    Command("demo", ["demo", "demo", "--write-only"], "demo --write-only"),
    Command("prepare", ["prepare", "toy.yaml", "-q"], "prepare"),
    Command("pretrain", ["pretrain", "toy.yaml", "-q"], "pretrain"),
    Command("finetune", ["finetune", "toy.yaml", "-q"], "finetune"),
    Command("run", ["run", "toy.yaml", "-q"], "run"),
    Command("report", ["report", "toy.yaml", "report=true"], "report"),
    Command(
        *(
            "predict",
            [
                "predict",
                f"{_RUN}/toy/tasks/height/pretrained-bitfit/seed-0.pack",
                "dev.jsonl",
                "-o",
                "answers.parquet",
                "-q",
            ],
        ),
        *("predict", _small_windows),
    ),
    Command(
        "export", ["export", f"{_RUN}/toy/tasks/height/pretrained-bitfit/seed-0.pack", "-o", "served", "-q"], "export"
    ),
    Command("exits", ["run", "exits.yaml", "-q"], "run (early exits)"),
    Command("guided", ["run", "guided.yaml", "-q"], "run (expert and guided loss)"),
    Command("submit", ["submit", "glue.yaml", "-o", "glue.zip", "-q"], "submit", _few_rows),
    Command("shed", ["run", "shed.yaml", "-q"], "run (finetune.keep=none)"),
    Command("gc", ["store", "gc"], "store gc", _forget_a_run),
]


def write_inputs(root: Path) -> None:
    """Write texts, tasks and recipes."""
    one = {"seeds": 1, "baseline": False, "epochs": 1, "checkpoint_every": "2 steps"}
    toy = toy_in(root)
    path = toy(
        pretrain={"budget": "9 steps", "checkpoint_every": "3 steps", "save_at": [0.5]},
        finetune={**one, "trainable": ["bitfit", "full"]},
        encoder={"layers": 2},
        report=False,
        system={"threads": 1, "precision": "fp32", "attention": "matmul", "probe": False},
    )
    recipe: dict[str, Any] = yaml.safe_load(path.read_text())
    own = {key: value for key, value in recipe.items() if key not in ("prepare", "tokenizer", "pretrain", "encoder")}
    given = {**own, "encoder": {"folder": f"{_RUN}/toy/encoder"}}
    ramps = [{"method": "full", "exits": {"epochs": 2, "timed_rows": 2}}, "bitfit"]
    _write(root / "exits.yaml", {**given, "finetune": {**one, "trainable": ramps[:1]}})
    _write(root / "guided.yaml", {**given, **_guided(root, one)})
    _write(root / "glue.yaml", {**given, **_glue(root, one)})
    _write(root / "shed.yaml", {**given, "finetune": {**one, "trainable": "full", "keep": "none", "seeds": 2}})


def _guided(root: Path, one: dict[str, Any]) -> dict[str, Any]:
    draw = random.Random(2)
    rows = []
    for number in range(32):
        label = ("no", "yes")[number % 2]
        rows.append({"evidence": sentence(draw, 0, 48), "claim": sentence(draw, 24 * (number % 2), 48), "label": label})
    for name in ("train", "dev"):
        _lines(root / "facts" / f"{name}.jsonl", rows)
    experts = {"claim-only": {"kind": "partial-input", "columns": ["claim"], "folds": 2}}
    method = {"method": "full", "loss": "guided", "expert": "claim-only"}
    task = {"name": "facts", "train": "facts/train.jsonl", "sets": {"dev": "facts/dev.jsonl"}}
    return {
        "finetune": {**one, "trainable": [method], "experts": experts},
        "tasks": [{**task, "text": ["evidence", "claim"]}],
    }


def _glue(root: Path, one: dict[str, Any]) -> dict[str, Any]:
    pairs = [("bala koren", "bala"), ("miso tuk", "koren"), ("bala misok", "tulan"), ("kolash mire", "mire")]
    words = ("entailment", "not_entailment")
    rows = [{"sentence1": a, "sentence2": b, "label": words[n % 2]} for n, (a, b) in enumerate(pairs * 3)]
    for part in ("train", "dev"):
        _lines(root / "rte" / f"{part}.jsonl", rows)
    unlabelled = [{"sentence1": a, "sentence2": b, "id": n} for n, (a, b) in enumerate(pairs)]
    _lines(root / "rte" / "test_unlabeled.jsonl", unlabelled)
    return {"finetune": one, "tasks": [{"name": "rte", "known": "rte", "folder": "rte"}]}


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write(path: Path, recipe: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))


class _InThisProcess:
    """Does in this process what would be done in another, so that the door of that one is this one's."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> _InThisProcess:
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, function: Any, argument: Any, *_: Any) -> Done:
        return Done(function(argument))


def warm_up() -> None:
    """Load what libraries load late, and measure what is measured once, so that each fork finds it done."""
    prepare.Processes = _InThisProcess  # type: ignore[misc,assignment]
    tokenizer = train_tokenizer(["bala koren tuk"] * 9, kind="wordpiece", vocabulary=24, lowercase=True)
    shape: dict[str, Any] = {"width": 16, "layers": 1, "heads": 2, "inner": 32, "positions": 16}
    config = EncoderConfig(family="bert", vocabulary=tokenizer.vocabulary, pad_id=tokenizer.pad_id, **shape)
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "masked", build_masked_lm(config, seed=0), tokenizer)
        model = build_classifier(config, 2, seed=0)
        save_model(Path(folder) / "labels", model, tokenizer, labels=("a", "b"), problem="classification")
    measure.count_parameters(config)
    matmul_peak(torch.float32, "cpu")
