"""What to know of early exits: what is promised of a variant's runs, and text that is unlike the calibration's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from bertwright.reports.records import RunRecords
from bertwright.reports.words import plural

Results = Mapping[str, Any]


def exits_notes(run: RunRecords) -> Iterator[str]:
    """Yield the notes of each task's variants, seeds taken together."""
    found = [record["results"] for record in run.of_kind("ramps")]
    ordered = sorted(found, key=_variant)
    for (task, label), seeds in groupby(ordered, key=_variant):
        runs = sorted(seeds, key=lambda one: int(one["seed"]))
        yield from (f"{task}, {label}: {note}" for note in (*_promised(runs), *_cautions(runs), *_drifted(runs)))


def _variant(results: Results) -> tuple[str, str]:
    return results["task"], results["label"]


def _promised(runs: Sequence[Results]) -> Iterator[str]:
    """Say what is promised of all runs by their exact tests, and of the others what each says."""
    tested = [one["promises"][0] for one in runs if one["promises"][0]["basis"] == "certified"]
    if len(tested) == 1:
        yield f"exits: {tested[0]['sentence']}"
    elif tested:
        savings = [one["saving"] for one in tested]
        yield (
            f"exits have an expected saving of {100 * min(savings):.1f} % to {100 * max(savings):.1f} %; certified for "
            f"{len(tested)} of {plural(len(runs), 'run')}: with probability {1 - tested[0]['delta']:g} each "
            f"leaves at most {100 * tested[0]['max_drop']:g} % of rows wrong that the full model has right."
        )
    for one in runs:
        if one["promises"][0]["basis"] != "certified":
            yield f"seed {one['seed']}: exits: {one['promises'][0]['sentence']}"


def _cautions(runs: Sequence[Results]) -> Iterator[str]:
    """Say each other note once, with the seeds that it is of."""
    seeds: dict[str, list[str]] = {}
    for one in runs:
        own = {f"exits: {one['promises'][0]['sentence']}"}
        own |= {f"exits on {name}: {found['chosen'][0]['drift']}" for name, found in one["sets"].items()}
        for note in one["notes"]:
            if note not in own:
                seeds.setdefault(note, []).append(str(one["seed"]))
    for note, there in seeds.items():
        yield note if len(there) == len(runs) else f"seed {', '.join(there)}: {note}"


def _drifted(runs: Sequence[Results]) -> Iterator[str]:
    names = dict.fromkeys(name for one in runs for name, found in one["sets"].items() if found["chosen"][0]["drifted"])
    for name in names:
        there = [one for one in runs if one["sets"][name]["chosen"][0]["drifted"]]
        if len(runs) == 1:
            yield f"exits on {name}: {runs[0]['sets'][name]['chosen'][0]['drift']}"
        else:
            yield (
                f"rows of {name} leave elsewhere than the calibration rows did, in {len(there)} of "
                f"{plural(len(runs), 'run')}: this text is not like the calibration's, and what was promised of its "
                "loss may not hold; calibrate again on labelled rows of it"
            )
