"""Cards of model folders, from the records of the stages that made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bertwright import files
from bertwright.pack_card import UNKNOWN
from bertwright.reports.card import Card, CardScore, markdown
from bertwright.reports.lineage import ancestors, encoder_of, family_of, given_name, pretraining_text, shape_text
from bertwright.reports.loading import load_classifier, load_encoder
from bertwright.reports.pack_cards import ONLY_HERE
from bertwright.reports.words import plural
from bertwright.stages.work import LEARNT_FROM

CARD = "README.md"
_SETTINGS = ("epochs", "batch", "learning_rate", "schedule", "max_length", "alpha", "beta")
_OF_PRETRAINING = ("budget", "steps", "tokens", "batch", "optimizer", "schedule", "learning_rate", "mask_rate")
_NOT_YET = (
    "Not measured when this folder was finished: `bertwright evaluate` scores it, and the folder `cards` of the run "
    "then has this card with the scores."
)
_WHAT = {
    "pretrain": "An encoder that learnt masked words from the text below; it answers no task yet.",
    "initialise": "An encoder as it was drawn, **not trained**: a baseline to hold others against, and nothing to use.",
    "biases": "A given encoder whose missing biases were added as zeros, which changes none of its answers.",
    "expert": "An expert: a model that knows a **shortcut** of the data set on purpose, for training others.",
}
_TITLES = {"pretrain": "Pretrained encoder", "initialise": "Untrained encoder", "biases": "Encoder with all biases"}


def write_cards(folder: Path, record: Mapping[str, Any], inputs: Mapping[str, Path], paths: Mapping[str, Path]) -> None:
    """Write a card into each model folder of a stage that is about to be sealed.

    ``record`` is as ``stage_card`` takes it.
    """
    for model in sorted(path.parent for path in folder.glob("*/config.json")):
        files.write_text(model / CARD, markdown(stage_card(record, inputs, paths, place=model.name)))


def stage_card(
    record: Mapping[str, Any],
    inputs: Mapping[str, Path],
    paths: Mapping[str, Path],
    *,
    place: str = "model",
    scored: Mapping[str, Any] | None = None,
) -> Card:
    """Return the card of a stage's model.

    ``record`` has the stage's kind, name, identity, parts and results, and the license; ``inputs`` are its folders by
    role, ``paths`` the user's files by label; ``place`` is the model's folder; ``scored`` is what ``evaluate`` found.
    """
    before = list(ancestors(inputs))
    if record["kind"] in _TITLES:
        return _encoder_card(record, before, place, given_name(inputs))
    return _classifier_card(record, before, given_name(inputs), paths, scored)


def _encoder_card(record: Mapping[str, Any], before: Sequence[Mapping[str, Any]], place: str, given: str) -> Card:
    results, kind = record["results"], record["kind"]
    share = place.partition("-")[2]
    loss = None if share else results.get("held_out_loss")
    settings = {key: results[key] for key in _OF_PRETRAINING if key in results}
    seen = "It has seen the text below and, where it began from another encoder, what that one saw."
    return Card(
        title=_TITLES[kind] + (f" at {share} % of its budget" if share else ""),
        summary=_WHAT[kind],
        license=record.get("license", UNKNOWN),
        library="transformers",
        pipeline="fill-mask",
        tags=("bertwright", results["family"]),
        facts={"encoder": shape_text(results), "begun from": given or "drawn weights"},
        data=tuple(pretraining_text(before)),
        settings={**settings, "seed": record["parts"]["options"].get("seed"), "precision": results.get("precision")},
        identity=record["identity"],
        limits=("It gives no answers: fine-tune it on a task of your own.", *([seen] if kind == "pretrain" else [])),
        loading=load_encoder(str(results["proof"]["class"])),
        protocol="" if loss is None else "documents kept back, 15 % of their tokens masked",
        unscored="None of its own: `bertwright evaluate` scores what is learnt from it.",
        scores=() if loss is None else (CardScore("held out", "held_out_loss", None, loss, 1, None, None, None),),
    )


def _classifier_card(
    record: Mapping[str, Any],
    before: Sequence[Mapping[str, Any]],
    given: str,
    paths: Mapping[str, Path],
    scored: Mapping[str, Any] | None,
) -> Card:
    # A run with ramps is another run with something beside it.
    run = next(one for one in before if one["kind"] == "finetune") if record["kind"] == "ramps" else record
    results, options = run["results"], run["parts"]["options"]
    text, kind, longest = results.get("columns") or options["task"]["text"], options["task"]["kind"], _longest(results)
    scores, protocol, sets = _scores_of(record["name"], scored)
    promises = tuple(note for note in record["results"].get("notes", ()) if note.startswith("exits: "))
    method = str(results.get("method", "expert"))
    settings = {key: value for key, value in _settings(results).items() if key in _SETTINGS}
    return Card(
        title=f"{results['task']}: {record['name'].split('/', 2)[2]}",
        summary=_WHAT.get(record["kind"], f"A classifier for the task `{results['task']}`, learnt from labelled rows."),
        license=record.get("license", UNKNOWN),
        library="transformers",
        pipeline="text-classification",
        tags=("bertwright", family_of(before), method),
        facts={
            "task": f"{results['task']}, {kind}",
            "text": ", ".join(text),
            "labels": ", ".join(map(str, results.get("labels", ()))) or "those of the training file",
            "encoder": encoder_of(before, given),
            "method": method,
        },
        data=(
            (paths["train"].name, "training", plural(results["rows"], "row")),
            *sets,
            *pretraining_text(before),
        ),
        settings={**settings, "seed": options["seed"], "precision": results.get("precision", "as its run")},
        identity=record["identity"],
        limits=(
            f"It reads at most {longest} tokens of a row; longer ones are cut or become windows.",
            *promises,
            ONLY_HERE,
        ),
        loading=load_classifier(text, kind, longest),
        task=results["task"],
        protocol=protocol,
        unscored=_NOT_YET,
        scores=scores,
    )


def _longest(results: Mapping[str, Any]) -> int:
    return int(_settings(results)["max_length"])


def _settings(results: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a run's settings, or the one that a search tried."""
    found: Mapping[str, Any] = results.get("settings") or results["setting"]
    return found


def _scores_of(
    name: str, scored: Mapping[str, Any] | None
) -> tuple[tuple[CardScore, ...], str, list[tuple[str, str, str]]]:
    """Return a run's scores, their protocol, and the sets as data."""
    label, _, seed = name.rpartition("/seed-")
    label = label.rpartition("/")[2]
    told = next((one for one in scored["variants"] if one["variant"] == label), None) if scored else None
    if scored is None or told is None:
        return (), "", []
    place, rows = told["seeds"].index(int(seed)), {part: one["rows"] for part, one in scored["sets"].items()}
    found = tuple(
        CardScore(
            part,
            metric,
            rows[part],
            one["values"][place],
            len(told["seeds"]),
            one["mean"],
            one["deviation"],
            one["interval"],
        )
        for part, by_metric in told["scores"].items()
        for metric, one in by_metric.items()
    )
    return (
        found,
        told["protocol"],
        [(part, "scored on", plural(rows[part], "row")) for part in told["scores"] if part != LEARNT_FROM],
    )
