"""What a report is made of: the records of a run, read into rows with names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bertwright.stages.choose import undecided
from bertwright.stages.work import LEARNT_FROM
from bertwright.tasks.statistics import MOST_UNDEFINED, SAMPLES

# Sets that come from where the training rows come from; all others count as out of distribution.
_USUAL = ("train", "dev", "test", "dev_matched", "test_matched", "validation", LEARNT_FROM)


@dataclass(frozen=True)
class RunRecords:
    """All that a report reads, as plain data.

    ``stages`` holds the ``record.json`` of each stage, ``metrics`` the rows of ``metrics.jsonl`` by stage name, and
    ``forecast`` what was expected by stage name (``seconds``, ``memory_bytes``, ``disk_bytes``). ``reused`` names the
    stages that were finished before the command and were taken as they are; ``None`` where that is not known. ``notes``
    are sentences about the user's files that no stage's record holds; ``ways`` is what was measured of each way of one
    task after the run, int8 among them (the demo does). ``failed`` is what stages that failed said, by name.
    """

    name: str
    recipe_yaml: str
    stages: tuple[dict[str, Any], ...]
    metrics: Mapping[str, list[dict[str, Any]]]
    forecast: Mapping[str, dict[str, Any]] | None
    command: str
    created: str
    reused: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    ways: Mapping[str, Any] | None = None
    failed: Mapping[str, str] = field(default_factory=dict)

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the records of one kind of stage, in the order of the run."""
        return [record for record in self.stages if record["kind"] == kind]

    def seconds(self) -> float:
        """Return the work of all stages together, in seconds."""
        return sum(float(record["seconds"]) for record in self.stages)


@dataclass(frozen=True)
class ScoreRow:
    """One metric of one variant on one set, over seeds.

    ``mean`` is ``None`` where the metric is undefined, ``deviation`` and ``interval`` (95 %) where there is one seed.
    ``floor`` is the score of always giving the most frequent answer.
    """

    task: str
    set: str
    metric: str
    variant: str
    method: str
    values: tuple[float | None, ...]
    mean: float | None
    deviation: float | None
    interval: tuple[float, float] | None
    seeds: tuple[int, ...]
    settings_tried: int
    protocol: str
    rows: int | None
    floor: float | None
    headline: bool
    notes: tuple[str, ...]
    failed_seeds: tuple[int, ...] = ()
    """Those whose runs failed: there is no score of them among these."""


@dataclass(frozen=True)
class GroupRow:
    """One metric of one variant on the rows of a set that share a value, over seeds; ``group`` names the column."""

    task: str
    set: str
    group: str
    value: str
    metric: str
    variant: str
    rows: int
    mean: float | None
    deviation: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class DifferenceRow:
    """The difference of two variants on one set with its 95 % interval; ``clear`` where that holds no 0.

    ``undefined`` is the share of the bootstrap's samples in which a score is undefined: where it is above 5 % there is
    no interval. ``same_seeds``: each sample had the same seeds of both variants.
    """

    task: str
    set: str
    metric: str
    a: str
    b: str
    difference: float | None
    interval: tuple[float, float] | None
    clear: bool
    undefined: float = 0.0
    same_seeds: bool = False


@dataclass(frozen=True)
class StageRow:
    """One stage, or all fine-tuning runs of one task together: seconds and disk added, memory the largest.

    An expected amount is ``None`` where any of the runs has no forecast; ``reused`` counts the runs that were taken as
    they were, ``None`` where that is not known.
    """

    name: str
    runs: int
    started: str
    seconds: float
    memory_bytes: float | None
    disk_bytes: float | None
    expected_seconds: float | None
    expected_memory_bytes: float | None
    expected_disk_bytes: float | None
    reused: int | None


def score_rows(run: RunRecords) -> list[ScoreRow]:
    """Return every score of every task."""
    return [row for record in run.of_kind("evaluate") for row in _scores_of(run, record["results"])]


def protocol_of(run: RunRecords, task: str, variant: Mapping[str, Any]) -> str:
    """Return how a variant's scores came about; where nothing told the settings apart, none of them is the best."""
    said: str = variant["protocol"]
    for record in run.of_kind("choose"):
        if record["name"].split("/")[1:3] == [task, variant["variant"]] and (why := undecided_text(record["results"])):
            return f"{said.replace('the best of', 'the first of')}; {why}"
    return said


def undecided_text(choice: Mapping[str, Any]) -> str:
    """Say of a choice that nothing told its settings apart, and why; nothing of any other."""
    why = undecided(choice["table"])
    return f"no setting could be told from another ({why}), and the first was taken" if why else ""


def robustness(run: RunRecords, row: ScoreRow) -> dict[str, tuple[str, float | None]]:
    """Return first metric and score, of a row's variant, on each set that is out of distribution."""
    found: dict[str, tuple[str, float | None]] = {}
    for other in score_rows(run):
        if (other.task, other.variant) == (row.task, row.variant) and other.set not in (row.set, *_USUAL):
            found.setdefault(other.set, (other.metric, other.mean))
    return found


def variant_places(run: RunRecords) -> dict[str, int]:
    """Return a number for each variant of any task, by which all pictures give it the same colour and mark."""
    scored = [row.variant for row in score_rows(run)]
    others = [record["results"]["label"] for record in run.of_kind("ramps")]
    return {name: place for place, name in enumerate(dict.fromkeys(scored + others))}


def _scores_of(run: RunRecords, results: Mapping[str, Any]) -> list[ScoreRow]:
    headline, sets = results["headline"], results["sets"]
    rows = []
    for variant in results["variants"]:
        protocol = protocol_of(run, results["task"], variant)
        for set_name, metrics in variant["scores"].items():
            about = sets.get(set_name, {})
            rows += [
                ScoreRow(
                    task=results["task"],
                    set=set_name,
                    metric=metric,
                    variant=variant["variant"],
                    method=variant["method"],
                    values=tuple(score["values"]),
                    mean=score["mean"],
                    deviation=score["deviation"],
                    interval=_pair(score["interval"]),
                    seeds=tuple(variant["seeds"]),
                    settings_tried=variant["settings_tried"],
                    protocol=protocol,
                    rows=about.get("rows"),
                    floor=about.get("floor", {}).get(metric),
                    headline=(set_name, metric) == (headline["set"], headline["metric"]),
                    notes=tuple(score.get("notes") or ()),
                    failed_seeds=tuple(variant.get("failed_seeds", ())),
                )
                for metric, score in metrics.items()
            ]
    return rows


def group_rows(run: RunRecords) -> list[GroupRow]:
    """Return the scores of every group of rows, the variants of one group together."""
    rows = [
        GroupRow(
            task=record["results"]["task"],
            set=set_name,
            group=one["group"],
            value=one["value"],
            metric=one["metric"],
            variant=variant["variant"],
            rows=one["rows"],
            mean=one["mean"],
            deviation=one["deviation"],
            interval=_pair(one["interval"]),
        )
        for record in run.of_kind("evaluate")
        for variant in record["results"]["variants"]
        for set_name, groups in variant.get("groups", {}).items()
        for one in groups
    ]
    order = list(dict.fromkeys((row.task, row.set, row.group, row.value) for row in rows))
    return sorted(rows, key=lambda row: order.index((row.task, row.set, row.group, row.value)))


def difference_rows(run: RunRecords) -> list[DifferenceRow]:
    """Return every comparison of two variants."""
    return [
        _difference(record["results"]["task"], one)
        for record in run.of_kind("evaluate")
        for one in record["results"].get("comparisons", ())
    ]


def _difference(task: str, one: Mapping[str, Any]) -> DifferenceRow:
    undefined = 1 - one.get("samples", SAMPLES) / SAMPLES
    # Runs that were sealed earlier have an interval of what samples were left, however few.
    interval = _pair(one["interval"]) if undefined <= MOST_UNDEFINED else None
    return DifferenceRow(
        task=task,
        set=one["set"],
        metric=one["metric"],
        a=one["a"],
        b=one["b"],
        difference=one["difference"],
        interval=interval,
        clear=bool(one["clear"]) and interval is not None,
        undefined=undefined,
        same_seeds=one.get("same_seeds", False),
    )


# Kinds of stages of which a run has many: they are told together.
_MANY = ("search", "finetune", "ramps")


def stage_rows(run: RunRecords) -> list[StageRow]:
    """Return forecast and fact of each stage, the fine-tuning runs of one task on one row."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in run.stages:
        name = record["name"]
        group = f"{record['kind']}/{record['results']['task']}" if record["kind"] in _MANY else name
        groups.setdefault(group, []).append(record)
    return [_stage_row(run, name, records) for name, records in groups.items()]


def _stage_row(run: RunRecords, name: str, records: list[dict[str, Any]]) -> StageRow:
    memory = [record["peak_memory_bytes"] for record in records if record.get("peak_memory_bytes")]
    disk = [record["disk_bytes"] for record in records if record.get("disk_bytes") is not None]
    expected = [_expected(run, record) for record in records]

    def each(key: str) -> list[float] | None:
        found = [one[key] for one in expected if one and one.get(key) is not None]
        return found if len(found) == len(records) else None

    seconds, most, bytes_ = each("seconds"), each("memory_bytes"), each("disk_bytes")
    return StageRow(
        name=name,
        runs=len(records),
        started=min(record["started"] for record in records),
        seconds=sum(record["seconds"] for record in records),
        memory_bytes=max(memory) if memory else None,
        disk_bytes=sum(disk) if disk else None,
        expected_seconds=sum(seconds) if seconds else None,
        expected_memory_bytes=max(most) if most else None,
        expected_disk_bytes=sum(bytes_) if bytes_ else None,
        reused=None if run.reused is None else sum(record["name"] in run.reused for record in records),
    )


def _expected(run: RunRecords, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    entry = (run.forecast or {}).get(record["name"])
    # A forecast kept from another recipe of the same name is of another identity: it says nothing of this stage.
    if entry is not None and entry.get("identity", record.get("identity")) != record.get("identity"):
        return None
    return entry


def _pair(interval: Any) -> tuple[float, float] | None:
    if interval is None or any(end is None for end in interval):
        return None
    low, high = interval
    return float(low), float(high)
