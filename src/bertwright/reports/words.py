"""Numbers as people write them: spans of time, sizes, counts, scores, intervals; and notes, each said once.

Scores that lie between -1 and 1 are written in points of 100 (0.842 is 84.2); errors are written as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

ABSENT = "–"
"""Stands where there is nothing to say: not measured, not forecast, only one seed."""

_METRIC_NAMES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "document_micro_f1": "micro F1 of documents",
    "matthews": "Matthews correlation",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
}


def seconds_text(seconds: float | None) -> str:
    """Return a span of time: ``8.3 s``, ``45 s``, ``12 min``, ``3.4 h``."""
    if seconds is None:
        return ABSENT
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def bytes_text(count: float | None) -> str:
    """Return a number of bytes with a decimal unit: ``1.2 GB``."""
    if count is None:
        return ABSENT
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"


def count_text(count: float | None) -> str:
    """Return a whole number with its thousands apart: ``1,234,567``."""
    return ABSENT if count is None else f"{count:,.0f}"


def large_text(count: float) -> str:
    """Return a large number in short: ``11.2 million``."""
    for word, size in (("billion", 1e9), ("million", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {word}"
    return f"{count:,.0f}"


def ratio_text(fact: float | None, forecast: float | None) -> str:
    """Return how many times the forecast the fact was: ``1.08×``."""
    return ABSENT if fact is None or not forecast else f"{fact / forecast:.2f}×"


def metric_text(metric: str) -> str:
    """Return a metric's name as a reader knows it."""
    return _METRIC_NAMES.get(metric, metric.replace("_", " "))


def in_points(metric: str) -> bool:
    """Whether a metric is written in points of 100."""
    return not metric.endswith(("error", "loss"))


def plotted(value: float | None, metric: str) -> float:
    """Return a score as an axis has it, in points where they are written so; NaN where it is undefined."""
    return float("nan") if value is None else 100 * value if in_points(metric) else value


def score_text(value: float | None, metric: str, *, signed: bool = False) -> str:
    """Return one score or, ``signed``, one difference of scores; an undefined one is called so."""
    if value is None:
        return "undefined"
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f}" if in_points(metric) else f"{value:{sign}.4g}"


def spread_text(mean: float | None, deviation: float | None, metric: str) -> str:
    """Return ``mean ± standard deviation``, or the mean alone where one seed gives no deviation."""
    if mean is None or deviation is None:
        return score_text(mean, metric)
    return f"{score_text(mean, metric)} ± {score_text(deviation, metric)}"


def interval_text(
    interval: Sequence[float] | None, metric: str, *, signed: bool = False, undefined: float = 0.0
) -> str:
    """Return ``[low, high]``, or the sign for absence; and of a bootstrap the share of samples without a score."""
    if interval is None:
        return ABSENT
    low, high = (score_text(end, metric, signed=signed) for end in interval)
    return f"[{low}, {high}]" + (f" without {100 * undefined:.1f} % of the samples" if undefined else "")


def plural(count: int, noun: str) -> str:
    """Return ``1 row`` or ``3 rows``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def told_once(notes: Iterable[str], tasks: Iterable[str], lead: str = "", leads: str = "") -> list[str]:
    """Return notes in their order, each once; those that differ in nothing but a task's name become one with all names.

    Such a note begins with ``lead``, a name and ``:`` or ``,``. With several names it begins with ``leads``.
    """
    known = tuple(dict.fromkeys(tasks))
    found: dict[str, list[str]] = {}
    for note in notes:
        task = next((task for task in known if note.startswith((f"{lead}{task}:", f"{lead}{task},"))), None)
        of = found.setdefault(note if task is None else note.removeprefix(f"{lead}{task}"), [])
        of += [task] if task is not None and task not in of else []
    return [f"{leads if len(of) > 1 else lead}{listed(of)}{rest}" if of else rest for rest, of in found.items()]


def listed(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, or ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def one_line(text: str) -> str:
    """Return another's words as they may stand in Markdown: one line, no tag, no mark that begins or ends code."""
    return " ".join(text.split()).replace("<", "&lt;").replace("```", "")
