"""Cards as pages: names that would break them, and what is not known."""

from __future__ import annotations

from dataclasses import replace

import yaml

from bertwright.reports.card import Card, CardScore, markdown
from bertwright.reports.loading import load_classifier, load_pack

PLAIN = Card(
    title="triage",
    summary="A classifier.",
    license="unknown",
    library="transformers",
    pipeline="text-classification",
    tags=("bertwright",),
    facts={"labels": "a, b"},
    data=(("train.csv", "training", "3 rows"),),
    settings={"epochs": 3.0, "clip": None},
    identity="0" * 32,
    limits=("short rows",),
    loading="so",
    task="triage",
    protocol="one setting",
    unscored="not yet",
)


def test_names_of_a_user_cannot_break_a_page() -> None:
    """A name with a pipe, a line break or a tag stays one cell; YAML in a title stays a title."""
    hostile = replace(
        PLAIN,
        title="x\n---\nlicense: mit",
        license="mit\\n: [",
        facts={"labels": "a | b\n<script>"},
        scores=(CardScore("d|v\n- x", "accuracy", 4, 0.5, 1, 0.5, None, None),),
    )
    page = markdown(hostile)
    [told] = list(yaml.safe_load_all(page[4:].split("\n---\n\n")[0]))
    assert "other" == told["license"]
    assert "mit\\n: [" == told["license_name"]
    assert hostile.title == told["model-index"][0]["name"]
    assert "| labels | a \\| b &lt;script> |" in page
    assert "| d\\|v - x | accuracy | 50.0 | – | – | 1 | 4 |" in page


def test_what_is_not_known_is_said() -> None:
    """No scores: why; no licence: ask; a setting that is off is off."""
    page = markdown(PLAIN)
    assert "## Scores\n\nnot yet" in page
    assert "model-index" not in page
    assert "| license | unknown: nobody named one, so ask before you use it |" in page
    assert "| clip | off |" in page


def test_an_undefined_score_is_no_result() -> None:
    """It is called undefined in the table, and hubs are not told a number."""
    page = markdown(replace(PLAIN, scores=(CardScore("dev", "matthews", 4, None, 1, None, None, None),)))
    assert "| dev | Matthews correlation | undefined |" in page
    assert "model-index" not in page


def test_loading_names_the_columns_of_patterns() -> None:
    """Texts that are made of columns name each of them, and a quote in a name stays Python."""
    assert "FILE.csv" in load_pack(("{title} {body}", "note"))
    assert "columns title, body, note:" in load_pack(("{title} {body}", "note"))
    code = load_classifier(('no"te', "{a} {b}"), "regression", 32)
    compile(code.split("```python\n")[1].split("```")[0], "card", "exec")
    assert "text of a and b" in code
