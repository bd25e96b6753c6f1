"""Two runs side by side: settings, data, and scores with what their rows allow to say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bertwright.cli.main import call
from bertwright.errors import InputError
from bertwright.pipeline.compare import compare_runs, write_comparison
from bertwright.reports.comparison import data_changes, recipe_changes, summary_lines

GOLD = [0, 1] * 50
IDENTITY = "e" * 32


def finished(
    root: Path,
    answers: Sequence[Sequence[int]],
    *,
    recipe: str = "name: toy\n",
    variant: str = "pretrained",
    checksum: str = "c" * 32,
    gold: Sequence[int] = GOLD,
) -> Path:
    """Write a run as a store holds it: its report's numbers, and each seed's answers on dev; return its folder."""
    folder = root / "store" / "runs" / "toy"
    folder.mkdir(parents=True)
    values = [sum(a == g for a, g in zip(one, gold, strict=True)) / len(gold) for one in answers]
    score = {"values": values, "mean": sum(values) / len(values), "deviation": None, "interval": None, "notes": []}
    told: dict[str, Any] = {"variant": variant, "method": "full", "protocol": "", "settings_tried": 1}
    told |= {"seeds": list(range(len(answers))), "scores": {"dev": {"accuracy": score}}}
    results = {
        "task": "triage",
        "labels": ["no", "yes"],
        "headline": {"set": "dev", "metric": "accuracy"},
        "sets": {"dev": {"rows": len(gold), "floor": {"accuracy": 0.5}}},
        "variants": [told],
    }
    parts = {"options": {"task": {"positive": None}}, "inputs": {}, "contents": {"set dev": checksum}}
    record = {"kind": "evaluate", "name": "evaluate/triage", "identity": IDENTITY, "seconds": 2.0}
    numbers = {"name": "toy", "recipe": recipe, "records": [{**record, "parts": parts, "results": results}]}
    rest: dict[str, Any] = {"metrics": {}, "forecast": None, "command": "", "created": "2025-03-04T11:02:00+00:00"}
    (folder / "report.json").write_text(json.dumps(numbers | rest))
    for seed, one in enumerate(answers):
        path = root / "store/stages" / f"evaluate-{IDENTITY}" / "predictions" / variant / f"seed-{seed}/dev.parquet"
        path.parent.mkdir(parents=True)
        ids = [str(number) for number in range(len(gold))]
        pq.write_table(pa.table({"id": ids, "gold": list(gold), "predicted": list(one)}), path)
    return folder


HALF = [0, 0] * 50


def test_a_difference_on_the_same_rows_is_tested(tmp_path: Path) -> None:
    """All rows right against half of them: 50 points, and the interval of 100 rows is far from 0."""
    found = compare_runs(finished(tmp_path / "a", [GOLD, GOLD]), finished(tmp_path / "b", [HALF, HALF]))
    [pair] = found.scores
    assert 0.5 == pytest.approx(pair.difference)
    assert pair.clear and pair.interval is not None
    # Rows that differ are binomial: 50 of 100, so two standard errors are 10 points.
    assert (0.4, 0.6) == pytest.approx(pair.interval, abs=0.03)
    assert any("+50.0 accuracy (clear)" in line for line in summary_lines(found))


def test_the_same_answers_are_no_difference(tmp_path: Path) -> None:
    """Two runs that answer alike differ by 0, which is not clear."""
    [pair] = compare_runs(finished(tmp_path / "a", [HALF]), finished(tmp_path / "b", [HALF])).scores
    assert (0.0, (0.0, 0.0), False) == (pair.difference, pair.interval, pair.clear)


def test_seeds_that_both_runs_have_are_drawn_together(tmp_path: Path) -> None:
    """Two seeds far apart, of which each run has four points more with the one: clear, as the seeds are the same."""
    rows = [[1, 1] * 2 + GOLD[4:], [1, 1] * 40 + GOLD[80:]]
    better = [[*GOLD[:4], *GOLD[4:]], [1, 1] * 36 + GOLD[72:]]
    a, b = finished(tmp_path / "a", better), finished(tmp_path / "b", rows)
    [pair] = compare_runs(a, b).scores
    told = json.loads((b / "report.json").read_text())
    told["records"][0]["results"]["variants"][0]["seeds"] = [0, 7]
    (b / "report.json").write_text(json.dumps(told))
    stage = tmp_path / "b/store/stages" / f"evaluate-{IDENTITY}" / "predictions/pretrained"
    (stage / "seed-1").rename(stage / "seed-7")
    [other] = compare_runs(a, b).scores
    assert pair.interval is not None and other.interval is not None
    assert pair.difference == other.difference
    assert pair.interval[1] - pair.interval[0] < 0.5 * (other.interval[1] - other.interval[0])


def test_a_score_that_most_samples_lack_is_not_tested(tmp_path: Path) -> None:
    """One row of a hundred has the positive label, so that F1 has no value in a third of the samples."""
    gold, none = [0] * 99 + [1], [0] * 100
    folders = [finished(tmp_path / name, [one], gold=gold) for name, one in (("a", gold), ("b", none))]
    for folder in folders:
        text = (folder / "report.json").read_text().replace('"accuracy"', '"f1"')
        (folder / "report.json").write_text(text.replace('"positive": null', '"positive": "yes"'))
    found = compare_runs(*folders)
    [pair] = found.scores
    assert (None, False) == (pair.interval, pair.clear)
    assert 0.3 < pair.undefined < 0.45
    said = "\n".join(summary_lines(found))
    assert f"not tested: a score is undefined in {100 * pair.undefined:.1f} % of the bootstrap's samples" in said


def test_variants_of_other_names_meet_where_none_is_common(tmp_path: Path) -> None:
    """Where no variant has the same name, each run's first one stands for it."""
    a, b = finished(tmp_path / "a", [GOLD]), finished(tmp_path / "b", [HALF], variant="other")
    [pair] = compare_runs(a, b).scores
    assert ("pretrained", "other", True) == (pair.a.variant, pair.b.variant, pair.clear)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"checksum": "d" * 32}, "the set's files are not the same"),
        ({"gold": [1, 0] * 50}, "the rows or their labels are not the same"),
    ],
)
def test_other_rows_are_not_tested(tmp_path: Path, other: dict[str, Any], why: str) -> None:
    """A difference over other rows is shown without an interval, and the verdict says why."""
    found = compare_runs(finished(tmp_path / "a", [GOLD]), finished(tmp_path / "b", [HALF], **other))
    [pair] = found.scores
    assert (None, False, why) == (pair.interval, pair.clear, pair.why)
    assert f"not tested: {why}" in "\n".join(summary_lines(found))


def test_a_report_that_came_alone_is_compared_without_rows(tmp_path: Path) -> None:
    """``report.json`` is enough for scores and settings; without its store nothing is tested."""
    (tmp_path / "sent").mkdir()
    sent = Path(shutil.copy(finished(tmp_path / "b", [HALF]) / "report.json", tmp_path / "sent" / "report.json"))
    [pair] = compare_runs(finished(tmp_path / "a", [GOLD]), sent).scores
    assert (0.5, "the store does not hold the answers to its rows") == (pair.difference, pair.why)


def test_entries_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """A change of the first is seen beside the second; a loss may be a name alone."""
    one, two = (
        f"finetune:\n  trainable: [{{method: full, loss: poe, epochs: {epochs}}}, {{method: bitfit, epochs: 1}}, "
        f"{{method: bitfit, layers: 1-2, epochs: {epochs}}}, {{method: bitfit, epochs: 2}}]\n"
        for epochs in (3, 4)
    )
    found = compare_runs(finished(tmp_path / "a", [GOLD], recipe=one), finished(tmp_path / "b", [GOLD], recipe=two))
    keys = ["finetune.trainable[full-poe].epochs", "finetune.trainable[bitfit 2].epochs"]
    assert keys == [change.key for change in recipe_changes(found.a, found.b)]


def test_settings_and_data_that_differ_are_named(tmp_path: Path) -> None:
    """Keys are whole, entries of lists have their names, and where a file lies is no difference."""
    same = "store: /x/store\nname: x\ntasks:\n- name: triage\n  train: /x/train.csv\n"
    one = same + "  epochs: 3\nfinetune:\n  trainable: [full, {method: bitfit, learning_rate: 0.001}]\n"
    two = (
        same.replace("/x/s", "/y/my-s").replace("/x", "/y").replace("name: x", "name: y")
        + "  epochs: 4\nfinetune:\n  trainable: [full, {method: bitfit}]\n"
    )
    a, b = finished(tmp_path / "a", [GOLD], recipe=one), finished(tmp_path / "b", [GOLD], recipe=two, checksum="d" * 32)
    found = compare_runs(a, b)
    assert [("tasks[triage].epochs", "3", "4"), ("finetune.trainable[bitfit].learning_rate", "0.001", None)] == [
        (change.key, change.a, change.b) for change in recipe_changes(found.a, found.b)
    ]
    assert [("triage: set dev", "c" * 12, "d" * 12)] == [
        (change.key, change.a, change.b) for change in data_changes(found.a, found.b)
    ]


def test_the_command_prints_and_writes_the_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`report --compare A B` writes a page and its JSON, and prints the same as text and as JSON."""
    a, b = finished(tmp_path / "a", [GOLD]), finished(tmp_path / "b", [HALF])
    page = tmp_path / "both.html"
    assert 0 == call(["report", "--compare", str(a), str(b), "-o", str(page), "--json"])
    out, err = capsys.readouterr()
    told = json.loads(out.splitlines()[-1])
    assert told["ok"] and 0.5 == told["scores"][0]["difference"]
    assert "+50.0" in err
    assert told["scores"] == json.loads(page.with_suffix(".json").read_text())["scores"]
    text = page.read_text()
    assert "A: toy against B: toy" in text and "+50.0" in text and "<script" not in text


def test_texts_of_a_compared_run_are_escaped(tmp_path: Path) -> None:
    """A recipe that holds HTML is shown as it was written."""
    nasty = "name: <script>alert(1)</script>\n"
    found = compare_runs(finished(tmp_path / "a", [GOLD], recipe=nasty), finished(tmp_path / "b", [GOLD]))
    assert "<script" not in write_comparison(found, tmp_path / "page.html").read_text()


def test_what_cannot_be_compared_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A path that is not there, a folder without a report, and a JSON file of another kind are named."""
    run = finished(tmp_path / "a", [GOLD])
    (tmp_path / "other.json").write_text("[1]")
    for path, said in (
        (tmp_path / "none", "is not there; name a recipe"),
        (tmp_path, "`bertwright report RECIPE` writes it"),
        (tmp_path / "other.json", "is not a report's numbers"),
    ):
        with pytest.raises(InputError, match=said):
            compare_runs(run, path)
    assert 2 == call(["report"])
    assert "give a RECIPE, or --compare A B" in capsys.readouterr().err
    assert 2 == call(["report", "recipe.yaml", "--compare", str(run), str(run)])
    assert "leave it out" in capsys.readouterr().err
