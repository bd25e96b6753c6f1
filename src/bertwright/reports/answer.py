"""What a reader should know first: the answer in a sentence or two, and the notes that go with the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bertwright.reports.exits_notes import exits_notes
from bertwright.reports.records import (
    DifferenceRow,
    RunRecords,
    ScoreRow,
    difference_rows,
    robustness,
    score_rows,
    stage_rows,
    undecided_text,
)
from bertwright.reports.words import (
    count_text,
    interval_text,
    large_text,
    metric_text,
    plural,
    score_text,
    seconds_text,
    spread_text,
    told_once,
)
from bertwright.stages.work import LEARNT_FROM

# Tasks that the first lines name; the tables hold all of them.
_NAMED_TASKS = 3
# From this many times the forecast on, the notes say so.
_FAR_FROM_FORECAST = 1.5
# Unless the stage took no longer than so many seconds more: nobody plans with those.
_SMALL_EXCESS = 10.0
# The interval of two that answer every row alike, such as one model with ramps of two kinds.
_ALIKE = (0.0, 0.0)
# Two scores that differ by less are one.
_SAME = 1e-9


def answer(run: RunRecords) -> str:
    """Return what was trained, the headline scores and how long it took."""
    if not run.stages:
        return "Nothing is finished yet."
    parts = [_encoder(run)]
    headlines = main_headlines(run)
    parts += [_headline(run, row) for row in headlines[:_NAMED_TASKS]]
    if len(headlines) > _NAMED_TASKS:
        parts.append(f"{plural(len(headlines) - _NAMED_TASKS, 'more task')} below.")
    parts.append(f"{seconds_text(run.seconds())} of work in all.")
    return " ".join(part for part in parts if part)


def main_headlines(run: RunRecords) -> list[ScoreRow]:
    """Return the headline score of each task's main variant, which its record names first."""
    first: dict[str, ScoreRow] = {}
    for row in score_rows(run):
        if row.headline:
            first.setdefault(row.task, row)
    return list(first.values())


def _encoder(run: RunRecords) -> str:
    for record in run.of_kind("pretrain"):
        return _pretrained(record["results"])
    if run.of_kind("finetune"):
        return "No encoder was pretrained here: the tasks start from one that was there."
    for record in run.of_kind("prepare"):
        results = record["results"]
        return f"{count_text(results['documents'])} documents became {count_text(results['tokens'])} training tokens."
    return ""


def _pretrained(results: Mapping[str, Any]) -> str:
    start = results["started_from"]
    origin = f"continued from {start}" if start else "pretrained from scratch"
    what = " ".join(str(word) for word in (results["family"], results["size"]) if word)
    return (
        f"A {what} encoder ({large_text(results['parameters'])} parameters), {origin} in "
        f"{seconds_text(results['seconds'])}: held-out loss {results['first_held_out_loss']:.2f} to "
        f"{results['held_out_loss']:.2f}."
    )


def _headline(run: RunRecords, row: ScoreRow) -> str:
    """Return a task's main score beside the best of the others; behind it who does better out of distribution."""
    text = f"{row.task}: {metric_text(row.metric)} {spread_text(row.mean, row.deviation, row.metric)} on {row.set}"
    more = f"; {plural(len(row.failed_seeds), 'seed')} failed" if row.failed_seeds else ""
    more += "; no better than one answer for every row" if _at_floor(row) else ""
    others = _against(run, row, row.set, row.metric)
    if not others:
        return f"{text} ({row.variant}, {plural(len(row.seeds), 'seed')}{more})."
    best = others[0]
    difference, word = score_text(best.difference, best.metric, signed=True), "clear" if best.clear else "not clear"
    of = f", the best of {len(others)} others" if len(others) > 1 else ""
    return " ".join([f"{text} ({difference} against {best.b}{of}, {word}{more}).", *_elsewhere(run, row)])


def _against(run: RunRecords, row: ScoreRow, name: str, metric: str) -> list[DifferenceRow]:
    """Return a variant's comparisons with the others on a set, the best of these first; one that answers every row
    alike is no other."""
    found = [one for one in difference_rows(run) if one.difference is not None and one.interval != _ALIKE]
    own = (row.task, name, metric, row.variant)
    return sorted((o for o in found if (o.task, o.set, o.metric, o.a) == own), key=lambda one: one.difference or 0.0)


def _elsewhere(run: RunRecords, row: ScoreRow) -> Iterator[str]:
    """Say of each set out of distribution who answers it clearly better than the main variant, where some run learnt
    against a shortcut: that is what it was for."""
    if not any("against" in one["results"] for one in run.of_kind("finetune") if one["results"]["task"] == row.task):
        return
    for name, (metric, score) in robustness(run, row).items():
        others = _against(run, row, name, metric)
        if not others:
            continue
        best = next((one for one in others if one.clear and (one.difference or 0.0) < 0), None)
        more = "no other clearly more"
        if best is not None:
            more = f"{best.b} {score_text(-(best.difference or 0.0), metric, signed=True)}, clear"
        yield f"On {name} {row.variant} has {score_text(score, metric)}, and {more}."


def _at_floor(row: ScoreRow) -> bool:
    """Return whether a score is no better than the one that a single answer for all rows gets."""
    return row.mean is not None and row.floor is not None and row.mean <= row.floor + _SAME


def notes(run: RunRecords) -> list[str]:
    """Return everything that was cut, dropped, skipped, undefined or uncertain, a sentence each, none twice.

    What is to be said of several tasks in the same words is said once, with their names.
    """
    found = [
        *(
            f"{name} failed, and what needs it is missing here or did without it: {said}"
            for name, said in run.failed.items()
        ),
        *_text_notes(run),
        *_overlap_notes(run),
        *_training_notes(run),
        *exits_notes(run),
        *_score_notes(run),
        *_forecast_notes(run),
    ]
    return told_once(found, [record["results"]["task"] for record in run.stages if "task" in record["results"]])


def _text_notes(run: RunRecords) -> Iterator[str]:
    yield from (f"Text: {note}." for note in run.notes)
    for record in run.of_kind("prepare"):
        results = record["results"]
        for reason, count in (results.get("troubles") or {}).items():
            if count:
                yield f"Text: {count_text(count)} × {reason}."
        for key, words in (
            ("duplicates", "the same as an earlier one, left out (duplicates.jsonl)"),
            ("near_duplicates", "nearly the same as an earlier one, left out (duplicates.jsonl)"),
            ("overlapping", "with 13 words in a row of a task, left out"),
        ):
            if results.get(key):
                yield f"Text: {plural(results[key], 'document')} {words}."
        if reason := (results.get("engine") or {}).get("reason"):
            yield f"Text: encoded by tokenizers, the slower library, because {reason}."
        if results.get("unknown"):
            share = results["unknown"] / max(1, results["words"])
            yield f"Text: the tokenizer did not know {plural(results['unknown'], 'word')} ({100 * share:.3g} % of all)."


def _overlap_notes(run: RunRecords) -> Iterator[str]:
    for record in run.of_kind("overlap"):
        results = record["results"]
        for one in results["sets"]:
            if one["found"]:
                yield (
                    f"{one['task']}: {count_text(one['found'])} rows of {one['set']} share 13 words in a row with the "
                    f"corpus ({count_text(one['checked'])} are long enough to tell; rows.jsonl of the stage overlap)."
                )


def _training_notes(run: RunRecords) -> Iterator[str]:
    for record in run.of_kind("initialise") + run.of_kind("pretrain"):
        results = record["results"]
        yield from (f"{record['name']}: {note}" for note in results.get("notes") or ())
        if results.get("skipped_updates"):
            count = plural(results["skipped_updates"], "update")
            yield f"{record['name']}: {count} skipped, because the loss or the gradient was not finite."
        if results.get("interruptions"):
            yield f"{record['name']}: interrupted and continued {plural(results['interruptions'], 'time')}."
    for record in run.of_kind("expert"):
        results = record["results"]
        yield from (f"{results['task']}, expert {results['expert']}: {note}" for note in results["notes"])
    for record in run.of_kind("choose"):
        if why := undecided_text(record["results"]):
            yield f"{record['results']['task']}, {record['name'].split('/')[2]}: {why}."
    for record in run.of_kind("finetune"):
        results = record["results"]
        if results.get("rows_cut"):
            yield (
                f"{results['task']}: {count_text(results['rows_cut'])} of {count_text(results['rows'])} training rows "
                f"{_cut_words(results)}."
            )
        if results.get("windows"):
            yield (
                f"{results['task']}: {count_text(results['rows'])} training rows became "
                f"{count_text(results['windows'])} windows; the logits of a row's windows are averaged for its answer."
            )
        if results.get("class_weights"):
            weights = ", ".join(f"{name} {weight:.3g}" for name, weight in results["class_weights"].items())
            yield f"{results['task']}: labels count in training by the weights {weights}."
        yield from (f"{results['task']}: {note}" for note in results.get("notes") or ())


def _cut_words(told: Mapping[str, Any]) -> str:
    """Say what became of rows that were too long; older records do not tell the length."""
    longest = f"{count_text(told['longest'])} tokens" if "longest" in told else "the longest input"
    return f"were longer than {longest} and lost the end of their longest text"


def _score_notes(run: RunRecords) -> Iterator[str]:
    for record in run.of_kind("evaluate"):
        results = record["results"]
        for name, one in results["sets"].items():
            if one.get("rows_cut") and name != LEARNT_FROM:
                cut = f"{count_text(one['rows_cut'])} of {count_text(one['rows'])} rows of {name} {_cut_words(one)}."
                yield f"{results['task']}: {cut}"
        yield from (f"{results['task']}: {note}" for note in results.get("notes") or ())
    for row in main_headlines(run):
        if _at_floor(row):
            yield (
                f"{row.task}: {row.variant} has learnt nothing that shows on {row.set}: {metric_text(row.metric)} is "
                "no better than one and the same answer for every row. Give finetune.epochs or pretrain.budget more, "
                "try another finetune.learning_rate, or begin from an encoder trained for longer (encoder.folder)."
            )
    for row in score_rows(run):
        place = f"{row.task}: {metric_text(row.metric)} of {row.variant} on {row.set}"
        if row.mean is None and not row.notes:
            yield f"{place} is undefined; its record gives no reason."
        yield from (f"{place}{' is undefined' if row.mean is None else ''}: {note}" for note in row.notes)
        if row.headline and row.failed_seeds:
            failed, left = (", ".join(map(str, seeds)) for seeds in (row.failed_seeds, row.seeds))
            yield (
                f"{row.task}: of the seeds of {row.variant} failed {failed}; its scores are over {left} alone, and "
                "flatter what does not always learn."
            )
        if row.headline and len(row.seeds) == 1:
            yield f"{row.task}: one seed of {row.variant}, so there is no deviation and no interval over seeds."
    for one in difference_rows(run):
        if not one.clear and one.interval not in (None, _ALIKE):
            yield (
                f"{one.task}: {metric_text(one.metric)} on {one.set} shows no clear difference of {one.a} and {one.b}: "
                f"the interval {interval_text(one.interval, one.metric, signed=True)} holds 0."
            )


def _forecast_notes(run: RunRecords) -> Iterator[str]:
    for row in stage_rows(run):
        if not row.expected_seconds or row.seconds - row.expected_seconds <= _SMALL_EXCESS:
            continue
        if row.seconds > _FAR_FROM_FORECAST * row.expected_seconds:
            yield (
                f"{row.name} took {seconds_text(row.seconds)}; {seconds_text(row.expected_seconds)} were forecast "
                f"({row.seconds / row.expected_seconds:.1f} times as much)."
            )
