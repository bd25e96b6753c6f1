"""A report without examples: every part of a record that holds text of rows is left out, whichever stage wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bertwright.pipeline.compare import write_comparison
from bertwright.reports.card import markdown
from bertwright.reports.cards import stage_card
from bertwright.reports.comparison import Comparison, summary_lines
from bertwright.reports.records import RunRecords
from bertwright.reports.redaction import without_examples

SECRET = "Quillfeather Ombudsman 4471"
ROW = {"id": SECRET, "text": [SECRET], "words": [], "gold": "low", "answer": "low", "expert_answer": "low"}
FEATURE = {"feature": {"kind": "word", "text": SECRET}, "rows": 3}


def stage(kind: str, **results: object) -> dict[str, object]:
    """Return a record as stages leave it."""
    return {"kind": kind, "name": kind, "seconds": 1.0, "peak_memory_bytes": 1, "results": {"task": "t", **results}}


INSIGHT = {"dev": {"confusion": [[1.0]], "often_wrong": [ROW]}}
AGAINST = {"rows": 7, "down_weighted": [ROW], "rescued": [ROW]}


def run_with_texts() -> RunRecords:
    """Return a run whose records hold texts wherever stages leave some."""
    stages = (
        stage("evaluate", variants=[{"variant": "v", "insight": INSIGHT, "scores": {}}], headline={}, sets={}),
        stage("finetune", against=AGAINST),
        stage("shortcuts", advice=f"look at {SECRET}", shortcuts=[FEATURE], tests=9),
        stage("prepare", repeated_lines=[{"line": SECRET, "times": 5}], documents=11),
        stage("tokenizer", added=["low", SECRET], vocabulary=13),
    )
    return RunRecords("run", "name: run\n", stages, {}, None, "", "2026-11-22T00:00:00+00:00")


def test_texts_of_all_stages_are_left_out() -> None:
    """Mistakes, examples of debiasing, repeated lines, words that give labels away or are new; numbers stay."""
    whole = run_with_texts()
    told = json.dumps([record["results"] for record in without_examples(whole).stages])
    assert 10 == json.dumps([record["results"] for record in whole.stages]).count(SECRET)
    assert SECRET not in told
    for kept in ('"confusion": [[1.0]]', '"rows": 7', '"tests": 9', '"documents": 11', '"vocabulary": 13'):
        assert kept in told
    assert any("as was asked" in note for note in without_examples(whole).notes)


def test_a_comparison_never_holds_texts(tmp_path: Path) -> None:
    """Neither its page, nor its JSON, nor its lines: they tell of settings, files, scores and cost."""
    found = Comparison(run_with_texts(), run_with_texts(), ())
    page = write_comparison(found, tmp_path / "page.html")
    told = [page.read_text(), page.with_suffix(".json").read_text(), "\n".join(summary_lines(found))]
    assert all(one and SECRET not in one for one in told)


def test_a_card_never_holds_texts() -> None:
    """Also of a model that was learnt against a shortcut, with rows that it often gets wrong."""
    results = {"task": "t", "method": "full", "settings": {"max_length": 64}, "rows": 9, "against": AGAINST}
    record: dict[str, Any] = {
        **{"kind": "finetune", "name": "finetune/t/v/seed-0", "identity": "0" * 32, "results": results},
        "parts": {"options": {"task": {"text": ["text"], "kind": "classification"}, "seed": 0}},
    }
    score = {"accuracy": {"values": [0.5], "mean": 0.5, "deviation": None, "interval": None}}
    variant = {"variant": "v", "seeds": [0], "protocol": "one setting", "scores": {"dev": score}, "insight": INSIGHT}
    scored = {"variants": [variant], "sets": {"dev": {"rows": 4, "often_wrong": [ROW]}}}
    page = markdown(stage_card(record, {}, {"train": Path("train.csv")}, scored=scored))
    assert "| dev | accuracy | 50.0 |" in page
    assert SECRET not in page
