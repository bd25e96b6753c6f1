"""The best of the settings that were tried for a task.

Sealed: ``settings.json``, all of them, the best first; a later stage takes the one at its ``place``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bertwright import files
from bertwright.errors import RunError
from bertwright.stages.work import Work
from bertwright.store import RECORD

SETTINGS = "settings.json"
ALL_TERMS = "all"
"""The run, tried before, that subsets of terms are held against."""
_MOVED = "moved.json"  # terms of the best setting's run, the one that moved most first


def choose(work: Work) -> dict[str, Any]:
    """Sort the settings by their score; ``RunError`` where all of them failed.

    Equal scores stay in the order of the grid. One that failed, or whose score is undefined, comes last; where all are
    undefined the first of the grid is taken, and ``undecided`` says why.
    """
    found = {role: files.read_json(folder / RECORD)["results"] for role, folder in work.inputs.items()}
    tried = [{**one, "run": role} for role, one in found.items() if role != "before" and "empty" not in one]
    tried.sort(key=lambda one: -float("inf") if one["score"] is None else one["score"], reverse=True)
    if (within := work.options.get("within")) is not None:
        tried = _smallest_first(tried, found["before"], within)
    good = [one for one in tried if one["failed"] is None]
    if not good:
        raise RunError(
            f"task {work.options['task']}, {work.options['variant']}: all {len(tried)} settings failed, the first "
            f"with: {tried[0]['failed']}"
        )
    files.write_json(work.folder / SETTINGS, [one["setting"] for one in good])
    files.write_json(work.folder / _MOVED, moved_most(good[0].get("changes", [])))
    ran = [one for one in tried if one["run"] != ALL_TERMS]
    keys = ("run", "score", "seconds", "epochs", "failed", "note", "sides")
    table = [
        {**_varied(one["setting"], work.options), **{key: one[key] for key in keys if key in one}} for one in tried
    ]
    return {
        **{key: work.options[key] for key in ("task", "variant", "select_on", "varied", "share")},
        "metric": next((one["chosen_by"] for one in tried if "chosen_by" in one), work.options["metric"]),
        "select_by": work.options.get("select_by", "score"),
        "setting": good[0]["setting"],
        "changes": good[0].get("changes", []),
        **({} if within is None else {"within": within, "of_all_terms": found["before"]["table"][0]["score"]}),
        "table": table,
        "tried": len(tried),
        "failed": len(tried) - len(good),
        "undecided": undecided(table),
        "seconds": sum(one["seconds"] for one in ran),
        "rows": ran[0]["selection_rows"] if ran else found["before"]["rows"],
        **_spared(found.get("before"), ran),
    }


def undecided(table: Sequence[Mapping[str, Any]]) -> str | None:
    """Return why no setting of a choice's table could be told from another; ``None`` where one could."""
    good = [row for row in table if row["failed"] is None]
    if len(good) < 2 or any(row["score"] is not None for row in good):
        return None
    return str(good[0]["note"] or "their scores are undefined")


def moved_most(changes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return names of bias terms, the one that moved most over the layers first; what is noise comes last.

    Where softmax does not see a key's bias its gradient is rounding, which Adam's steps make as long as any other's.
    """
    by_term: dict[str, list[float]] = {}
    for one in changes:
        by_term.setdefault(one["term"], []).append(one["change"])
    noise = {one["term"] for one in changes if one["noise"]}
    return sorted(by_term, key=lambda name: (name in noise, -sum(by_term[name]) / len(by_term[name])))


def _smallest_first(tried: list[dict[str, Any]], of_all: Mapping[str, Any], within: float) -> list[dict[str, Any]]:
    """Put the fewest terms whose score is at most so many points below that of all of them first.

    Where none is, the run of all terms leads.
    """
    best = of_all["table"][0]["score"]
    whole = {**of_all["table"][0], "setting": of_all["setting"], "changes": of_all["changes"], "run": ALL_TERMS}
    by_size = sorted(tried, key=lambda one: len(one["setting"]["terms"].split("+")))
    least = -float("inf") if best is None else best - within / 100
    enough = [one for one in by_size if one["score"] is not None and one["score"] >= least]
    return [*enough[:1], whole, *(one for one in by_size if one not in enough[:1])]


def setting_of(work: Work) -> dict[str, Any] | None:
    """Return a run's own options, or what was chosen where it takes that: the setting at its place, the best first.

    ``None`` where no setting is left for its place, because some failed. ``most_moved`` is replaced by so many terms.
    """
    options = dict(work.options)
    if "chosen" not in work.inputs:
        return options
    settings = files.read_json(work.inputs["chosen"] / SETTINGS)
    if options["place"] >= len(settings):
        return None
    options |= settings[options["place"]]
    if (count := options.pop("most_moved", None)) is not None:
        names = files.read_json(work.inputs["chosen"] / _MOVED)
        if count >= len(names):
            return None  # that is all of them
        options |= {"terms": "+".join(names[:count]), "of_terms": options["terms"]}
    return options


def _varied(setting: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    flat = {**setting, **setting.get("loss", {})}
    return {name: flat[name] for name in options["varied"]}


def _spared(before: Mapping[str, Any] | None, tried: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the epochs that all rungs took so far, and what trying every setting to its end would have taken."""
    spent = sum(one["epochs"] for one in tried)
    whole = sum(one["setting"]["epochs"] for one in tried)
    if before is not None:
        spent, whole = spent + before["epochs_spent"], before["epochs_of_all"]
    return {"epochs_spent": spent, "epochs_of_all": whole}
