"""Early exits as pictures: score against saving, each layer's score, where rows leave, expected against measured.

They are Figures 2 to 6 of Xin et al. 2020 (DeeBERT), with sets out of distribution beside the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bertwright.reports.drawing import COLOURS, DASHES, Chart, Draw, chart, plain_axes, style_of
from bertwright.reports.exits_tables import Records, mean, ramps_by_label
from bertwright.reports.records import RunRecords, variant_places
from bertwright.reports.words import metric_text, plotted

_LINE = 0.13  # inches of a line of a legend
_HEIGHT = 2.6  # inches, of each task
_HATCHES = ("", "///", "...", "xxx", "---", "ooo")


def exits_charts(run: RunRecords) -> list[Chart]:
    """Return the pictures of all tasks whose runs have exits; none where there are none."""
    names = dict.fromkeys(record["results"]["task"] for record in run.of_kind("ramps"))
    tasks = {name: ramps_by_label(run, name) for name in names}
    if not tasks:
        return []
    curves = "Score against expected saving, a point a threshold; means over seeds. A line for each run and set."
    layers = "Score of each layer alone, as if all rows left there; means over seeds."
    shares = "Share of rows that leave at each layer by the policy that was kept, on the headline's set."
    clock = "Expected against measured saving, one row at a time and 32 at once; on the diagonal they are the same."
    return [
        chart(name, caption, _panels(tasks, draw_one, variant_places(run)), _height(tasks))
        for name, caption, draw_one in (
            ("exits", curves, _curves),
            ("exit_layers", layers, _layers),
            ("exit_shares", shares, _shares),
            ("exit_times", clock, _clock),
        )
    ]


def _height(tasks: Mapping[str, Records]) -> float:
    """Return the inches of a panel a task with the names of its lines below it."""
    return sum(
        _HEIGHT + _LINE * -(-sum(len(seeds[0]["sets"]) for seeds in found.values()) // 2) for found in tasks.values()
    )


def _panels(tasks: Mapping[str, Records], draw_one: Any, places: Mapping[str, int]) -> Draw:
    """Return what draws a panel a task, one below the other."""

    def draw(figure: Figure, ink: str) -> None:
        panels = figure.subplots(len(tasks), 1, squeeze=False)[:, 0]
        for axes, (task, found) in zip(panels, tasks.items(), strict=True):
            plain_axes(axes, ink)
            draw_one(axes, found, places, ink)
            axes.set_title(task, loc="left", color=ink)
            if axes.get_legend_handles_labels()[0]:
                below = {"loc": "upper left", "bbox_to_anchor": (0, -0.22), "ncols": 2}
                axes.legend(frameon=False, labelcolor=ink, fontsize=6, borderaxespad=0, **below)

    return draw


def _lines(
    found: Records, places: Mapping[str, int]
) -> list[tuple[str, str, dict[str, Any], Sequence[Mapping[str, Any]]]]:
    """Return label, set, style and records for each line of a panel: colour and mark are a run's, dashes a set's."""
    return [
        (label, name, _style(places[label]) | {"linestyle": DASHES[number % len(DASHES)]}, seeds)
        for label, seeds in found.items()
        for number, name in enumerate(seeds[0]["sets"])
    ]


def _style(place: int) -> dict[str, Any]:
    colour, mark = style_of(place)
    return {"color": colour, "marker": mark, "markersize": 3, "linewidth": 1.2}


def _curves(axes: Axes, found: Records, places: Mapping[str, int], ink: str) -> None:
    for label, name, style, seeds in _lines(found, places):
        curves = [one["sets"][name]["curve"] for one in seeds]
        metric = seeds[0]["sets"][name]["metric"]
        points = list(zip(*curves, strict=True))
        savings = [100 * float(np.mean([one["saving"] for one in point])) for point in points]
        scores = [plotted(mean([one["score"] for one in point]), metric) for point in points]
        axes.plot(savings, scores, **style, label=f"{label}, {name}")
        axes.set_ylabel(metric_text(metric), color=ink)
    axes.set_xlabel("expected saving (%)", color=ink)


def _layers(axes: Axes, found: Records, places: Mapping[str, int], ink: str) -> None:
    for label, name, style, seeds in _lines(found, places):
        metric = seeds[0]["sets"][name]["metric"]
        each = zip(*(one["sets"][name]["scores"] for one in seeds), strict=True)
        scores = [plotted(mean(list(layer)), metric) for layer in each]
        axes.plot(seeds[0]["layers"], scores, **style, label=f"{label}, {name}")
        axes.set_ylabel(metric_text(metric), color=ink)
    axes.set_xlabel("layer", color=ink)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _shares(axes: Axes, found: Records, places: Mapping[str, int], ink: str) -> None:
    width = 0.8 / max(len(found), 1)
    for place, (label, seeds) in enumerate(found.items()):
        headline = seeds[0]["headline"]
        counts = np.mean([one["sets"][headline]["chosen"][0]["counts"] for one in seeds], axis=0)
        where = np.array(seeds[0]["layers"]) + (place - (len(found) - 1) / 2) * width
        hatch = _HATCHES[places[label] % len(_HATCHES)]
        told: dict[str, Any] = {
            "color": style_of(places[label])[0],
            "hatch": hatch,
            "edgecolor": ink,
            "linewidth": 0.4,
            "label": label,
        }
        axes.bar(where, 100 * counts / counts.sum(), width, **told)
    axes.set_xlabel("layer", color=ink)
    axes.set_ylabel("rows that leave (%)", color=ink)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _clock(axes: Axes, found: Records, _places: Mapping[str, int], ink: str) -> None:
    timed = [one for seeds in found.values() for run in seeds for one in run["measured"]]
    for size, marker, colour in ((1, "o", COLOURS[0]), (32, "s", COLOURS[1])):
        own = [one for one in timed if one["batch"] == size]
        places = [100 * one["expected"] for one in own], [100 * one["measured"] for one in own]
        axes.plot(*places, marker, color=colour, markersize=3, label="one row" if size == 1 else f"{size} rows")
    axes.axline((0, 0), slope=1, color=ink, alpha=0.4, linewidth=0.8)
    axes.set_xlabel("expected saving (%)", color=ink)
    axes.set_ylabel("measured (%)", color=ink)
