"""Tables of settings, of what is taken for what, of hard rows and of GLUE; the reliability plot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bertwright.reports.answer import notes
from bertwright.reports.charts import charts, reliability_chart
from bertwright.reports.closer_tables import closer_tables, settings_tables
from bertwright.reports.glue_table import glue_table
from bertwright.reports.page import write_report
from bertwright.reports.records import RunRecords, score_rows
from bertwright.reports.tables import score_table


def stage(kind: str, name: str, results: dict[str, Any]) -> dict[str, Any]:
    """Return a stage's record, as far as these tables read it."""
    about = {"started": "2025-03-04T10:00:00+00:00", "seconds": 3.0, "peak_memory_bytes": 1, "disk_bytes": 1}
    return {
        "kind": kind,
        "name": name,
        "identity": "0" * 32,
        "machine": {},
        "versions": {},
        **about,
        "results": results,
    }


def evaluated(name: str, known: str, scores: dict[str, dict[str, float]], **more: Any) -> dict[str, Any]:
    """Return the scores of a task of two labels, of one variant and two seeds."""
    told = {
        part: {
            metric: {"values": [value, value], "mean": value, "deviation": 0.0, "interval": [value, value], "notes": []}
            for metric, value in metrics.items()
        }
        for part, metrics in scores.items()
    }
    protocol = "protocol sane: the best of 2 settings on rows kept back from train"
    about = {"variant": "pretrained", "method": "full", "protocol": protocol, "settings_tried": 2}
    variant = {**about, "seeds": [0, 1], "scores": told, **more}
    first = next(iter(scores))
    facts = {"rows": 10, "floor": dict.fromkeys(next(iter(scores.values())))}
    return stage(
        "evaluate",
        f"evaluate/{name}",
        {
            "task": name,
            "known": known,
            "kind": "classification",
            "headline": {"set": first, "metric": next(iter(scores[first]))},
            "labels": ["no", "yes"],
            "sets": dict.fromkeys(scores, facts),
            "variants": [variant],
            "comparisons": [],
            "notes": [],
        },
    )


@pytest.fixture
def looked() -> RunRecords:
    """A made-up run whose task has a choice among two settings and a close look."""
    row = {"epochs": 1.5, "seconds": 61.0, "note": None}
    chosen = {
        "task": "rte",
        "variant": "pretrained",
        "metric": "accuracy",
        "select_on": "holdout",
        "varied": ["learning_rate"],
        "share": 0.5,
        "rows": 249,
        "epochs_spent": 4.5,
        "epochs_of_all": 12.0,
        "table": [
            {"learning_rate": 3e-5, "score": 0.71, "failed": None, **row},
            {"learning_rate": 1e-2, "score": None, "failed": "the loss was no number", **row},
        ],
    }
    bins = [{"count": 4, "confidence": 0.6, "right": 0.5}, {"count": 16, "confidence": 0.9, "right": 0.8}]
    hard = {"id": "7", "text": ["<b>one</b>", "two " * 60], "gold": "yes", "wrong": 2, "of": 2, "chance": 0.013}
    insight = {
        "calibration": {"errors": [0.1, 0.1], "error": 0.1, "bins": bins},
        "confusion": [[4.5, 0.5], [1.0, 4.0]],
        "often_wrong": [{**hard, "said": ["no"]}],
    }
    scores = evaluated("rte", "rte", {"dev": {"accuracy": 0.7}}, insight={"dev": insight})
    mnli = {"dev_matched": {"accuracy": 0.8}, "dev_mismatched": {"accuracy": 0.79}}
    stages = (stage("choose", "choose/rte/pretrained", chosen), scores, evaluated("nli", "mnli", mnli))
    return RunRecords(name="x", recipe_yaml="name: x\n", stages=stages, metrics={}, forecast={}, command="", created="")


def test_all_settings_are_told_the_best_first(looked: RunRecords) -> None:
    """What they differ in, scores in points, what failed, and what halving spared."""
    (table,) = settings_tables(looked, "rte")
    assert ("learning rate", "accuracy", "epochs run", "time", "what happened") == table.columns
    assert ("3e-05", "71.0", "1.5") == table.rows[0][:3]
    assert ("0.01", "undefined") == table.rows[1][:2] and "the loss was no number" == table.rows[1][-1]
    assert "249 rows: rows kept back from train" in table.caption
    assert "So far 4.5 epochs of the 12 that trying every setting to its end takes" in table.caption
    assert table.title.endswith("pretrained, for 50 % of their epochs")
    assert [] == settings_tables(looked, "other")


def test_a_choice_among_undefined_scores_is_not_of_the_best(looked: RunRecords) -> None:
    """The first was taken, and table, scores, averages and notes say so, with the reason; one defined score decides."""
    choice, *others = looked.stages
    rows = [{**row, "failed": None, "note": "all predictions are equal"} for row in choice["results"]["table"]]
    why = "no setting could be told from another (all predictions are equal), and the first was taken"
    told = replace(looked, stages=(stage("choose", choice["name"], {**choice["results"], "table": rows}), *others))
    (first, *_) = score_rows(told)
    assert "the best of 2" in first.protocol and [] == [note for note in notes(told) if "told from" in note]
    rows[0]["score"] = None
    (first, *_) = score_rows(told)
    assert f"protocol sane: the first of 2 settings on rows kept back from train; {why}" == first.protocol
    assert first.protocol in glue_table(told).rows[0][-1] and why in score_table(told, "rte").caption
    (table,) = settings_tables(told, "rte")
    assert f"{why.capitalize()}. So far" in table.caption
    assert f"rte, pretrained: {why}." in notes(told)


def test_a_closer_look_has_confusion_and_hard_rows(looked: RunRecords) -> None:
    """Labels down and across; long texts are cut; the surest mistakes say how sure."""
    _, confusion, hard = closer_tables(looked, "rte")
    assert ("gold", "no", "yes") == confusion.columns
    assert (("no", "4.5", "0.5"), ("yes", "1", "4")) == confusion.rows
    ((number, text, gold, said, wrong, chance),) = hard.rows
    assert ("7", "yes", "no", "2 of 2", "1.3 %") == (number, gold, said, wrong, chance)
    assert text.startswith("<b>one</b> | two") and 120 == len(text)


def test_glue_averages_say_what_they_lack(looked: RunRecords) -> None:
    """Three columns of nine, and two tasks of nine for the leaderboard."""
    papers, official = glue_table(looked).rows
    assert ("glue", "pretrained", "–", "MNLI-m 80.0, MNLI-mm 79.0, RTE 70.0") == papers[:4]
    assert "QQP, QNLI, SST-2, CoLA, STS-B, MRPC" == papers[4]
    assert "MNLI 79.5, RTE 70.0" == official[3]
    assert "On dev; means over seeds." in glue_table(looked).caption


def test_each_average_says_how_its_own_scores_came_about(looked: RunRecords) -> None:
    """Protocol, settings and seeds are those of the row's variant and tasks, and of no other one."""
    rte, nli = looked.stages[1:]
    other = {
        "variant": "untrained",
        "settings_tried": 24,
        "seeds": [0],
        "protocol": "own settings: the best of 24 on dev",
    }
    (first,) = rte["results"]["variants"]
    rte["results"]["variants"] = [first, {**first, **other}]
    (last,) = nli["results"]["variants"]
    one = {"settings_tried": 4, "seeds": [0, 1, 2], "protocol": "own settings: the best of 4 on dev"}
    nli["results"]["variants"] = [last, {**last, **other, **one}]
    table = glue_table(looked)
    assert ("seeds", "settings tried", "protocol") == table.columns[5:]
    said = {row[:2]: row[5:] for row in table.rows}
    sane = "protocol sane: the best of 2 settings on rows kept back from train"
    assert ("2", "2", sane) == said["glue", "pretrained"] == said["glue_official", "pretrained"]
    mixed = "rte: own settings: the best of 24 on dev; mnli: own settings: the best of 4 on dev"
    assert ("1 to 3", "4 to 24", mixed) == said["glue", "untrained"]
    assert "protocol" not in table.caption and "sane" not in table.caption


def test_wnli_is_said_of_the_leaderboards_average_alone(looked: RunRecords) -> None:
    """The papers' average leaves it out, and so do its seeds and settings."""
    wnli = evaluated("wnli", "wnli", {"dev": {"accuracy": 0.5}}, settings_tried=9)
    papers, official = glue_table(replace(looked, stages=(*looked.stages, wnli))).rows
    assert ("2", "2 to 9") == (papers[6], official[6])


def test_the_page_has_the_plot_and_escapes_the_rows(looked: RunRecords, tmp_path: Path) -> None:
    """The reliability plot stands with the scores and not among the curves of training."""
    chart = reliability_chart(looked)
    assert chart is not None and "calibration error 10.0 points" in chart.svg
    assert ["scores", "reliability"] == [one.name for one in charts(looked)]
    html = write_report(looked, tmp_path).read_text()
    assert "&lt;b&gt;one&lt;/b&gt;" in html and "<b>one</b>" not in html
    tasks, after = html.split('<section id="stages"')
    assert "calibration error" in tasks and "calibration error" not in after
    assert json.loads((tmp_path / "report.json").read_text())["glue"][0]["average"] == "glue"
