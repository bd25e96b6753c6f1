"""The best of the settings that were tried for a task.

Sealed: ``settings.json``, all of them, the best first; a later stage takes the one at its ``place``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bertwright import files
from bertwright.errors import RunError
from bertwright.stages.work import Work
from bertwright.store import RECORD

SETTINGS = "settings.json"


def choose(work: Work) -> dict[str, Any]:
    """Sort the settings by their score; ``RunError`` where all of them failed.

    Equal scores stay in the order of the grid. One that failed, or whose score is undefined, comes last.
    """
    found = {role: files.read_json(folder / RECORD)["results"] for role, folder in work.inputs.items()}
    tried = [{**one, "run": role} for role, one in found.items() if role != "before" and "empty" not in one]
    tried.sort(key=lambda one: -float("inf") if one["score"] is None else one["score"], reverse=True)
    good = [one for one in tried if one["failed"] is None]
    if not good:
        raise RunError(
            f"task {work.options['task']}, {work.options['variant']}: all {len(tried)} settings failed, the first "
            f"with: {tried[0]['failed']}"
        )
    files.write_json(work.folder / SETTINGS, [one["setting"] for one in good])
    keys = ("run", "score", "seconds", "epochs", "failed", "note")
    table = [{**_varied(one["setting"], work.options), **{key: one[key] for key in keys}} for one in tried]
    return {
        **{key: work.options[key] for key in ("task", "variant", "metric", "select_on", "varied", "share")},
        "setting": good[0]["setting"],
        "table": table,
        "tried": len(tried),
        "failed": len(tried) - len(good),
        "seconds": sum(one["seconds"] for one in tried),
        "rows": good[0]["selection_rows"],
        **_spared(found.get("before"), tried),
    }


def setting_of(work: Work) -> dict[str, Any] | None:
    """Return a run's own options, or what was chosen where it takes that: the setting at its place, the best first.

    ``None`` where no setting is left for its place, because some failed.
    """
    options = dict(work.options)
    if "chosen" not in work.inputs:
        return options
    settings = files.read_json(work.inputs["chosen"] / SETTINGS)
    return options | settings[options["place"]] if options["place"] < len(settings) else None


def _varied(setting: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: setting[name] for name in options["varied"]}


def _spared(before: Mapping[str, Any] | None, tried: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the epochs that all rungs took so far, and what trying every setting to its end would have taken."""
    spent = sum(one["epochs"] for one in tried)
    whole = sum(one["setting"]["epochs"] for one in tried)
    if before is not None:
        spent, whole = spent + before["epochs_spent"], before["epochs_of_all"]
    return {"epochs_spent": spent, "epochs_of_all": whole}
