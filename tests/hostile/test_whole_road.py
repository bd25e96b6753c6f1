"""The whole road without a network, with secrets in the environment and in the texts: what asks, what leaks, where to.

The network is blocked twice: every Python process has a hook that refuses and notes what is not loopback, and where the
system allows it (``unshare``) there is no network to reach either, for libraries that do not go through Python.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from road import SECRET_TEXT

HERE = Path(__file__).parent
TOKENS = {
    "BERTWRIGHT_TOKEN": "bearer-3f9c1d7e5b2a4860",
    "HF_TOKEN": "hf_8d1f0c2b3a495e6d7c8b9a0f",
    "WANDB_API_KEY": "wandb-5e6d7c8b9a0f8d1f0c2b3a49",
    "MLFLOW_TRACKING_PASSWORD": "mlflow-0c2b3a495e6d7c8b",
}
GUARD = """
import os, sys
_LOCAL = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", None)
def _look(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"):
        place = arguments[0] if event.startswith("socket.get") else arguments[-1]
        host = place[0] if isinstance(place, tuple) else place
        unix = isinstance(place, (str, bytes)) and not event.startswith("socket.get")
        if unix or host in _LOCAL or (isinstance(host, str) and host.startswith("127.")):
            return
        with open(os.environ["NETWORK_NOTES"], "a") as notes:
            notes.write(f"{event} {place!r} by {sys.argv}\\n")
        raise OSError(f"no network in this test: {event} {place!r}")
sys.addaudithook(_look)
"""


@dataclass(frozen=True)
class Road:
    """What was left: the folder, what was printed, who asked for the network."""

    folder: Path
    printed: str
    asked: str


def environment(folder: Path) -> dict[str, str]:
    """Return an environment with tokens and the guard, in which nothing says that there is no network."""
    (folder / "sitecustomize.py").write_text(GUARD)
    paths = [str(folder), *filter(None, sys.path)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    return {
        **kept,
        **TOKENS,
        "PYTHONPATH": os.pathsep.join(paths),
        "NETWORK_NOTES": str(folder / "asked"),
        "HOME": str(folder),
    }


def without_network() -> list[str]:
    """Return the command that takes a process's network away, where the system allows it."""
    command = ["unshare", "--map-root-user", "--net"]
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        allowed = False
    return command if allowed else []


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    """Go the road once."""
    guard, folder = tmp_path_factory.mktemp("guard"), tmp_path_factory.mktemp("road")
    command = [*without_network(), sys.executable, str(HERE / "road.py"), str(folder)]
    done = subprocess.run(command, env=environment(guard), capture_output=True, text=True, check=False)
    assert "arrived" in done.stdout, done.stderr[-3000:]
    asked = guard / "asked"
    return Road(folder, done.stdout + done.stderr, asked.read_text() if asked.exists() else "")


def holding(folder: Path, secret: str) -> set[str]:
    """Return the files of a folder that hold a text, as plain bytes."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and secret.encode() in path.read_bytes()
    }


def test_the_guard_refuses_and_notes(tmp_path: Path) -> None:
    """It would not go unnoticed if something asked."""
    code = "import urllib.request; urllib.request.urlopen('http://198.51.100.1/', timeout=1)"
    command = [*without_network(), sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert "no network in this test" in done.stderr
    assert "198.51.100.1" in (tmp_path / "asked").read_text()


def test_nothing_asks_for_the_network(road: Road) -> None:
    """Text, tokenizer, models, report, answers, export and server: no host but loopback is looked up or called."""
    assert "" == road.asked


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_of_the_environment_land_nowhere(road: Road, name: str) -> None:
    """Not in records, logs, reports, exports, output, or the server's command line."""
    assert set() == holding(road.folder, TOKENS[name])
    assert TOKENS[name] not in road.printed
    assert (road.folder / "serve.cmdline").stat().st_size > 20


def test_a_users_text_stands_where_the_privacy_page_says(road: Road) -> None:
    """Besides the user's own files: two records of the store, and the report with examples; nothing is printed."""
    found = {name for name in holding(road.folder, SECRET_TEXT) if not name.startswith(("texts/", "dev.jsonl"))}
    stages = {name.partition("/stages/")[2].partition("-")[0] for name in found if "/stages/" in name}
    assert {"evaluate", "prepare"} == stages
    assert {"with-examples.json", "answers.csv"} == {name for name in found if "/stages/" not in name}
    assert SECRET_TEXT not in road.printed


def test_a_report_without_examples_holds_no_text_of_rows(road: Road) -> None:
    """Page, numbers and pictures; the same report with examples shows the row and the line."""
    run = road.folder / "bertwright-store" / "runs" / "toy"
    assert (road.folder / "with-examples.json").read_text().count(SECRET_TEXT) >= 2
    for path in [run / "report.html", run / "report.json", *(run / "figures").iterdir()]:
        assert SECRET_TEXT.encode() not in path.read_bytes()
    assert "left out of this report, as was asked" in (run / "report.html").read_text()
    assert "often_wrong" in (run / "report.json").read_text()
