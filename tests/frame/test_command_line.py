"""What a shell sees: errors of the command line, plain lines of progress, colours only where they are wanted."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from rich.console import Console

from bertwright.cli.console import STOPPED
from bertwright.cli.main import app, call
from bertwright.recipe import reading
from bertwright.screen import Screen, figures_line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "No such command 'nope'; `bertwright --help`"),
        (["run"], "Missing argument 'RECIPE'; `bertwright run --help`"),
        (["store", "list", "--xyzzy"], "No such option: --xyzzy; `bertwright store list --help`"),
        (["report", "--compare", "a"], "'--compare' requires 2 arguments"),
        (["report", "r.yaml", "-o", "page.html"], "names the page of --compare"),
        (["report", "--compare", "a", "b", "-o", "page.json"], "name an .html file"),
        (["export", "m", "-o", "m.onnx", "--one-file", "--rows", "r.csv", "--label", "y"], "no --rows, --label; leave"),
        (["prepare", "r.yaml", "--sizes", "²"], "write whole numbers"),
        (["plan", "."], ".: is a folder; name a recipe, a YAML file"),
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
    assert 2 == call(["run", "--json", "--xyzzy", "recipe.yaml"])
    told = json.loads(capsys.readouterr().out)
    assert (False, "UsageError", 2) == (told["ok"], told["error"]["kind"], told["exit_code"])


@pytest.mark.parametrize("group", [[], ["exits"], ["pack"], ["store"]], ids=str)
def test_a_group_alone_shows_its_help(group: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It exits with 2, and says what there is rather than that something is wrong; no line of it is cut off."""
    assert 2 == call(group)
    out, err = capsys.readouterr()
    assert "" == out
    assert err.startswith("Usage: bertwright") and "Commands:" in err
    assert "error" not in err.lower() and "..." not in err.partition("Commands:")[2]


def every_command(group: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Give every command by its words."""
    for name, command in group.commands.items():
        yield from every_command(command, (*names, name)) if hasattr(command, "commands") else [(*names, name)]


@pytest.mark.parametrize("command", list(every_command(typer.main.get_command(app))), ids=" ".join)
def test_every_command_has_the_options_of_all(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """`--json`, `--quiet` and `--verbose` are known everywhere; a word too many shows that they were read."""
    assert 2 == call([*command, "--json", "-q", "-v", "--xyzzy"])
    assert "No such option: --xyzzy" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_what_a_command_was_asked_is_forgotten_by_the_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that prints JSON is followed by one that does not."""
    assert 0 == call(["init", str(tmp_path / "a.yaml"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (True, str(tmp_path / "a.yaml"), []) == (told["ok"], told["recipe"], told["notes"])
    assert 0 == call(["schema"])
    plain = json.loads(capsys.readouterr().out)
    assert 0 == call(["schema", "--json"])
    assert {"ok": True, "schema": plain} == json.loads(capsys.readouterr().out)


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


def test_a_long_wait_before_the_first_stage_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The forecast takes a step of each shape, which a slow machine works at for minutes."""
    with Screen() as screen:
        screen("forecast", {"event": "begin", "why": "takes a real step of each shape"})
    assert "forecast: starts (takes a real step of each shape)" in capsys.readouterr().err


def test_the_time_left_survives_a_narrow_terminal() -> None:
    """It stands among the first figures, because the last ones are cut off."""
    line = figures_line({"share": 0.31, "step": 4, "final_step": 13, "loss": 6.5, "seconds_left": 50.0})
    assert " 31%, 50 s left, step 4 of about 13, loss 6.500" == line


def test_a_choice_of_the_recipe_given_as_an_option_is_told_how(capsys: pytest.CaptureFixture[str]) -> None:
    """`run --budget` is what a newcomer tries; a command that takes no recipe says nothing of it."""
    assert 2 == call(["run", "--budget", "3"])
    assert "without dashes" in (told := capsys.readouterr().err) and "pretrain.budget=5min" in told
    assert 2 == call(["tasks", "--budget", "3"])
    assert "without dashes" not in capsys.readouterr().err


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


def test_ctrl_c_is_told_however_early_it_comes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While a recipe is read no command has its own way to stop yet; typer leaves without a word then."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "load_recipe", interrupted)
    assert 1 == call(["run", "recipe.yaml"])
    assert "error: stopped. What was finished is kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    "where",
    [
        "try:\n    {stop}\nexcept Exception as error:\n    raise DataError(f'it cannot be opened ({{error}})')",
        "try:\n    {stop}\nexcept BaseException:\n    raise TypeError('no shape')",
        "import weakref\nheld = set()\nweak = weakref.ref(held, lambda _: {stop})\ndel held\ntime.sleep(5)",
    ],
    ids=["a library's error", "a library that gives another", "a callback"],
)
def test_a_stop_is_heard_wherever_it_comes(where: str, tmp_path: Path) -> None:
    """In a call whose every error means a broken file, and in a callback, whose errors the interpreter drops."""
    body = where.format(stop="os.kill(os.getpid(), signal.SIGTERM)").replace("\n", "\n    ")
    code = (
        "import os, signal, sys, time\n"
        "import bertwright.recipe.reading\n"
        "from bertwright.cli import main\n"
        "from bertwright.errors import DataError\n"
        f"def read(*_, **__):\n    {body}\n"
        "bertwright.recipe.reading.load_recipe = read\n"
        "main.main(['plan', 'recipe.yaml'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (1, f"error: {STOPPED}\n") == (done.returncode, done.stderr)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_behind_the_last_word_ends_the_process_in_silence(sent: signal.Signals) -> None:
    """While the interpreter winds down."""
    code = (
        "import atexit, os\n"
        "from bertwright.cli import main\n"
        f"atexit.register(os.kill, os.getpid(), {sent:d})\n"
        "main.main(['--version'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (-sent, "") == (done.returncode, done.stderr)


def test_a_strangers_words_steer_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences and marks of direction in a recipe's key or a file's labels are shown by their codes."""
    (tmp_path / "r.yaml").write_text('"\\e[31mk\\u009bx\\u202e": 1\n')
    assert 2 == call(["plan", str(tmp_path / "r.yaml")])
    assert r"\x1b[31mk\x9bx\u202e: no such key" in capsys.readouterr().err
    teams = ("be\x1b[2Jds", "Stühle")
    rows = "".join(f"the words of row {n},{teams[n % 2]}\n" for n in range(8))
    (tmp_path / "a.csv").write_text(f"note,team\n{rows}")
    assert 0 == call(["tasks", "--guess", str(tmp_path / "a.csv")])
    out = capsys.readouterr().out
    assert r"be\x1b[2Jds" in out and "Stühle" in out and "\x1b" not in out
