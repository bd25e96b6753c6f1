"""Every message that is raised on purpose: a sentence of what was found, what is expected and what to do."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "docs"))

from error_messages import ANYTHING, KINDS, TITLES, Told, collected

MESSAGES = collected()
# How our messages say what is expected ...
_EXPECTED = (
    "expected|has to|have to|needs?|wanted|allowed|at most|at least|supported|up to|only|may|is one of|are one of|"
    r"known (?:are|is)|(?:the|its|whose) [\w ]+ are|there (?:is|are)|it (?:is|has)|they are|are numbered|ends in|"
    "such as|could be|are called|which are|those that do are|are read from|a row is|is for|are of|"
    "is written|make one|continues"
)
# ... and what to do next: a verb that begins a clause.
_DO = (
    "add|allow|answer|ask|call|choose|convert|copy|correct|cut|describe|do|drop|end|export|fetch|fill|fit|free|give|go|hand|install|"
    "keep|leave|let|look|lower|make|mend|move|name|open|part|pass|predict|prepare|put|raise|remove|rename|report|run|say|scale|score|see|"
    "send|set|start|switch|take|train|try|use|wait|write"
)
NEXT = re.compile(
    rf"\b(?:{_EXPECTED})\b|(?:^|[;.:,(]\s*|\b(?:and|or|then|so)\s)(?:{_DO})\b|`bertwright|pip install", re.I
)


def faults(message: str) -> str | None:
    """Return what a message lacks, as far as a rule can tell."""
    if message.endswith((f": {ANYTHING}", f"; {ANYTHING}", f". {ANYTHING}")):
        return None  # what follows is another of our messages, whole, or what to do in each case
    if len(message.replace(ANYTHING, "").strip(" .:;,")) < 12:
        return "too short"
    return None if NEXT.search(message) else "neither what is expected nor what to do"


@pytest.mark.parametrize("told", MESSAGES, ids=[f"{one.file}:{one.line}" for one in MESSAGES])
def test_a_message_says_what_to_do(told: Told) -> None:
    """Found, expected, next step."""
    assert faults(told.message) is None, told.message


def test_the_rule_sees_poor_messages() -> None:
    """Bare complaints are none of ours."""
    for poor in ("invalid input", "… failed", "cannot open … because of an error", "bad value in …"):
        assert faults(poor) is not None


def test_all_kinds_are_collected() -> None:
    """Each kind that a user can meet has messages, so that the page of errors lacks none."""
    abstract = {"BertwrightError", "RecipeError"}
    assert {*KINDS} - abstract <= {one.kind for one in MESSAGES}
    assert {*TITLES} == {one.kind for one in MESSAGES}
    assert len(MESSAGES) > 400
