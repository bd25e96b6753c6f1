"""What methods of fine-tuning train, how far bias terms moved, and the gap to rows that a run has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bertwright.reports.records import RunRecords
from bertwright.reports.table import Table
from bertwright.reports.words import ABSENT, bytes_text, count_text, interval_text, score_text

NOISE = (
    " A key's movement is noise: softmax takes its bias out, so its gradient is rounding, which Adam makes into steps."
)


def methods_tables(run: RunRecords, task: str) -> list[Table]:
    """Return all of a task's; those that have nothing to tell are empty."""
    return [_parameters(run, task), _gaps(run, task), _changes(run, task)]


def _parameters(run: RunRecords, task: str) -> Table:
    """Return how many numbers each method trains, the parts apart, where one trains less than everything."""
    found = {label: runs[0] for label, runs in runs_by_label(run, task).items() if "counts" in runs[0]}
    columns = ("variant", "method", "body", "pooler", "head", "in all", "of the encoder", "pack")
    cells = tuple(
        (
            label,
            one["method"],
            *(count_text(one["counts"][part]) for part in ("body", "pooler", "head", "total")),
            f"{100 * one['counts']['body'] / one['counts']['of']:.3f} %",
            bytes_text(one["pack_bytes"]) if "pack_bytes" in one else ABSENT,
        )
        for label, one in found.items()
    )
    caption = (
        "Numbers that learn: of the encoder's body, of a pooler that came with it, of the head. The share is the "
        "body's of the encoder; a pack is the file that holds all that a task needs beside the encoder."
    )
    some = any(one["method"] != "full" for one in found.values())
    return Table(f"What learns: {task}", columns, cells if some else (), caption, frozenset(columns[2:]))


def _gaps(run: RunRecords, task: str) -> Table:
    """Return how much better each variant does on rows that it learnt from."""
    columns = ("variant", "method", "on rows learnt from", "on rows not seen", "gap", "95 % interval")
    cells, caption = [], ""
    for record in run.of_kind("evaluate"):
        results = record["results"]
        for variant in results["variants"] if results["task"] == task else ():
            if (gap := variant.get("gap")) is None:
                continue
            metric, name = gap["metric"], gap["set"]
            told = [score_text(gap[part], metric) for part in ("seen", "unseen")]
            gap_text = score_text(gap["mean"], metric, signed=True)
            interval = interval_text(gap["interval"], metric, signed=True)
            cells.append((variant["variant"], variant["method"], *told, gap_text, interval))
            caption = (
                f"Rows learnt from: {gap['rows']:,} training rows; rows not seen: "
                f"{name}; the interval of the gap is over seeds."
            )
    return Table(f"Generalisation gap: {task}", columns, tuple(cells), caption, frozenset(columns[2:]))


def _changes(run: RunRecords, task: str) -> Table:
    """Return the bias terms by how far they moved, means over layers and seeds."""
    found = {label: runs for label, runs in runs_by_label(run, task).items() if runs[0].get("changes")}
    columns = ("term", *found)
    noise = noise_of([one for runs in found.values() for one in runs])
    moved = [_by_term(runs) for runs in found.values()]
    names = sorted({name for one in moved for name in one}, key=lambda name: -max(one.get(name, 0.0) for one in moved))
    cells = tuple(
        (
            f"{name} (noise)" if name in noise else name,
            *(f"{one[name]:.2e}" if name in one else ABSENT for one in moved),
        )
        for name in names
    )
    caption = "Mean of |b - b0| over a term's numbers, layers and seeds: the terms that moved most come first." + (
        NOISE if noise else ""
    )
    return Table(f"How far biases moved: {task}", columns, cells, caption, frozenset(columns[1:]))


def _by_term(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for one in runs:
        for change in one["changes"]:
            found.setdefault(change["term"], []).append(change["change"])
    return {name: float(np.mean(values)) for name, values in found.items()}


def noise_of(runs: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the terms whose movement says nothing."""
    return {change["term"] for one in runs for change in one.get("changes") or () if change["noise"]}


def change_grid(runs: Sequence[Mapping[str, Any]]) -> tuple[list[str], np.ndarray]:
    """Return names of the terms in layers, and how far each moved in each layer, (layers, terms): means over runs.

    What does not learn is NaN.
    """
    moved: dict[tuple[int, str], list[float]] = {}
    for one in runs:
        for change in one["changes"]:
            if change["layer"] is not None:
                moved.setdefault((change["layer"], change["term"]), []).append(change["change"])
    names = list(dict.fromkeys(name for _, name in moved))
    grid = np.full((max(layer for layer, _ in moved) + 1, len(names)), np.nan)
    for (layer, name), values in moved.items():
        grid[layer, names.index(name)] = np.mean(values)
    return names, grid


def runs_by_label(run: RunRecords, task: str) -> dict[str, list[Mapping[str, Any]]]:
    """Return results of a task's runs by what their encoder and method are called together."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in run.of_kind("finetune"):
        label, seed = record["name"].split("/")[-2:]
        if record["results"]["task"] == task and seed.startswith("seed-"):  # not the one that other tasks start from
            found.setdefault(label, []).append(record["results"])
    return found
