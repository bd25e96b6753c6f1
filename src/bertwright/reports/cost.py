"""What a run cost: device-hours as measured and, where the device is one that the papers count in, their V100-days."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bertwright.reports.records import RunRecords
from bertwright.reports.table import Table
from bertwright.reports.words import ABSENT, plural, seconds_text
from bertwright.stages.kinds import KINDS

# A day of these is a V100-day: ExtremeBERT (Pan et al. 2022, Table 1) counts 8 RTX 3090 for 1.3 days as 10.4 of them.
# Nobody published a factor for another device, and we make none up; an RTX 3090 Ti and a V100S are others.
_COUNTED = re.compile(r"\b(V100|RTX 3090)\b(?! Ti)")
_PUBLISHED = "BERT-base more than 64, ExtremeBERT's base 10.4, BERT-large more than 256, ExtremeBERT's large 27.2"


@dataclass(frozen=True)
class PartCost:
    """The stages of one part of a run on one kind of device.

    ``device`` is ``cpu``, a GPU's name, or ``None`` where the record does not tell; ``hours`` are device-hours: of a
    GPU, or of one processor core. They are ``None`` where the number of devices or cores was not recorded.
    """

    part: str
    device: str | None
    stages: int
    seconds: float
    hours: float | None


def part_costs(run: RunRecords) -> list[PartCost]:
    """Return the cost of each part, in the order of the work."""
    groups: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
    for part in dict.fromkeys(kind.part for kind in KINDS.values()):
        for record in run.stages:
            if KINDS[record["kind"]].part == part:
                groups.setdefault((part, record.get("device", {}).get("name")), []).append(record)
    return [
        PartCost(part, device, len(records), sum(one["seconds"] for one in records), _hours(records))
        for (part, device), records in groups.items()
    ]


def _hours(records: Sequence[Mapping[str, Any]]) -> float | None:
    if any("device" not in record for record in records):
        return None
    return float(sum(record["seconds"] * record["device"]["count"] for record in records)) / 3600


def v100_days(device: str | None, hours: float | None) -> float | None:
    """Return device-hours as the papers count them; ``None`` where no factor was published."""
    return None if hours is None or not _COUNTED.search(device or "") else hours / 24


def cost_table(run: RunRecords) -> Table:
    """Return a line for each part of the run and kind of device, and one for all."""
    costs = part_costs(run)
    columns = ("part", "stages", "time", "device", "device-hours", "V100-days")
    cells = [
        (
            one.part,
            str(one.stages),
            seconds_text(one.seconds),
            _device_text(one.device),
            _hours_text(one.hours),
            _days_text(v100_days(one.device, one.hours)),
        )
        for one in costs
    ]
    for device in dict.fromkeys(one.device for one in costs) if len(costs) > 1 else ():
        own = [one for one in costs if one.device == device]
        hours = [one.hours for one in own if one.hours is not None]
        whole = sum(hours) if len(hours) == len(own) else None
        seconds = seconds_text(sum(one.seconds for one in own))
        count = str(sum(one.stages for one in own))
        cells.append(
            ("in all", count, seconds, _device_text(device), _hours_text(whole), _days_text(v100_days(device, whole)))
        )
    strong = frozenset(place for place, row in enumerate(cells) if row[0] == "in all")
    return Table("Cost", columns, tuple(cells), _caption(run), frozenset({"stages", "time", *columns[4:]}), strong)


def _caption(run: RunRecords) -> str:
    return (
        "Time is that of all stages of a part added up, as measured; stages that worked side by side count each. "
        "Device-hours are time times the GPUs used, or on a processor times the threads used. V100-days are as the "
        f"ExtremeBERT paper counts them: one day of a V100 or of an RTX 3090 is one. It gives {_PUBLISHED}. No factor "
        "was published for other devices, so theirs are unknown. "
        f"{plural(len(run.stages), 'stage')}; what was taken from the store is counted with the time it once took."
    )


def _device_text(device: str | None) -> str:
    return "not recorded" if device is None else "processor core" if device == "cpu" else device


def _hours_text(hours: float | None) -> str:
    return ABSENT if hours is None else f"{hours:.2f}" if hours >= 0.1 else f"{hours:.4f}"


def _days_text(days: float | None) -> str:
    return "unknown" if days is None else f"{days:.2f}" if days >= 0.1 else f"{days:.4f}"
