"""What has to be equal after a fault: every file that bertwright leaves, but for times and how much was measured."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

# Fields of records and of lines of metrics that hold a clock, a measure of the machine, or the count of stops.
TIMES = {
    *("started", "since", "peak_memory_bytes", "disk_bytes", "memory_bytes", "interruptions"),
    *(
        "tokens_per_second",
        "utilisation",
        "step_seconds",
        "exit_seconds",
        "earlier",
        "peak",
        "rows_per_second",
        "measured",
    ),
}
# Pages that show times; what they are made of is compared.
_PAGES = {"report.html", "report.json", "forecast.json", "figures"}


def kept(root: Path) -> dict[str, Any]:
    """Return what is compared, by path: a checksum, a link's target, or a record without times."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if name.parts[0] == "bertwright-store" and any(part.endswith(".tmp") for part in name.parts):
            continue  # half-written things, which `store gc` removes
        if name.name == "steps.json":
            continue  # measures for the next hour's forecasts; where it is missing they are taken again
        if path.is_symlink():
            found[str(name)] = f"-> {path.readlink()}"
        elif path.is_file() and not _PAGES & set(name.parts) and path.suffix not in (".lock", ".owner"):
            found[str(name)] = _content(path)
        elif name.name in _PAGES:
            found[str(name)] = "there"
    return found


def differences(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """Return what differs, in words, or nothing."""
    lines = [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
    lines += [f"{name} is new" for name in sorted(found.keys() - expected.keys())]
    for name in sorted(expected.keys() & found.keys()):
        if expected[name] != found[name]:
            lines.append(f"{name} differs: {_where(expected[name], found[name])}")
    return "; ".join(lines)


def _content(path: Path) -> Any:
    if path.name == "record.json":
        return _without_times(json.loads(path.read_text()))
    if path.suffix == ".jsonl" and path.name == "metrics.jsonl":
        return [_without_times(json.loads(line)) for line in path.read_text().splitlines()]
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        timed = {"record.json", "metrics.jsonl"}
        left = TIMES | timed
        return {
            key: _without_times(one) for key, one in value.items() if not key.startswith("seconds") and key not in left
        }
    return [_without_times(one) for one in value] if isinstance(value, list) else value


def _where(expected: Any, found: Any) -> str:
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            if expected.get(key) != found.get(key):
                return f"{key}: {_where(expected.get(key), found.get(key))}"
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for place, (one, other) in enumerate(zip(expected, found, strict=True)):
            if one != other:
                return f"[{place}] {_where(one, other)}"
    return f"{str(expected)[:300]} against {str(found)[:300]}"
