"""An expert: a model that knows the shortcut, fitted by cross-fitting, and what it says of each training row.

Sealed: ``signals.parquet`` (logits and attributions of all training rows), ``model/``, the first fold's classifier, and
``metrics.jsonl``. No set of the task is opened: experts are measured on those where the runs are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bertwright import files
from bertwright.debias import signals
from bertwright.debias.attribution import attribute
from bertwright.debias.expert_file import golds_of, signals_in_file, with_own_ids
from bertwright.debias.experts import dealt, partial
from bertwright.debias.quality import quality
from bertwright.encoder import families
from bertwright.encoder.model_folder import save_model
from bertwright.recipe.debias_settings import Attributing
from bertwright.stages.fine_tuned import write_task
from bertwright.stages.learning import Learnt, learn
from bertwright.stages.work import MODEL, SIGNALS, Work
from bertwright.tasks.batches import Encoded, in_order_of_length, lay_out
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import Rows, read_rows
from bertwright.tasks.task import Task
from bertwright.training.feed import on_device

_BATCH = 64
_SAME_ROWS = (
    "each row is scored by the model that was fitted on it: what the expert reaches on training rows says less than "
    "what it reaches on other sets"
)


@dataclass(frozen=True)
class _Said:
    """What a fold's model says of the rows with these numbers: logits (n, C), saliency (N,) within ``bounds``."""

    rows: np.ndarray
    logits: np.ndarray
    saliency: np.ndarray
    bounds: np.ndarray


def expert(work: Work) -> dict[str, Any]:
    """Fit an expert, or read one, and write what it says of all training rows."""
    task = Task.from_options(work.options["task"], work.paths["train"], {})
    rows = with_own_ids(read_rows(task, task.train))
    labels = LabelMap.from_rows(rows, task.kind)
    if "logits" in work.paths:
        about = {name: work.options[name] for name in ("values", "names")}
        found, notes = signals_in_file(work.paths["logits"], rows, labels, **about)
        facts: dict[str, Any] = {"columns": None, "folds": None, "notes": list(notes)}
    else:
        found, facts = _fitted(work, task, rows, labels)
    # Rounding to fp16 costs nothing where a trained model wrote them; a user's file is kept as it is.
    signals.write(work.folder / SIGNALS, found, logits="fp32" if "logits" in work.paths else "fp16")
    measured = quality(found.logits, labels.numbers(rows))
    _, task_name, variant, name = work.name.split("/")
    return {
        "task": task_name,
        "variant": variant,
        "expert": name,
        "kind": work.options["expert"],
        "rows": len(rows),
        "train": asdict(measured),
        **facts,
        "notes": [*facts["notes"], *measured.warnings],
    }


def _fitted(work: Work, task: Task, rows: Rows, labels: LabelMap) -> tuple[signals.Signals, dict[str, Any]]:
    """Fit a model a fold and let each score the rows that it did not see."""
    options = work.options
    texts, places = partial(rows.texts, task.text, options["columns"])
    # Plain cross entropy: what the shortcut says of a label is wanted, at the rate at which labels come.
    own = replace(task, text=tuple(options["columns"]), class_weights=None, forms={})
    seen = replace(rows, texts=tuple(texts))
    whole = len(places) == len(task.text)
    fold = dealt(seen, labels.numbers(rows), options["folds"], seed=options["seed"], whole=whole)
    said = [_fold(work, own, seen, labels, fold, number) for number in range(options["folds"])]
    lines = [row for number in range(options["folds"]) for row in files.read_json(work.scratch / f"fold-{number}.json")]
    files.write_text(work.folder / "metrics.jsonl", "".join(f"{files.json_line(row)}\n" for row in lines))
    order = np.argsort(np.concatenate([one.rows for one in said]), kind="stable")
    saliency = [one.saliency[a:b] for one in said for a, b in zip(one.bounds[:-1], one.bounds[1:], strict=True)]
    config = families.read_config(work.folder / MODEL)
    about = {
        "expert": options["expert"],
        "places": list(places),
        "max_length": min(options["max_length"], config.positions),
        "separators": config.separators,
        "looked_at": options["looked_at"],
        "folds": options["folds"],
    }
    found = signals.of_rows(
        rows.ids,
        rows.texts,
        golds_of(rows),
        labels.names or (),
        np.concatenate([one.logits for one in said])[order],
        saliency=[saliency[place] for place in order],
        about=about,
    )
    settings = {key: options[key] for key in ("epochs", "batch", "learning_rate", "max_length")}
    facts = {
        "columns": options["columns"],
        "folds": options["folds"],
        "learnt_from": [len(_learnt_from(fold, number, options)) for number in range(options["folds"])],
        "settings": settings,
        "notes": [_SAME_ROWS] if options["folds"] == 1 else [],
    }
    return found, facts


def _learnt_from(fold: np.ndarray, number: int, options: Mapping[str, Any]) -> np.ndarray:
    """Return the numbers of the rows that a fold's model learns from."""
    others = np.flatnonzero(fold != number) if options["folds"] > 1 else np.arange(len(fold))
    wanted = options["rows_to_learn"]
    if wanted is None or wanted >= len(others):
        return others
    drawn = np.random.Generator(np.random.Philox(key=[options["seed"], number])).permutation(len(others))[:wanted]
    return np.asarray(np.sort(others[drawn]))


def _fold(work: Work, task: Task, rows: Rows, labels: LabelMap, fold: np.ndarray, number: int) -> _Said:
    """Return what a fold's model says; one that was finished before a stop is not fitted again."""
    place = work.scratch / f"fold-{number}"
    done = work.scratch / f"fold-{number}.npz"
    if done.is_file():
        with np.load(done, allow_pickle=False) as content:
            return _Said(*(content[name] for name in ("rows", "logits", "saliency", "bounds")))
    files.make_folder(place)
    count = work.options["folds"]

    def tell(fields: dict[str, Any]) -> None:
        work.tell({**fields, "share": (number + fields.get("share", 0.0)) / count, "seconds_left": None})

    own = replace(work, folder=place, tell=tell)
    kept = rows.some(_learnt_from(fold, number, work.options).tolist())
    learnt = learn(own, work.options, task, kept, labels, epochs=work.options["epochs"])
    said = _say(learnt, rows, labels, np.flatnonzero(fold == number), work.options)
    if number == 0:
        save_model(
            work.folder / MODEL, learnt.model.float().cpu(), learnt.tokenizer, labels=labels.names, problem=task.kind
        )
        write_task(work.folder / MODEL, task, work.options["max_length"])
    rows_of = [{**row, "fold": number} for row in files.read_json_lines(place / "metrics.jsonl")]
    files.write_json(work.scratch / f"fold-{number}.json", rows_of)
    # This is what says that a fold is done, so it comes last.
    with files.writing(done) as stream:
        np.savez(stream, **vars(said))
    files.remove(place)
    return said


def _say(learnt: Learnt, rows: Rows, labels: LabelMap, chosen: np.ndarray, options: Mapping[str, Any]) -> _Said:
    """Score rows and look where the answers come from: one forward and one backward pass, dropout off."""
    scored = rows.some(chosen.tolist())
    config = learnt.model.encoder.config
    encoded = lay_out(scored.texts, labels.numbers(scored), learnt.tokenizer, config, options["max_length"])
    looking = Attributing(**options["looked_at"], dropout="off", passes="two")
    logits, saliency = attributed(learnt, encoded, looking)
    bounds = np.cumsum([0, *encoded.lengths]).astype(np.int64)
    return _Said(chosen, logits, np.concatenate(saliency), bounds)


def attributed(learnt: Learnt, rows: Encoded, looking: Attributing) -> tuple[np.ndarray, Sequence[np.ndarray]]:
    """Return logits (n, C) and each row's saliency by token, in the order of the rows."""
    logits: list[np.ndarray] = [np.empty(0)] * len(rows.ids)
    saliency = list(logits)
    model = learnt.precision.copy_of(learnt.model)
    for chosen, batch in in_order_of_length(rows, _BATCH):
        found = attribute(model, on_device(batch, learnt.precision.device), looking)
        given, looked = found.logits.float().cpu().numpy(), found.saliency.cpu().numpy()
        for place, row in enumerate(chosen.tolist()):
            logits[row], saliency[row] = given[place], looked[place, : len(rows.ids[row])]
    return np.stack(logits), saliency
