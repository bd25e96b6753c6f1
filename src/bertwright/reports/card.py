"""A model card as Markdown: front matter as model hubs read it, then what a reader wants to know before using a model.

The same card gives the same bytes: there is no time in it, and no text of any row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from bertwright.pack_card import UNKNOWN
from bertwright.reports.words import ABSENT, interval_text, metric_text, one_line, score_text, spread_text

_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True)
class CardScore:
    """One metric on one set: the model's own value, and what all seeds say."""

    set: str
    metric: str
    rows: int | None
    own: float | None
    seeds: int
    mean: float | None
    deviation: float | None
    interval: Sequence[float] | None


@dataclass(frozen=True)
class Card:
    """What a card says; ``facts`` and ``settings`` are names and values, ``data`` rows of name, use and size."""

    title: str
    summary: str
    license: str
    library: str
    pipeline: str
    tags: tuple[str, ...]
    facts: Mapping[str, str]
    data: tuple[tuple[str, str, str], ...]
    settings: Mapping[str, Any]
    identity: str
    limits: tuple[str, ...]
    loading: str
    task: str = ""
    protocol: str = ""
    unscored: str = ""
    scores: tuple[CardScore, ...] = field(default=())


def markdown(card: Card) -> str:
    """Return a card's page."""
    identity = one_line(card.identity)
    named = card.license if card.license != UNKNOWN else "unknown: nobody named one, so ask before you use it"
    parts = [
        f"---\n{_front(card)}---",
        f"# {_cell(card.title)}",
        one_line(card.summary),
        _table(("", ""), [*card.facts.items(), ("license", named)]),
        "## Data",
        "Names and sizes alone; no text of it is in here.",
        _table(("name", "for", "size"), card.data),
        "## Recipe",
        f"The identity of what made it: `{identity}`. Equal identities mean equal data, options and inputs.",
        _table(("setting", "value"), [(name, _value(value)) for name, value in card.settings.items()]),
        "## Scores",
        *_scored(card),
        "## Limits",
        "\n".join(f"- {one_line(one)}" for one in card.limits),
        "## How to load it",
        card.loading,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(card: Card) -> str:
    """Return the YAML that model hubs read: a licence that is none of their names is said in `license_name`."""
    own = bool(_IDENTIFIER.fullmatch(card.license))
    front: dict[str, Any] = {"license": card.license if own else "other"}
    front |= {} if own else {"license_name": card.license}
    front |= {"library_name": card.library, "pipeline_tag": card.pipeline, "tags": list(card.tags)}
    results = [
        {
            "task": {"type": card.pipeline},
            "dataset": {"name": f"{card.task} {one.set}", "type": card.task},
            "metrics": [{"type": one.metric, "value": one.own}],
        }
        for one in card.scores
        if one.own is not None and card.task
    ]
    front |= {"model-index": [{"name": card.title, "results": results}]} if results else {}
    text: str = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1000)
    return text


def _scored(card: Card) -> list[str]:
    """Return the table of scores with what they rest on, or why there is none."""
    if not card.scores:
        return [card.unscored]
    rows = [
        (
            one.set,
            metric_text(one.metric),
            score_text(one.own, one.metric),
            spread_text(one.mean, one.deviation, one.metric) if one.seeds > 1 else ABSENT,
            interval_text(one.interval, one.metric),
            str(one.seeds),
            ABSENT if one.rows is None else f"{one.rows:,}",
        )
        for one in card.scores
    ]
    head = ("set", "metric", "this model", "mean ± sd of seeds", "95 % interval", "seeds", "rows")
    said = "Scores are in points of 100, intervals are of the mean over seeds (t); losses are in nats."
    return [_table(head, rows), f"{said} Protocol: {one_line(card.protocol)}." if card.protocol else said]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    """Return a name of the user's as it may stand in a table: one line, no column of its own, no tag."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _value(value: Any) -> str:
    return "off" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
