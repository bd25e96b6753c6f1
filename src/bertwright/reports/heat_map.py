"""How far each bias term moved in each layer, as a picture."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bertwright.reports.drawing import Chart, chart, plain_axes
from bertwright.reports.methods_tables import NOISE, change_grid, noise_of, runs_by_label
from bertwright.reports.records import RunRecords
from bertwright.reports.tables import task_names

_MOST = 3  # panels


def change_chart(run: RunRecords) -> Chart | None:
    """Return a heat map of layers and terms for each task's first method that trains biases; ``None`` without one."""
    found: dict[str, tuple[str, list[str], np.ndarray, set[str]]] = {}
    left = 0
    for task in task_names(run):
        for label, runs in runs_by_label(run, task).items():
            if any(change["layer"] is not None for change in runs[0].get("changes") or ()):
                left += task in found or len(found) == _MOST
                if len(found) < _MOST:
                    found.setdefault(task, (label, *change_grid(runs), noise_of(runs)))
    if not found:
        return None
    heights = [1.5 + 0.16 * len(grid) for _, _, grid, _ in found.values()]

    def draw(figure: Figure, ink: str) -> None:
        panels = figure.subplots(len(found), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (task, (label, names, grid, noise)) in zip(panels, found.items(), strict=True):
            _panel(figure, axes, f"{task}, {label}", names, grid, noise, ink)

    caption = (
        "How far biases moved in each layer (mean of |b - b0| over a term's numbers and seeds; darker is further)."
    )
    caption += f" {left} more are in the tables alone." if left else ""
    caption += NOISE if any(noise for *_, noise in found.values()) else ""
    return chart("changes", caption, draw, sum(heights))


def _panel(
    figure: Figure, axes: Axes, title: str, names: list[str], grid: np.ndarray, noise: set[str], ink: str
) -> None:
    plain_axes(axes, ink)
    axes.grid(visible=False)
    # Cividis is told apart with any colour vision.
    mesh = axes.pcolormesh(np.ma.masked_invalid(grid), cmap="cividis_r", edgecolors="none")
    bar = figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=ink, length=0)
    for place in [names.index(name) for name in noise if name in names]:
        axes.fill_between([place, place + 1], 0, len(grid), facecolor="none", edgecolor="white", hatch="///", alpha=0.7)
    ticks = [f"{name} (noise)" if name in noise else name for name in names]
    axes.set_xticks(np.arange(len(names)) + 0.5, ticks, rotation=35, ha="right")
    axes.set_yticks(np.arange(len(grid)) + 0.5, [str(layer) for layer in range(len(grid))])
    axes.set_ylabel("layer", color=ink)
    axes.set_title(title, loc="left", color=ink)
