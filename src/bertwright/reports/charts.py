"""Curves and scores as pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from bertwright.reports.drawing import COLOURS, Chart, Draw, chart, plain_axes, style_of
from bertwright.reports.exits_charts import exits_charts
from bertwright.reports.guidance_chart import guidance_chart
from bertwright.reports.heat_map import change_chart
from bertwright.reports.records import RunRecords, ScoreRow, score_rows, variant_places
from bertwright.reports.trade_off_chart import trade_off_chart
from bertwright.reports.words import in_points, metric_text

_HEIGHT = 2.9  # inches
_POINTS = 400  # most points of a curve; longer ones are averaged in windows
_FIRST, _OTHER = COLOURS[:2]


def charts(run: RunRecords) -> list[Chart]:
    """Return the pictures of a run: curves of pretraining where there was one, and those of tasks."""
    found = []
    for record in run.of_kind("pretrain"):
        found += curves(run.metrics.get(record["name"], []))
    of_tasks = (trade_off_chart, score_chart, reliability_chart, change_chart, guidance_chart)
    found += [picture for make in of_tasks if (picture := make(run)) is not None]
    return [*found, *exits_charts(run)]


def curves(rows: Sequence[dict[str, Any]]) -> list[Chart]:
    """Return loss over tokens and over time, learning rate and gradient norm, from the rows of one training."""
    found = []
    wanted = (
        ("loss_over_tokens", "tokens", ("loss", "held_out_loss"), "loss (nats)", "Loss over tokens seen."),
        ("loss_over_time", "seconds", ("loss", "held_out_loss"), "loss (nats)", "Loss over time."),
        ("learning_rate", "tokens", ("learning_rate",), "learning rate", "Learning rate over tokens seen."),
        ("gradient_norm", "tokens", ("norm",), "gradient norm", "Gradient norm before clipping, over tokens seen."),
    )
    for name, across, keys, label, caption in wanted:
        lines = {key: _line(rows, across, key) for key in keys}
        longest = max(len(x) for x, _ in lines.values())
        if longest == 0:
            continue
        if longest > _POINTS:
            caption += f" Points are means of {_window(longest)} rows of the log."
        found.append(chart(name, caption, _curve(lines, across, label), _HEIGHT))
    return found


def _line(rows: Sequence[dict[str, Any]], across: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(row[across], row[key]) for row in rows if row.get(key) is not None and row.get(across) is not None]
    x, y = np.array(pairs, dtype=float).reshape(-1, 2).T
    return x, y


def _window(count: int) -> int:
    """Return how many rows one point stands for, so that a curve has at most ``_POINTS`` of them."""
    return max(1, math.ceil(count / _POINTS))


def thinned(values: np.ndarray) -> np.ndarray:
    """Return a curve with at most ``_POINTS`` points, each the mean of a window of rows."""
    window = _window(len(values))
    return np.array([values[start : start + window].mean() for start in range(0, len(values), window)])


def _curve(lines: dict[str, tuple[np.ndarray, np.ndarray]], across: str, label: str) -> Draw:
    last = max(float(x[-1]) for x, _ in lines.values() if len(x))
    unit, scale = _time_unit(last) if across == "seconds" else ("", 1.0)

    def draw(figure: Figure, ink: str) -> None:
        axes = figure.subplots()
        plain_axes(axes, ink)
        for key, (x, y) in lines.items():
            held_out = key == "held_out_loss"
            if len(x):
                axes.plot(
                    thinned(x) / scale,
                    thinned(y),
                    color=_OTHER if held_out else _FIRST,
                    linewidth=1.8 if held_out else 1.1,
                    marker="s" if held_out and len(x) <= 60 else None,
                    markersize=3.5,
                    label={"loss": "training", "held_out_loss": "held out"}.get(key, key),
                )
        axes.set_xlabel(f"time ({unit})" if unit else "tokens seen", color=ink)
        axes.set_ylabel(label, color=ink)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        if not unit:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if len(lines) > 1:
            axes.legend(frameon=False, labelcolor=ink)

    return draw


def _time_unit(seconds: float) -> tuple[str, float]:
    """Return the unit that suits a span and the seconds in it."""
    if seconds < 180:
        return "s", 1.0
    return ("min", 60.0) if seconds < 3 * 3600 else ("h", 3600.0)


def score_chart(run: RunRecords) -> Chart | None:
    """Return the headline scores, a panel a task: each seed, the mean with its 95 % interval, the floor."""
    tasks: dict[str, list[ScoreRow]] = {}
    for row in score_rows(run):
        if row.headline and row.mean is not None:
            tasks.setdefault(row.task, []).append(row)
    if not tasks:
        return None
    heights = [0.72 + 0.27 * len(rows) for rows in tasks.values()]
    places = variant_places(run)

    def draw(figure: Figure, ink: str) -> None:
        panels = figure.subplots(len(tasks), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, rows in zip(panels, tasks.values(), strict=True):
            _panel(axes, rows, places, ink)

    caption = (
        "Headline scores: small circles are seeds, the large mark is their mean with its 95 % interval, "
        "the broken line is the floor. A metric that is undefined has no mark."
    )
    return chart("scores", caption, draw, sum(heights))


def _panel(axes: Axes, rows: Sequence[ScoreRow], places: Mapping[str, int], ink: str) -> None:
    scale = 100.0 if in_points(rows[0].metric) else 1.0
    plain_axes(axes, ink)
    axes.grid(visible=False, axis="y")
    for place, row in enumerate(rows):
        colour, mark = style_of(places[row.variant])
        values = [scale * value for value in row.values if value is not None]
        if row.interval is not None:
            axes.plot([scale * end for end in row.interval], [place, place], color=colour, linewidth=2, alpha=0.6)
        if len(values) > 1:
            axes.plot(values, [place] * len(values), "o", markersize=3.5, markerfacecolor="none", color=ink, alpha=0.7)
        axes.plot([scale * (row.mean or 0.0)], [place], mark, markersize=7, color=colour)
    if rows[0].floor is not None:
        axes.axvline(scale * rows[0].floor, color=ink, linewidth=1, linestyle=(0, (4, 3)), alpha=0.7)
    axes.set_yticks(range(len(rows)), [row.variant for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    points = " (points)" if scale > 1 else ""
    axes.set_title(f"{rows[0].task}: {metric_text(rows[0].metric)}{points} on {rows[0].set}", loc="left", color=ink)


def reliability_chart(run: RunRecords) -> Chart | None:
    """Return how often answers are right against how sure they are, a panel a task; ``None`` without classes."""
    found: dict[str, dict[str, Any]] = {}
    for record in run.of_kind("evaluate"):
        results = record["results"]
        told = results["variants"][0].get("insight", {}).get(results["headline"]["set"], {})
        if "calibration" in told:
            found[f"{results['task']}, {results['headline']['set']}"] = told["calibration"]
    if not found:
        return None

    def draw(figure: Figure, ink: str) -> None:
        panels = figure.subplots(len(found), 1, squeeze=False)[:, 0]
        for axes, (title, told) in zip(panels, found.items(), strict=True):
            plain_axes(axes, ink)
            sizes = np.array([one["count"] for one in told["bins"]])
            sure, right = ([100 * one[key] for one in told["bins"]] for key in ("confidence", "right"))
            axes.plot([0, 100], [0, 100], color=ink, linewidth=1, linestyle=(0, (4, 3)), alpha=0.7)
            axes.scatter(sure, right, s=12 + 120 * sizes / sizes.max(), color=_FIRST, alpha=0.8, linewidths=0)
            axes.set_xlim(min(*sure, 50) - 4, 104)
            axes.set_ylim(-4, 104)
            axes.set_title(f"{title}: calibration error {100 * told['error']:.1f} points", loc="left", color=ink)
            axes.set_ylabel("right, %", color=ink)
        panels[-1].set_xlabel("confidence of the answer, %", color=ink)

    caption = (
        "Confidence and truth, over all seeds of the first variant: dots on the broken line are as often right as they "
        "say; below it they are too sure. A dot's size is its number of answers."
    )
    return chart("reliability", caption, draw, 2.1 * len(found) + 0.4)
