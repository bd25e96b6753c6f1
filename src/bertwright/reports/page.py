"""The report: one page that opens offline, its pictures as files, and all its numbers as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bertwright import files
from bertwright.reports import tables
from bertwright.reports.answer import answer, main_headlines, notes
from bertwright.reports.charts import charts
from bertwright.reports.closer_tables import closer_tables
from bertwright.reports.cost import cost_table, part_costs
from bertwright.reports.debias_tables import debias_tables
from bertwright.reports.drawing import Chart
from bertwright.reports.exits_tables import exits_tables
from bertwright.reports.facts import encoder_facts, machine_facts, text_facts
from bertwright.reports.glue_table import glue_table
from bertwright.reports.methods_tables import methods_tables
from bertwright.reports.provenance import provenance_tables
from bertwright.reports.records import RunRecords, difference_rows, group_rows, score_rows, stage_rows
from bertwright.reports.rendering import render
from bertwright.reports.table import Table
from bertwright.reports.text_tables import text_tables
from bertwright.reports.trade_off import models, trade_off_table
from bertwright.reports.ways_table import ways_table
from bertwright.reports.words import bytes_text, interval_text, large_text, metric_text, seconds_text, spread_text

FORMAT = 1
"""Version of ``report.json``."""

# Tasks that have a figure on top; the tables hold all of them.
_ON_TOP = 3
# Pictures that stand on top, and with the tasks; the others are of the encoder.
_OVERVIEW = ("trade_off", "scores")
_OF_TASKS = ("reliability", "changes", "guidance", "exits", "exit_layers", "exit_shares", "exit_times")


@dataclass(frozen=True)
class KeyFigure:
    """One figure on top of the page: what it is, the figure, and what goes with it."""

    name: str
    value: str
    detail: str


def write_report(run: RunRecords, folder: Path) -> Path:
    """Write ``report.html``, ``figures/*.png`` and ``report.json`` into a folder, over those of an earlier report.

    Returns the page. Stages that are missing leave their parts out. ``StoreError`` where the folder cannot be written.
    """
    pictures = charts(run)
    html = folder / "report.html"
    files.write_json(folder / "report.json", _numbers(run))
    with files.writing_folder(folder / "figures") as temporary:
        for picture in pictures:
            files.write_bytes(temporary / f"{picture.name}.png", picture.png)
    files.write_text(html, page(run, pictures))
    return html


def page(run: RunRecords, pictures: list[Chart]) -> str:
    """Return the page as HTML; every text from outside is escaped."""
    drawings = {picture.name: picture for picture in pictures}
    overview, of_tasks = (
        [drawings.pop(name) for name in names if name in drawings] for names in (_OVERVIEW, _OF_TASKS)
    )
    return render(
        "page.html.jinja",
        run=run,
        answer=answer(run),
        key_figures=key_figures(run),
        notes=notes(run),
        overview=overview,
        trade_off=trade_off_table(run),
        ways=ways_table(run),
        of_tasks=of_tasks,
        glue=glue_table(run),
        curves=list(drawings.values()),
        tasks=[(task, _task_tables(run, task)) for task in tables.task_names(run)],
        text=text_facts(run),
        text_tables=text_tables(run),
        encoder=encoder_facts(run),
        stages=(cost_table(run), *tables.stage_tables(run)),
        machines=machine_facts(run),
        provenance=provenance_tables(run),
    )


def _task_tables(run: RunRecords, task: str) -> list[Table]:
    scores, differences = tables.score_table(run, task), tables.difference_table(run, task)
    more = (
        *debias_tables(run, task),
        *exits_tables(run, task),
        *methods_tables(run, task),
        *closer_tables(run, task),
        tables.training_table(run, task),
    )
    found = (scores, *tables.group_tables(run, task), differences, *more)
    return [table for table in found if table.rows]


def key_figures(run: RunRecords) -> list[KeyFigure]:
    """Return the figures that stand on top of the page."""
    found = [
        KeyFigure(
            f"{row.task}: {metric_text(row.metric)} on {row.set}",
            spread_text(row.mean, row.deviation, row.metric),
            f"95 % {interval_text(row.interval, row.metric)}, {row.variant}" if row.interval else row.variant,
        )
        for row in main_headlines(run)[:_ON_TOP]
    ]
    for record in run.of_kind("pretrain"):
        results = record["results"]
        start = f"from {results['first_held_out_loss']:.2f}, after {large_text(results['tokens'])} tokens"
        found.append(KeyFigure("held-out loss (nats)", f"{results['held_out_loss']:.2f}", start))
    if run.stages:
        peak = max(record.get("peak_memory_bytes") or 0 for record in run.stages)
        found.append(
            KeyFigure("work of all stages", seconds_text(run.seconds()), f"at most {bytes_text(peak)} of memory")
        )
    return found


def _numbers(run: RunRecords) -> dict[str, Any]:
    """Return everything that the page shows, and the records behind it, as plain values."""
    return {
        "format": FORMAT,
        "name": run.name,
        "created": run.created,
        "command": run.command,
        "answer": answer(run),
        "notes": notes(run),
        "scores": [asdict(row) for row in score_rows(run)],
        "groups": [asdict(row) for row in group_rows(run)],
        "ways": run.ways,
        "glue": [dict(zip(table.columns, row, strict=True)) for table in (glue_table(run),) for row in table.rows],
        "differences": [asdict(row) for row in difference_rows(run)],
        "models": [asdict(one) for one in models(run)],
        "cost": [asdict(one) for one in part_costs(run)],
        "stages": [asdict(row) for row in stage_rows(run)],
        "records": list(run.stages),
        "metrics": dict(run.metrics),
        "forecast": run.forecast,
        "recipe": run.recipe_yaml,
    }
