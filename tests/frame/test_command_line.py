"""What a shell sees: errors of the command line, plain lines of progress, colours only where they are wanted."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from bertwright.cli.main import call
from bertwright.screen import Screen


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "No such command 'nope'; `bertwright --help`"),
        (["run"], "Missing argument 'RECIPE'; `bertwright run --help`"),
        (["store", "list", "--quux"], "No such option: --quux; `bertwright store list --help`"),
        (["report", "--compare", "a"], "'--compare' requires 2 arguments"),
    ],
)
def test_a_wrong_command_line_is_one_plain_error(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told in one line as every error is, with the help that lists what there is, and exits with 2."""
    assert 2 == call(arguments)
    out, err = capsys.readouterr()
    assert "" == out
    assert err.startswith("error: ") and said in err and 1 == err.count("\n")


def test_a_wrong_command_line_is_told_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asked for JSON gets it even where the options could not be read."""
    assert 2 == call(["run", "--json", "--quux", "recipe.yaml"])
    told = json.loads(capsys.readouterr().out)
    assert (False, "UsageError", 2) == (told["ok"], told["error"]["kind"], told["exit_code"])


LONG = "a[b]c :smile: " + "word " * 60


def test_progress_in_a_file_keeps_words_and_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets and colons of the user's names are no markup, and a long line stays one line."""
    with Screen() as screen:
        screen("tokenizer", {"event": "begin", "why": "has not run yet"})
        screen("tokenizer", {"event": "work", "said": LONG})
    err = capsys.readouterr().err
    assert ["tokenizer: starts (has not run yet)", f"tokenizer: {LONG}".rstrip()] == [
        line.rstrip() for line in err.splitlines()
    ]


@pytest.mark.parametrize("wanted", [True, False])
def test_no_color_is_heeded(wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the live line has colours; with NO_COLOR set it has none."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not wanted:
        monkeypatch.setenv("NO_COLOR", "1")
    screen, terminal = Screen(), io.StringIO()
    monkeypatch.setenv("TERM", "xterm-256color")
    screen.console = Console(file=terminal, force_terminal=True, width=100, no_color=screen.console.no_color)
    with screen:
        screen("tokenizer", {"event": "begin", "why": "has not run yet"})
        screen("tokenizer", {"event": "work", "share": 0.5})
    colours = re.findall(r"\x1b\[[0-9;]*(?:3[0-7]|38;5;\d+|38;2;[0-9;]+)m", terminal.getvalue())
    assert wanted == bool(colours)
