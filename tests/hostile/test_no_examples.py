"""A report without examples: every part of a record that holds text of rows is left out, whichever stage wrote it."""

from __future__ import annotations

import json

from bertwright.reports.records import RunRecords
from bertwright.reports.redaction import without_examples

SECRET = "Quillfeather Ombudsman 4471"
ROW = {"id": SECRET, "text": [SECRET], "words": [], "gold": "low", "answer": "low", "expert_answer": "low"}
FEATURE = {"feature": {"kind": "word", "text": SECRET}, "rows": 3}


def stage(kind: str, **results: object) -> dict[str, object]:
    """Return a record as stages leave it."""
    return {"kind": kind, "name": kind, "seconds": 1.0, "peak_memory_bytes": 1, "results": {"task": "t", **results}}


def test_texts_of_all_stages_are_left_out() -> None:
    """Mistakes, examples of debiasing, repeated lines, words that give labels away; numbers stay."""
    insight = {"dev": {"confusion": [[1.0]], "often_wrong": [ROW]}}
    stages = (
        stage("evaluate", variants=[{"variant": "v", "insight": insight}]),
        stage("finetune", against={"rows": 7, "down_weighted": [ROW], "rescued": [ROW]}),
        stage("shortcuts", advice=f"look at {SECRET}", shortcuts=[FEATURE], tests=9),
        stage("prepare", repeated_lines=[{"line": SECRET, "times": 5}], documents=11),
    )
    whole = RunRecords("run", "name: run\n", stages, {}, None, "", "2026-11-22T00:00:00+00:00")
    told = json.dumps([record["results"] for record in without_examples(whole).stages])
    assert 9 == json.dumps([record["results"] for record in whole.stages]).count(SECRET)
    assert SECRET not in told
    for kept in ('"confusion": [[1.0]]', '"rows": 7', '"tests": 9', '"documents": 11'):
        assert kept in told
    assert any("as was asked" in note for note in without_examples(whole).notes)
