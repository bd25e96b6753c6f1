"""Rows of the recipe's tasks that stand in its text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bertwright
from bertwright import files
from bertwright.pipeline.plan import plan

Toy = Callable[..., Path]
SHARED = [
    f"ba{a}n ko{b}k mi{a}sh tu{b} la{a} re so{b}n baba{a} kolo{b} mimi tutu{a} lala{b} rere soso"
    for a in "aeiou"
    for b in "ae"
]


@pytest.fixture
def planted(toy: Toy) -> Path:
    """A recipe whose dev rows 2 and 5 stand in its text, and one of them in two documents."""
    path = toy(pretrain=None, finetune={"seeds": 1, "baseline": False}, prepare={"overlap": "remove"})
    folder = path.parent
    rows = [{"text": text, "label": ("high", "low")[n % 2]} for n, text in enumerate(SHARED)]
    (folder / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = (folder / "texts" / "1.txt").read_text()
    cut = SHARED[5].split()[1:]  # thirteen of its fourteen words
    more = [f"lore {SHARED[2]} kora", f"mira {' '.join(cut)}", SHARED[2].upper(), " ".join(SHARED[7].split()[:12])]
    (folder / "texts" / "1.txt").write_text("\n\n".join([text.strip(), *more]) + "\n")
    return path


def listed(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the lines of a list that the stage wrote."""
    return files.read_json_lines(folder / "overlap" / name)


def test_shared_runs_are_counted_listed_and_left_out(planted: Path) -> None:
    """Thirteen words in a row are found in any case, twelve are not; the documents go from the rows on request."""
    result = bertwright.prepare(planted)
    found = {one["set"]: one for one in result.stages["overlap"].record["results"]["sets"]}
    assert (10, 10, 2) == tuple(found["dev"][key] for key in ("rows", "checked", "found"))
    assert (48, 0, 0) == tuple(found["train"][key] for key in ("rows", "checked", "found"))
    assert [("dev", "3"), ("dev", "6")] == [(row["set"], row["row"]) for row in listed(result.folder, "rows.jsonl")]
    documents = listed(result.folder, "documents.jsonl")
    assert [21, 22, 23] == [row["document"] for row in documents]
    assert [2, 1, 2] == [row["runs"] for row in documents]
    assert 3 == result.stages["prepare"].record["results"]["overlapping"]
    kept = bertwright.prepare(bertwright.load_recipe(planted, ["prepare.overlap=report"]))
    assert 0 == kept.stages["prepare"].record["results"]["overlapping"]
    assert kept.report is not None
    assert "2 rows of dev share 13 words in a row with the corpus" in kept.report.read_text()


def test_a_changed_task_prepares_again_only_what_hangs_on_it(planted: Path) -> None:
    """Where documents are left out the rows hang on the tasks; where they are told, they do not."""

    def identities(overlap: str) -> dict[str, str]:
        recipe = bertwright.load_recipe(planted, [f"prepare.overlap={overlap}"])
        return {stage.name: stage.identity for stage in plan(recipe) if stage.kind in ("prepare", "overlap")}

    before = {overlap: identities(overlap) for overlap in ("remove", "report", "off")}
    dev = planted.parent / "dev.jsonl"
    dev.write_text(dev.read_text() + json.dumps({"text": "one more", "label": "low"}) + "\n")
    after = {overlap: identities(overlap) for overlap in ("remove", "report", "off")}
    assert before["remove"]["prepare"] != after["remove"]["prepare"]
    assert before["report"]["prepare"] == after["report"]["prepare"] == after["off"]["prepare"]
    assert before["report"]["overlap"] != after["report"]["overlap"]
    assert "overlap" not in after["off"]
