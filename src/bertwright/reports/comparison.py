"""Two runs side by side: what is different in recipe and data, in scores with what may be said of them, and in cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from bertwright.reports.cost import part_costs
from bertwright.reports.provenance import SHORT, data_files
from bertwright.reports.records import RunRecords, ScoreRow
from bertwright.reports.table import Table
from bertwright.reports.words import (
    ABSENT,
    count_text,
    interval_text,
    metric_text,
    plural,
    score_text,
    seconds_text,
    spread_text,
)

_MOST = 40  # differences of a kind that a page names
_OF_THE_PLACE = ("store", "name")  # where a run lies is no difference of what it does


@dataclass(frozen=True)
class Change:
    """A key of the recipe, or a file that was read, which is not the same in both runs; ``None`` where it lacks."""

    key: str
    a: str | None
    b: str | None


@dataclass(frozen=True)
class ScorePair:
    """One metric on one set, of a variant of each run.

    ``difference`` is the first run's mean less the second's. ``interval`` is its 95 % interval by a paired bootstrap
    over rows and seeds, ``None`` where there is none, and then ``why`` says so; ``clear`` where it holds no 0.
    ``undefined`` is the share of its samples in which a score is undefined.
    """

    a: ScoreRow
    b: ScoreRow
    difference: float | None
    interval: tuple[float, float] | None
    clear: bool
    why: str | None
    undefined: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """Two runs and everything in which they differ."""

    a: RunRecords
    b: RunRecords
    scores: tuple[ScorePair, ...]

    @property
    def names(self) -> tuple[str, str]:
        """Return what the runs are called: their recipes' names, told apart where they are alike."""
        alike = self.a.name == self.b.name
        return (f"A: {self.a.name}", f"B: {self.b.name}") if alike else (self.a.name, self.b.name)


def recipe_changes(a: RunRecords, b: RunRecords) -> list[Change]:
    """Return every key whose value differs, in the order of the recipes."""
    first, second = (_flat(yaml.safe_load(one.recipe_yaml) or {}) for one in (a, b))
    return _changes(first, second)


def _flat(value: Any, key: str = "") -> dict[str, str]:
    """Return each plain value under its whole key; entries of a list have a name, else their number.

    A path counts by its last part: where files lie is no difference, and what is in them is one of the data.
    """
    if isinstance(value, Mapping):
        pairs = [(f"{key}.{name}" if key else str(name), one) for name, one in value.items()]
    elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        names = [_entry(one, number) for number, one in enumerate(value)]
        pairs = [(f"{key}[{_apart(names, number)}]", one) for number, one in enumerate(value)]
    else:
        plain = Path(value).name if isinstance(value, str) and value.startswith("/") else str(value)
        return {} if key in _OF_THE_PLACE else {key: plain}
    return {name: text for pair in pairs for name, text in _flat(pair[1], pair[0]).items()}


def _entry(value: Any, number: int) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    if "path" in value:
        return Path(str(value["path"])).name
    loss = value.get("loss")
    loss = loss["name"] if isinstance(loss, Mapping) else loss
    return str(value.get("name") or "-".join(filter(None, (value.get("method"), loss))) or number)


def _apart(names: list[str], place: int) -> str:
    """Return an entry's name, with a number where an earlier one has it too."""
    again = names[:place].count(names[place])
    return f"{names[place]} {again + 1}" if again else names[place]


def data_changes(a: RunRecords, b: RunRecords) -> list[Change]:
    """Return every file that was read by one run alone, or with other contents by the other."""
    first, second = (
        {f"{of}: {label}": checksum[:SHORT] for (of, label), checksum in data_files(one).items()} for one in (a, b)
    )
    return _changes(first, second)


def _changes(first: Mapping[str, str], second: Mapping[str, str]) -> list[Change]:
    keys = dict.fromkeys([*first, *second])
    return [Change(key, first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)]


def answer(found: Comparison) -> str:
    """Return how many differences there are, and that of each task's first variant in its headline."""
    a, b = found.names
    settings, data = len(recipe_changes(found.a, found.b)), len(data_changes(found.a, found.b))
    parts = [f"{a} against {b}: {plural(settings, 'setting')} and {plural(data, 'file')} of data differ."]
    first = {pair.a.task: pair for pair in reversed(found.scores) if pair.a.headline}
    for pair in reversed(first.values()):
        if pair.difference is not None:
            points = score_text(pair.difference, pair.a.metric, signed=True)
            names = pair.a.variant if pair.a.variant == pair.b.variant else f"{pair.a.variant} and {pair.b.variant}"
            parts.append(f"{pair.a.task}, {names}: {points} {metric_text(pair.a.metric)} ({verdict(pair)}).")
    if not found.scores:
        parts.append("They have no task, set and metric in common.")
    return " ".join(parts)


def verdict(pair: ScorePair) -> str:
    """Say whether a difference may be called one."""
    if pair.interval is None:
        return f"not tested: {pair.why}"
    return "clear" if pair.clear else "not clear: the interval holds 0"


def tables(found: Comparison) -> list[Table]:
    """Return scores, settings, data, encoder and cost; those in which nothing differs say so in the answer."""
    a, b = found.names
    settings = _changes_table("Settings that differ", "setting", recipe_changes(found.a, found.b), a, b)
    data = _changes_table("Data that differ", "file", data_changes(found.a, found.b), a, b)
    return [one for one in (_scores(found), settings, data, _encoders(found), _costs(found)) if one.rows]


def _scores(found: Comparison) -> Table:
    a, b = found.names
    columns = ("task", "set", "metric", "variant", a, b, "difference", "95 % interval", "verdict")
    cells = tuple(
        (
            pair.a.task,
            pair.a.set,
            metric_text(pair.a.metric),
            pair.a.variant if pair.a.variant == pair.b.variant else f"{pair.a.variant} | {pair.b.variant}",
            *(spread_text(one.mean, one.deviation, one.metric) for one in (pair.a, pair.b)),
            ABSENT if pair.difference is None else score_text(pair.difference, pair.a.metric, signed=True),
            interval_text(pair.interval, pair.a.metric, signed=True, undefined=pair.undefined),
            verdict(pair),
        )
        for pair in found.scores
    )
    caption = (
        "Means and deviations over seeds; + means that the first run scores higher. The interval is by a paired "
        "bootstrap over rows and seeds, where both runs answered the same rows of the same file: each sample draws "
        "rows, the same for both, and seeds, the same for both where both ran the same ones, else for each apart. With "
        "one seed each it says nothing of other seeds."
    )
    strong = frozenset(place for place, pair in enumerate(found.scores) if pair.a.headline)
    return Table("Scores", columns, cells, caption, frozenset(columns[4:8]), strong)


def _changes_table(title: str, what: str, changes: list[Change], a: str, b: str) -> Table:
    cells = tuple((one.key, *(ABSENT if side is None else side for side in (one.a, one.b))) for one in changes[:_MOST])
    caption = f"{len(changes) - _MOST} more are in the JSON file." if len(changes) > _MOST else ""
    return Table(title, (what, a, b), cells, caption)


def _encoders(found: Comparison) -> Table:
    a, b = found.names
    sides = [one.of_kind("pretrain")[:1] for one in (found.a, found.b)]
    if not all(sides):
        return Table("Encoder", (), ())
    first, second = (side[0] for side in sides)
    rows = [
        (name, write(first["results"].get(key)), write(second["results"].get(key)))
        for key, name, write in (
            ("parameters", "parameters", count_text),
            ("tokens", "tokens seen", count_text),
            ("seconds", "time of training", seconds_text),
            ("held_out_loss", "held-out loss (nats)", _loss_text),
        )
    ]
    read = [((one.get("parts") or {}).get("inputs") or {}).get("rows", {}).get("identity") for one in (first, second)]
    same = read[0] is not None and read[0] == read[1]
    caption = "" if same else "The rows are not the same, so the held-out losses do not compare."
    return Table("Encoder", ("", a, b), tuple(rows), caption, frozenset({a, b}))


def _loss_text(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3f}"


def _costs(found: Comparison) -> Table:
    a, b = found.names
    sides = []
    for run in (found.a, found.b):
        times: dict[str, float] = {}
        for one in part_costs(run):
            times[one.part] = times.get(one.part, 0.0) + one.seconds
        sides.append({**times, "in all": sum(times.values())})
    first, second = sides
    names = [name for name in dict.fromkeys([*first, *second]) if name != "in all"]
    rows = tuple((name, seconds_text(first.get(name)), seconds_text(second.get(name))) for name in [*names, "in all"])
    return Table("Time of work", ("part", a, b), rows, "All stages of a part added up.", frozenset({a, b}))


def summary_lines(found: Comparison) -> list[str]:
    """Return the comparison in lines for a terminal."""
    return [answer(found), *(line for table in tables(found) for line in table.told())]


def numbers(found: Comparison) -> dict[str, Any]:
    """Return everything that the page shows as plain values."""
    return {
        "a": found.a.name,
        "b": found.b.name,
        "answer": answer(found),
        "scores": [asdict(pair) for pair in found.scores],
        "recipe": [asdict(one) for one in recipe_changes(found.a, found.b)],
        "data": [asdict(one) for one in data_changes(found.a, found.b)],
        "cost": {"a": [asdict(one) for one in part_costs(found.a)], "b": [asdict(one) for one in part_costs(found.b)]},
    }
