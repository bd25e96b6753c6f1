"""Texts with marks: plain in a terminal, spans on a page, nothing from outside taken for HTML."""

from __future__ import annotations

from jinja2 import Environment

from bertwright.reports.marked_text import marked
from bertwright.reports.table import Table


def test_marks_stand_around_words_and_text_is_escaped() -> None:
    """Columns are joined, each word with a share has a span, and a tag in the text is no tag."""
    text = marked(
        ["a <b>", "c & d"],
        [[0, 0, 1, 0.5, None], [0, 2, 3, 0.25, None], [0, 3, 4, None, None], [1, 0, 1, 0.0, 1.0]],
        99,
    )
    assert "a <b> | c & d" == text
    page = Environment(autoescape=True).from_string("{{ cell }}").render(cell=text)
    assert (
        '<span class="word" style="--main: 0.50; --expert: 0.00">a</span> '
        '<span class="word" style="--main: 0.25; --expert: 0.00">&lt;</span>b&gt; | '
        '<span class="word" style="--main: 0.00; --expert: 1.00">c</span> &amp; d'
    ) == page
    assert "a <b> | c & d" in Table("t", ("text",), ((text,),)).lines()[1]


def test_a_long_text_is_cut_and_so_are_its_marks() -> None:
    """What is cut away takes its marks along."""
    text = marked(["one two"], [[0, 0, 3, 1.0, None], [0, 4, 7, 1.0, None]], 6)
    assert "one t…" == text
    assert ((0, 3, 1.0, 0.0),) == text.marks
