"""A card of a stranger's pack: the words of its header stay words, and make no Markdown and no HTML of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from foreign import toy_pack_bytes

from bertwright import pack
from bertwright.reports.card import markdown
from bertwright.reports.pack_cards import pack_card

ODD = "a`\n```\n\n<script>alert(1)</script>\n"


@pytest.mark.parametrize("whole", [False, True])
def test_no_word_of_a_header_leaves_its_line(tmp_path: Path, whole: bool) -> None:
    """Neither tags, nor ends of code, nor lines; the front matter and the code quote them."""
    (tmp_path / "toy.pack").write_bytes(toy_pack_bytes())
    found = pack.read(tmp_path / "toy.pack")
    odd = replace(
        found,
        task=replace(found.task, name=ODD, text=(ODD,), labels=(ODD, "b")),
        recipe=ODD,
        policy={"policy": "never", "sentence": ODD},
        scores=(pack.Score(ODD, "accuracy", 0.5, 0, "fp32", ODD),),
    )
    _, _, page = markdown(pack_card(odd, whole=whole)).partition("\n---\n")
    lines = [line for line in page.split("\n") if not line.startswith("inputs = tokenizer(")]
    plain = [line for line in markdown(pack_card(found, whole=whole)).split("\n") if line.startswith("```")]
    assert plain == [line for line in lines if line.startswith("```")]
    assert [] == [line for line in lines if "<script" in line]
    assert any("&lt;script" in line for line in lines)
