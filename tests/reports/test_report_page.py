"""The page: whole, self-contained, escaped, and bearing any missing stage."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bertwright.reports.answer import notes
from bertwright.reports.page import write_report
from bertwright.reports.records import RunRecords

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Outline(HTMLParser):
    """Collects tags, attributes and the texts between them, and checks that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that opens."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that closes itself."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        """Check that the tag that opened last closes."""
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.texts.append(data)


def write(run: RunRecords, folder: Path) -> tuple[str, Outline]:
    """Write a report and return its page with its outline."""
    text = write_report(run, folder).read_text(encoding="utf-8")
    return text, Outline(text)


def test_report_writes_page_figures_and_numbers(whole_run: RunRecords, tmp_path: Path) -> None:
    """A report is a page, PNG pictures and a JSON file with all records in it."""
    assert tmp_path / "report.html" == write_report(whole_run, tmp_path)
    figures = {path.stem: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    curves = {"loss_over_tokens", "loss_over_time", "learning_rate", "gradient_norm"}
    assert curves | {"trade_off", "scores"} == set(figures)
    assert all(content.startswith(b"\x89PNG") for content in figures.values())
    numbers = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(whole_run.stages) == numbers["records"]
    assert whole_run.metrics == numbers["metrics"]
    assert 0.842 == pytest.approx(numbers["scores"][0]["mean"])


def test_page_asks_nothing_of_the_network(whole_run: RunRecords, tmp_path: Path) -> None:
    """The page holds no script and no address outside itself, so it opens the same offline."""
    text, outline = write(whole_run, tmp_path)
    assert not {"script", "link", "img", "iframe"} & set(outline.tags)
    links = [value for name, value in outline.attributes if name in ("href", "src", "xlink:href")]
    assert links and all(value.startswith("#") for value in links)
    assert not re.search(r"https?://|@import|url\((?!#)", text)


def test_page_is_well_formed_and_its_links_arrive(whole_run: RunRecords, tmp_path: Path) -> None:
    """Every tag closes, every name is given once, and every link inside the page finds its target."""
    _, outline = write(whole_run, tmp_path)
    assert [] == outline.open
    names = [value for name, value in outline.attributes if name == "id"]
    assert len(names) == len(set(names))
    assert {value[1:] for name, value in outline.attributes if name.endswith("href")} <= set(names)


def test_texts_of_the_user_are_escaped(whole_run: RunRecords, tmp_path: Path) -> None:
    """Names, commands and recipes that look like HTML or formulas are shown as they were written."""
    nasty = '<script>alert(1)</script> $x_$ & "quoted" 雪'
    stages = json.loads(json.dumps(whole_run.stages).replace("triage", json.dumps(nasty)[1:-1]))
    run = dataclasses.replace(
        whole_run, name=nasty, command=nasty, recipe_yaml=f"name: {nasty}\n", stages=tuple(stages), forecast=None
    )
    text, outline = write(run, tmp_path)
    assert "<script" not in text
    assert nasty in outline.texts  # as the title of the page
    assert f"Scores of {nasty}" in outline.texts
    assert any(part.startswith(nasty) and part.endswith("on dev") for part in outline.texts)  # in the picture


@pytest.mark.parametrize(
    "kinds",
    [
        ("tokenizer",),
        ("tokenizer", "prepare"),
        ("tokenizer", "prepare", "pretrain"),
        ("pretrain",),
        ("initialise", "finetune"),
        ("finetune", "evaluate"),
        ("evaluate",),
        ("no such kind",),
    ],
)
def test_any_stage_may_be_missing(made_up: Callable[..., RunRecords], kinds: tuple[str, ...], tmp_path: Path) -> None:
    """A run that was stopped early, or that starts from a given encoder, has a report of what is there."""
    _, outline = write(made_up(*kinds), tmp_path)
    texts = "".join(outline.texts)
    assert ("Loss over time" in texts) == ("pretrain" in kinds)
    assert ("Scores of triage" in texts) == ("evaluate" in kinds)
    assert ("Fine-tuning of triage" in texts) == ("finetune" in kinds)
    assert ("Troubles in the text" in texts) == ("prepare" in kinds)


def test_fine_tuning_is_shown_before_there_are_scores(made_up: Callable[..., RunRecords], tmp_path: Path) -> None:
    """Tasks that are tuned and not yet scored have their table of runs."""
    _, outline = write(made_up("finetune"), tmp_path)
    assert "Fine-tuning of similar" in outline.texts


def test_pictures_of_an_earlier_report_go(
    made_up: Callable[..., RunRecords], whole_run: RunRecords, tmp_path: Path
) -> None:
    """A second report leaves no picture that belongs to the first one only."""
    write_report(whole_run, tmp_path)
    write_report(made_up("evaluate"), tmp_path)
    assert {"scores.png", "trade_off.png"} == {path.name for path in (tmp_path / "figures").iterdir()}


def test_same_records_give_the_same_bytes(whole_run: RunRecords, tmp_path: Path) -> None:
    """Two reports of one run are equal, byte for byte."""
    first, second = (write_report(whole_run, tmp_path / name).parent for name in ("a", "b"))
    names = sorted(path.relative_to(first) for path in first.rglob("*.*"))
    assert {".html", ".json", ".png"} == {path.suffix for path in names}
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_what_was_left_out_of_the_text_is_said(whole_run: RunRecords) -> None:
    """Repeats, near ones and the slower library each have a sentence."""
    said = " ".join(notes(whole_run))
    assert "12 documents the same as an earlier one, left out" in said
    assert "1 document nearly the same as an earlier one, left out" in said
    assert "encoded by tokenizers, the slower library, because tokie cannot load it (x)." in said
