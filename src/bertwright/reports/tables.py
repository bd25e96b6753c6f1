"""Tables of scores, groups, differences, stages and trainings, and a run in lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bertwright.reports.answer import answer, notes
from bertwright.reports.records import (
    DifferenceRow,
    GroupRow,
    RunRecords,
    ScoreRow,
    StageRow,
    difference_rows,
    group_rows,
    score_rows,
    stage_rows,
)
from bertwright.reports.table import Table
from bertwright.reports.ways_table import ways_table
from bertwright.reports.words import (
    ABSENT,
    bytes_text,
    count_text,
    in_points,
    interval_text,
    metric_text,
    plural,
    ratio_text,
    score_text,
    seconds_text,
    spread_text,
)

# A terminal is narrow and short: memory and disk go without their forecasts, and tables of many groups are left out;
# the page has them.
_GROUPS_IN_BRIEF = 12
_STAGES_IN_BRIEF = ("stage", "time", "forecast", "ratio", "memory", "disk", "this time")
# The page shows the stages in two tables, each as wide as a page.
_REUSE = "Reused: the stage was finished before and taken from the store as it was. Times of day are UTC."
_TIME = ("stage", "time", "forecast", "ratio", "began", "this time")


def summary_lines(run: RunRecords) -> list[str]:
    """Return the run in lines for a terminal: answer, headline scores, differences, stages, notes, measured ways."""
    groups = [table for task in task_names(run) for table in group_tables(run, task, most=_GROUPS_IN_BRIEF)]
    tables = [headline_table(run), headline_differences(run), *groups, stage_table(run).only(_STAGES_IN_BRIEF)]
    lines = [run.name, answer(run), *(line for table in tables for line in table.told())]
    if found := notes(run):
        lines += ["", "Notes", *(f"- {note}" for note in found)]
    return lines + ways_table(run).told()


def task_names(run: RunRecords) -> list[str]:
    """Return the tasks with runs or scores, in the order of the run."""
    return list(dict.fromkeys(r["results"]["task"] for r in run.of_kind("finetune") + run.of_kind("evaluate")))


def headline_table(run: RunRecords) -> Table:
    """Return the headline metric of every task and variant."""
    rows = [row for row in score_rows(run) if row.headline]
    columns = ("task", "set", "metric", "variant", "mean ± sd", "95 % interval", "seeds", "floor")
    cells = tuple(
        (
            row.task,
            row.set,
            metric_text(row.metric),
            row.variant,
            spread_text(row.mean, row.deviation, row.metric),
            interval_text(row.interval, row.metric),
            _seeds(row),
            _floor(row),
        )
        for row in rows
    )
    return Table("Scores", columns, cells, _what(rows), frozenset(columns[4:]))


def score_table(run: RunRecords, task: str) -> Table:
    """Return every score of one task: sets, metrics and variants."""
    rows = [row for row in score_rows(run) if row.task == task]
    # The headline first; then the variants of one set and metric together, for the eye to compare.
    order = list(dict.fromkeys((row.set, row.metric) for row in rows))
    rows.sort(key=lambda row: (not row.headline, order.index((row.set, row.metric))))
    columns = (
        "set",
        "metric",
        "variant",
        "method",
        "mean ± sd",
        "95 % interval",
        "each seed",
        "seeds",
        "settings tried",
        "floor",
    )
    cells = tuple(
        (
            row.set,
            metric_text(row.metric),
            row.variant,
            row.method,
            spread_text(row.mean, row.deviation, row.metric),
            interval_text(row.interval, row.metric),
            ", ".join(score_text(value, row.metric) for value in row.values),
            _seeds(row),
            str(row.settings_tried),
            _floor(row),
        )
        for row in rows
    )
    strong = frozenset(number for number, row in enumerate(rows) if row.headline)
    numeric = frozenset(columns) - {"set", "metric", "variant", "method"}
    return Table(f"Scores of {task}", columns, cells, _what(rows), numeric, strong)


def group_tables(run: RunRecords, task: str, *, most: int | None = None) -> list[Table]:
    """Return a table for each set and column that rows of a task are told apart by, of at most ``most`` values."""
    found: dict[tuple[str, str], list[GroupRow]] = {}
    for row in group_rows(run):
        if row.task == task:
            found.setdefault((row.set, row.group), []).append(row)
    whole = [row for row in score_rows(run) if row.task == task]
    return [
        _groups(task, *key, [row for row in whole if (row.set, row.metric) == (key[0], rows[0].metric)], rows)
        for key, rows in found.items()
        if most is None or len({row.value for row in rows}) <= most
    ]


def _groups(task: str, set_name: str, group: str, whole: Sequence[ScoreRow], rows: Sequence[GroupRow]) -> Table:
    columns = (group, "rows", "variant", "mean ± sd", "95 % interval")
    every: list[tuple[str, ScoreRow | GroupRow]] = [("all rows", row) for row in whole]
    every += [(row.value, row) for row in rows]
    cells = tuple(
        (
            value,
            count_text(row.rows),
            row.variant,
            spread_text(row.mean, row.deviation, row.metric),
            interval_text(row.interval, row.metric),
        )
        for value, row in every
    )
    caption = f"{metric_text(rows[0].metric).capitalize()} on the rows of each value, over seeds."
    numeric = frozenset({"rows", "mean ± sd", "95 % interval"})
    return Table(f"{task}: {set_name} by {group}", columns, cells, caption, numeric)


def _floor(row: ScoreRow) -> str:
    return ABSENT if row.floor is None else score_text(row.floor, row.metric)


def _seeds(row: ScoreRow) -> str:
    """Return how many seeds there are, and how many failed where some did."""
    return f"{len(row.seeds)}" + (f", {len(row.failed_seeds)} failed" if row.failed_seeds else "")


def _what(rows: Sequence[ScoreRow]) -> str:
    """Say what the averages are: seeds, sets, number of settings tried, protocol."""
    if not rows:
        return ""
    seeds = sorted({seed for row in rows for seed in row.seeds})
    sets = dict.fromkeys(f"{row.set} ({plural(row.rows, 'row')})" if row.rows else row.set for row in rows)
    places = ", ".join(sets) if len({row.task for row in rows}) == 1 else "the set named in each row"
    tried = max(row.settings_tried for row in rows)
    chosen = "one setting tried" if tried == 1 else f"up to {plural(tried, 'setting')} tried"
    protocols = " and ".join(sorted({row.protocol for row in rows if row.protocol}))
    protocol = f" Protocol: {protocols}." if protocols else ""
    scale = " Scores are in points of 100." if any(in_points(row.metric) for row in rows) else ""
    return (
        f"Mean and standard deviation over {plural(len(seeds), 'seed')} ({', '.join(map(str, seeds))}) on {places}; "
        f"95 % interval of the mean by Student's t; {chosen}.{protocol} "
        f"Floor: one and the same answer for every row.{scale}"
    )


def headline_differences(run: RunRecords) -> Table:
    """Return the differences between variants in the headline metric of every task."""
    main = {(row.task, row.set, row.metric) for row in score_rows(run) if row.headline}
    rows = [one for one in difference_rows(run) if (one.task, one.set, one.metric) in main]
    return _differences("Differences", rows, with_task=True)


def difference_table(run: RunRecords, task: str) -> Table:
    """Return every difference between variants of one task."""
    return _differences(f"Differences in {task}", [one for one in difference_rows(run) if one.task == task])


def _differences(title: str, rows: Sequence[DifferenceRow], *, with_task: bool = False) -> Table:
    columns: tuple[str, ...] = ("set", "metric", "variants", "difference", "95 % interval", "verdict")
    cells: list[tuple[str, ...]] = [
        (
            one.set,
            metric_text(one.metric),
            f"{one.a} against {one.b}",
            score_text(one.difference, one.metric, signed=True),
            interval_text(one.interval, one.metric, signed=True, undefined=one.undefined),
            verdict(one),
        )
        for one in rows
    ]
    if with_task:
        columns = ("task", *columns)
        cells = [(one.task, *row) for one, row in zip(rows, cells, strict=True)]
    caption = f"{_bootstrap(rows)}; + means that the first variant scores higher."
    if any(one.undefined for one in rows):
        caption += (
            " Samples in which a score is undefined are left out; where they are more than 5 % there is no interval."
        )
    return Table(title, columns, tuple(cells), caption, frozenset({"difference", "95 % interval"}))


def _bootstrap(rows: Sequence[DifferenceRow]) -> str:
    """Say what a sample draws: rows that are the same for both variants, and seeds that are where both ran them."""
    together = {one.same_seeds for one in rows}
    if together == {True}:
        return "Paired bootstrap: each sample draws examples and seeds, the same for both variants"
    apart = "Paired bootstrap: each sample draws examples, the same for both variants, and seeds, for each apart"
    return apart if together != {True, False} else f"{apart} unless both ran the same ones"


def verdict(one: DifferenceRow) -> str:
    """Say whether a difference may be called one."""
    if one.clear:
        return "clear"
    if one.interval is not None:
        return "not clear: the interval holds 0"
    why = f", as a score is undefined in {100 * one.undefined:.1f} % of the samples" if one.undefined else ""
    return f"not clear: no interval{why}"


def stage_table(run: RunRecords) -> Table:
    """Return forecast beside fact for each stage: time, memory and disk, each with its ratio."""
    rows = stage_rows(run)
    columns = ["stage", "time", "forecast", "ratio", "memory", "forecast memory", "ratio of memory"]
    columns += ["disk", "forecast disk", "ratio of disk", "began", "this time"]
    if all(row.expected_seconds is None for row in rows):
        kept = [column for column in columns if not column.startswith(("forecast", "ratio"))]
        caption = "No forecast was kept for these stages. Memory is the largest; runs of one task are added up."
    else:
        kept = columns
        caption = (
            "Fact, then what was forecast before work started; the ratio is fact / forecast. "
            "Memory is the largest of any run; time and disk of the runs of one task are added up."
        )
    if run.reused is None:
        kept = kept[:-1]
    numeric = frozenset(columns) - {"stage", "began", "this time"}
    return Table("Stages", tuple(columns), tuple(map(_stage_cells, rows)), caption, numeric).only(kept)


def stage_tables(run: RunRecords) -> tuple[Table, Table]:
    """Return the stages in two tables: time, then memory and disk."""
    whole = stage_table(run)
    space = ["stage", *(column for column in whole.columns if column not in _TIME)]
    time = replace(whole.only(_TIME), title="Time", caption=_REUSE if run.reused else "Times of day are UTC.")
    return time, replace(whole.only(space), title="Memory and disk")


def _stage_cells(row: StageRow) -> tuple[str, ...]:
    return (
        row.name if row.runs == 1 else f"{row.name} ({plural(row.runs, 'run')})",
        seconds_text(row.seconds),
        seconds_text(row.expected_seconds),
        ratio_text(row.seconds, row.expected_seconds),
        bytes_text(row.memory_bytes),
        bytes_text(row.expected_memory_bytes),
        ratio_text(row.memory_bytes, row.expected_memory_bytes),
        bytes_text(row.disk_bytes),
        bytes_text(row.expected_disk_bytes),
        ratio_text(row.disk_bytes, row.expected_disk_bytes),
        row.started[:16].replace("T", " "),
        _reuse(row),
    )


def _reuse(row: StageRow) -> str:
    if not row.reused:
        return "run"
    return "reused" if row.reused == row.runs else f"{row.reused} of {row.runs} reused"


def training_table(run: RunRecords, task: str) -> Table:
    """Return the fine-tuning runs of one task, those of one variant, method and setting on one row."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for record in run.of_kind("finetune"):
        results = record["results"]
        if results["task"] == task:
            setting = ", ".join(
                f"{key.replace('_', ' ')} {_value(value)}" for key, value in (results.get("settings") or {}).items()
            )
            label = record["name"].split("/")[-2]
            groups.setdefault((label, results["method"], setting), []).append(results)
    numbers = ("runs", "steps", "rows", "rows cut", "train loss", "rows/s", "time")
    columns = ("variant", "method", "settings", "trained parameters", *numbers)
    cells = tuple(
        (
            variant,
            method,
            setting or ABSENT,
            f"{count_text(runs[0]['trained_parameters'])} of {count_text(runs[0]['parameters'])}",
            str(len(runs)),
            count_text(runs[0]["steps"]),
            count_text(runs[0]["rows"]),
            count_text(max(one["rows_cut"] for one in runs)),
            _mean_loss([one["train_loss"] for one in runs]),
            count_text(_mean([one["rows_per_second"] for one in runs])),
            seconds_text(sum(one["seconds"] for one in runs)),
        )
        for (variant, method, setting), runs in groups.items()
    )
    caption = "Train loss and rows/s are means over the runs (one run a seed); the time is that of all runs together."
    numeric = frozenset(columns[3:])
    return Table(f"Fine-tuning of {task}", columns, cells, caption, numeric)


def _mean_loss(values: Sequence[float | None]) -> str:
    """Return the mean; a run that a kill caught after its last step has no loss to tell when it is continued."""
    known = [value for value in values if value is not None]
    return f"{_mean(known):.3f}" if known else ABSENT


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "off" if value is None else str(value)
