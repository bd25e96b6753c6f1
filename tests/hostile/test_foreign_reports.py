"""Another's report.json, which `report --compare` sets against one's own: compared, or refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertwright.errors import InputError
from bertwright.pipeline.compare import compare_runs, write_comparison

SCORE = {"values": [0.5], "mean": 0.5, "deviation": None, "interval": None}
VARIANT = {
    **{"variant": "v", "method": "full", "seeds": [0], "settings_tried": 1, "protocol": "one setting"},
    "scores": {"dev": {"accuracy": SCORE}},
}
RESULTS = {
    **{"task": "t", "labels": ["a", "b"], "variants": [VARIANT], "sets": {"dev": {"rows": 4}}},
    "headline": {"set": "dev", "metric": "accuracy"},
}
RECORD = {
    **{
        "kind": "evaluate",
        "name": "evaluate/t",
        "identity": "0" * 32,
        "seconds": 1.0,
        "started": "2026",
        "results": RESULTS,
    },
    "parts": {"options": {"task": {}}, "inputs": {}, "contents": {"set dev": "1" * 32}},
}
REPORT: dict[str, Any] = {
    **{"name": "run", "recipe": "name: run\n", "records": [RECORD], "metrics": {}, "forecast": None},
    **{"command": "", "created": "2026-11-22T00:00:00+00:00"},
}
_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
ODD: dict[str, dict[str, Any]] = {
    "record without a kind": {"records": [{}]},
    "record that is none": {"records": [5]},
    "no records": {"records": 5},
    "recipe cut off": {"recipe": "a: ["},
    "recipe that is no text": {"recipe": 5},
    "recipe that is a list": {"recipe": "[a]"},
    "recipe in a ring": {"recipe": "a: &a {b: *a}\n"},
    "recipe that stands for more": {"recipe": _BOMB},
    "moment that is none": {"created": 5},
    "name that is none": {"name": ["<script>"]},
    "results that are none": {"records": [{**RECORD, "results": []}]},
    "seconds that are none": {"records": [{**RECORD, "seconds": "x"}]},
    "metric that is none": {
        "records": [{**RECORD, "results": {**RESULTS, "variants": [{**VARIANT, "scores": {"dev": {"odd": SCORE}}}]}}]
    },
    "mean that is none": {
        "records": [
            {
                **RECORD,
                "results": {
                    **RESULTS,
                    "variants": [{**VARIANT, "scores": {"dev": {"accuracy": {**SCORE, "mean": "x"}}}}],
                },
            }
        ]
    },
}


def written(path: Path, content: str) -> Path:
    """Write a report in a folder of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_a_report_alone_is_compared(tmp_path: Path) -> None:
    """The one that the others are made of."""
    path = written(tmp_path / "report.json", json.dumps(REPORT))
    assert write_comparison(compare_runs(path, path), tmp_path / "page.html").is_file()


@pytest.mark.parametrize("name", ODD)
def test_odd_reports_are_refused(tmp_path: Path, name: str) -> None:
    """On either side, before a page is written."""
    own = written(tmp_path / "own.json", json.dumps(REPORT))
    odd = written(tmp_path / "odd.json", json.dumps({**REPORT, **ODD[name]}))
    for sides in ((own, odd), (odd, own)):
        with pytest.raises(InputError, match=r"odd\.json is not a report's numbers .*; name the report\.json"):
            compare_runs(*sides)


@pytest.mark.parametrize("content", ["", "[" * 100_000, "5", "{}"])
def test_what_is_no_report_is_refused(tmp_path: Path, content: str) -> None:
    """Empty, too deep, another thing."""
    path = written(tmp_path / "odd.json", content)
    with pytest.raises(InputError, match=r"odd\.json is not a report's numbers"):
        compare_runs(path, path)


def test_no_answers_are_read_outside_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An identity, a variant and a set are parts of a path."""
    outside = tmp_path / "outside" / "seed-0"
    outside.mkdir(parents=True)
    (outside / "dev.parquet").write_bytes(b"")
    (tmp_path / "store" / "stages" / f"evaluate-{'0' * 32}" / "predictions").mkdir(parents=True)
    variant = {**VARIANT, "variant": "../../../../outside"}
    report = {**REPORT, "records": [{**RECORD, "results": {**RESULTS, "variants": [variant]}}]}
    path = written(tmp_path / "store" / "runs" / "run" / "report.json", json.dumps(report))
    read = []
    monkeypatch.setattr("bertwright.pipeline.compare.pq.read_table", lambda *given, **_: read.append(given))
    [pair] = compare_runs(path, path).scores
    assert [] == read
    assert pair.why == "the store does not hold the answers to its rows"
