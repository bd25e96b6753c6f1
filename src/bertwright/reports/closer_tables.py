"""Tables that look closer at a task: settings that were tried, what is taken for what, rows that are hard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bertwright.reports.records import RunRecords, undecided_text
from bertwright.reports.table import Table
from bertwright.reports.words import ABSENT, count_text, metric_text, score_text, seconds_text

_LONGEST = 120


def closer_tables(run: RunRecords, task: str) -> list[Table]:
    """Return all of a task's; those that have nothing to tell are empty."""
    return [*settings_tables(run, task), *_insights(run, task)]


def settings_tables(run: RunRecords, task: str) -> list[Table]:
    """Return the settings that were tried for a task, the best first, a table for each choice among some."""
    return [_settings(record["results"]) for record in run.of_kind("choose") if record["results"]["task"] == task]


def _settings(found: Mapping[str, Any]) -> Table:
    varied, metric = found["varied"], found["metric"]
    by_sides, sides = found.get("select_by") == "both-sides", any("sides" in row for row in found["table"])
    columns = (
        *(name.replace("_", " ") for name in varied),
        "mean of both sides" if by_sides else metric_text(metric),
        *(("accuracy, expert right", "accuracy, expert wrong") if sides else ()),
        "epochs run",
        "time",
        "what happened",
    )
    cells = tuple(
        (
            *(row[name] if isinstance(row[name], str) else f"{row[name]:g}" for name in varied),
            score_text(row["score"], metric),
            *(_side(row, name) for name in ("expert_right", "expert_wrong") if sides),
            f"{row['epochs']:g}",
            seconds_text(row["seconds"]),
            row["failed"] or row["note"] or "",
        )
        for row in found["table"]
    )
    where = "rows kept back from train" if found["select_on"] == "holdout" else "dev"
    why = undecided_text(found)
    order = f"{why[0].upper()}{why[1:]}" if why else "The best come first"
    caption = f"Scored on {found['rows']:,} rows: {where}. {order}."
    if found["epochs_spent"] < found["epochs_of_all"]:
        caption += (
            f" So far {found['epochs_spent']:g} epochs of the {found['epochs_of_all']:g} that trying every setting to "
            "its end takes."
        )
    if found["select_on"] == "dev":
        caption += " The best of many on dev is optimistic about dev."
    if "within" in found:
        caption += (
            f" The fewest terms whose score is at most {found['within']:g} points below that of all of them "
            f"({score_text(found['of_all_terms'], metric)}) are taken."
        )
    title = f"Settings tried for {found['task']}, {found['variant']}"
    title += "" if found["share"] == 1 else f", for {100 * found['share']:.0f} % of their epochs"
    return Table(title, columns, cells, caption, frozenset(columns[:-1]), frozenset({0}))


def _side(row: Mapping[str, Any], name: str) -> str:
    """Return the accuracy on the rows that the expert has right, or wrong, and how many they are."""
    one = row.get("sides", {}).get(name)
    return ABSENT if one is None else f"{score_text(one['accuracy'], 'accuracy')} of {count_text(one['rows'])}"


def _insights(run: RunRecords, task: str) -> Iterator[Table]:
    """Give confusion and hard rows of the main variant on the set of the headline."""
    for record in run.of_kind("evaluate"):
        results = record["results"]
        if results["task"] != task:
            continue
        main, name = results["variants"][0], results["headline"]["set"]
        found = main.get("insight", {}).get(name, {})
        labels = results["labels"]
        if "confusion" in found:
            yield _confusion(f"{task}, {main['variant']}, {name}", labels, found["confusion"])
        if found.get("often_wrong"):
            yield _hard_rows(f"{task}, {main['variant']}, {name}", found["often_wrong"])


def _confusion(what: str, labels: list[str], table: list[list[float]]) -> Table:
    columns = ("gold", *labels)
    cells = tuple((label, *(f"{count:g}" for count in row)) for label, row in zip(labels, table, strict=True))
    caption = "Rows of each gold label (down) by the answer given (across); means over seeds."
    return Table(f"What is taken for what: {what}", columns, cells, caption, frozenset(labels))


def _hard_rows(what: str, rows: list[Mapping[str, Any]]) -> Table:
    columns = ("id", "text", "gold", "answered", "wrong in", "chance of gold")
    cells = tuple(
        (
            str(row["id"]),
            _short(" | ".join(row["text"])),
            row["gold"],
            ", ".join(row["said"]),
            f"{row['wrong']} of {row['of']}",
            f"{100 * row['chance']:.1f} %",
        )
        for row in rows
    )
    caption = "The rows that most seeds got wrong, the surest mistakes first. Some of them are errors of the labels."
    return Table(f"Rows most often wrong: {what}", columns, cells, caption, frozenset({"wrong in", "chance of gold"}))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
