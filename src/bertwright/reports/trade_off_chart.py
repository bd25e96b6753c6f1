"""One picture of every model and exit policy: score against what it costs to train and to answer."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from bertwright.reports.drawing import Chart, chart, plain_axes, style_of
from bertwright.reports.records import RunRecords, variant_places
from bertwright.reports.trade_off import Model, models
from bertwright.reports.words import large_text, metric_text, plotted

_MOST = 6  # tasks that are drawn; the table has all
_HEIGHT = 2.0  # inches of a task
_LINE = 0.17  # inches of a line of the legend
_BESIDE = 1.35  # times as far to the right


def trade_off_chart(run: RunRecords) -> Chart | None:
    """Return a row of panels a task: trained parameters, and share of layers run where any variant leaves early.

    ``None`` where no task has two models to set against each other.
    """
    tasks: dict[str, list[Model]] = {}
    for one in models(run):
        if one.quality is not None:
            tasks.setdefault(one.task, []).append(one)
    told = {task: found for task, found in tasks.items() if len(found) > 1}
    shown = dict(list(told.items())[:_MOST])
    if not shown:
        return None
    there = {one.variant for found in shown.values() for one in found}
    places = {name: place for name, place in variant_places(run).items() if name in there}

    def draw(figure: Figure, ink: str) -> None:
        rows = figure.subfigures(len(shown), 1, squeeze=False)[:, 0]
        for row, (task, found) in zip(rows, shown.items(), strict=True):
            row.patch.set_visible(False)
            early = any(one.policy for one in found)
            panels = row.subplots(1, 1 + early, squeeze=False, sharey=True)[0]
            _by_parameters(panels[0], found, places, ink)
            if early:
                _by_layers(panels[1], found, places, ink)
            panels[0].set_ylabel(textwrap.fill(metric_text(found[0].metric), 14), color=ink)
            panels[0].set_title(task, loc="left", color=ink)
        _legend(figure, list(shown.values()), places, ink)

    height = _HEIGHT * len(shown) + _LINE * (len(places) // 2 + 3)
    return chart("trade_off", _caption(len(told) - len(shown)), draw, height)


def _caption(left: int) -> str:
    more = f" {left} more tasks are in the table alone." if left else ""
    return (
        "Every model and exit policy: up is better, left is cheaper. Filled marks are the headline's set with its 95 % "
        "interval over seeds, hollow ones are sets out of distribution. Marks close beside each other train the same "
        f"number of parameters; a line joins a variant's exit policies with the whole model at 100 %.{more}"
    )


def _point(axes: Axes, x: float, one: Model, place: int) -> None:
    """Draw a model's score, and those out of distribution straight below or above it."""
    colour, mark = style_of(place)
    whole: dict[str, Any] = {"color": colour, "marker": mark, "linestyle": "none"}
    axes.plot([x], [plotted(one.quality, one.metric)], markersize=6, **whole)
    scores = [plotted(score, metric) for metric, score in one.robustness.values()]
    axes.plot([x] * len(scores), scores, markersize=6, markerfacecolor="none", **whole)


def _by_parameters(axes: Axes, found: Sequence[Model], places: Mapping[str, int], ink: str) -> None:
    plain_axes(axes, ink)
    wholes = [one for one in found if one.policy is None and one.trained_parameters]
    counts = [one.trained_parameters or 0 for one in wholes]
    for number, one in enumerate(wholes):
        # Models that train the same number of parameters stand beside each other.
        x = counts[number] * _BESIDE ** (counts[:number].count(counts[number]) - (counts.count(counts[number]) - 1) / 2)
        if one.interval is not None:
            ends = [plotted(end, one.metric) for end in one.interval]
            axes.plot([x, x], ends, color=style_of(places[one.variant])[0], linewidth=1.4, alpha=0.6)
        _point(axes, x, one, places[one.variant])
    axes.set_xscale("log")
    if counts:
        axes.set_xlim(min(counts) / 2.5, 2.5 * max(counts))
    axes.xaxis.set_major_locator(LogLocator(10))
    axes.xaxis.set_major_formatter(lambda value, _place: large_text(value).replace(" million", "M"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", length=0)
    axes.set_xlabel("trained parameters", color=ink)


def _by_layers(axes: Axes, found: Sequence[Model], places: Mapping[str, int], ink: str) -> None:
    plain_axes(axes, ink)
    for variant in dict.fromkeys(one.variant for one in found):
        own = sorted((one for one in found if one.variant == variant), key=lambda one: one.layers)
        colour, _ = style_of(places[variant])
        shares = [100 * one.layers for one in own]
        for one, share in zip(own, shares, strict=True):
            _point(axes, share, one, places[variant])
        axes.plot(shares, [plotted(one.quality, one.metric) for one in own], color=colour, linewidth=1.2)
        for name in own[-1].robustness:
            scores = [plotted(one.robustness.get(name, ("", None))[1], one.metric) for one in own]
            axes.plot(shares, scores, color=colour, linewidth=1.0, linestyle="--")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("layers run (%)", color=ink)


def _legend(figure: Figure, found: Sequence[Sequence[Model]], places: Mapping[str, int], ink: str) -> None:
    marks = [
        Line2D([], [], color=style_of(place)[0], marker=style_of(place)[1], linestyle="none", label=name)
        for name, place in places.items()
    ]
    names = dict.fromkeys(name for task in found for one in task for name in one.robustness)
    if names:
        told = f"hollow: {', '.join(names)}"
        marks.append(Line2D([], [], color=ink, marker="o", markerfacecolor="none", linestyle="--", label=told))
    figure.legend(handles=marks, loc="outside lower left", ncols=2, frameon=False, labelcolor=ink, fontsize=8)
