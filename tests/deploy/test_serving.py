"""Whole processes: an end that loses nothing, workers behind one port, a disk that is full, what is missing."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from toy_runtime import ToyRuntime, write_pack

from bertwright.cli.main import call
from bertwright.deploy.serving import Serving, token
from bertwright.deploy.settings import ServeSettings
from bertwright.errors import InputError

HERE = Path(__file__).parent
# What the command does, with the toy engine in place of an export.
PROGRAM = """
import sys
from pathlib import Path
from bertwright.deploy import serving
from bertwright.deploy.listener import bound
from bertwright.deploy.settings import ServeSettings
workers, pause, packs = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
wanted = serving.Serving(
    folder=Path(f"{pause}"), packs=packs, runtime="toy_runtime:opened", settings=ServeSettings(drain=0.4, poll=0.05)
)
serving.speak()
listening = bound("127.0.0.1", 0)
print(listening.getsockname()[1], flush=True)
if workers == 1:
    serving.serve(wanted, listening, lambda names: print("ready", flush=True))
else:
    sys.exit(serving.serve_by_workers(wanted, listening, workers))
"""

Run = Callable[..., tuple[subprocess.Popen[str], int]]


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    """A folder with one pack, `mood`."""
    folder = tmp_path / "packs"
    folder.mkdir()
    write_pack(folder / "mood.pack", 1)
    return folder


@pytest.fixture
def run(packs: Path) -> Iterator[Run]:
    """Starts server processes; ends those that still run."""
    started: list[subprocess.Popen[str]] = []

    def begin(workers: int = 1, pause: float = 0.0, stderr: Any = subprocess.DEVNULL) -> tuple[Any, int]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(HERE)])}
        command = [sys.executable, "-c", PROGRAM, str(workers), str(pause), str(packs)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=environment, text=True)
        started.append(process)
        assert process.stdout is not None
        port = int(process.stdout.readline())
        until_ready(port)
        return process, port

    yield begin
    for process in started:
        with process:
            if process.poll() is None:
                process.terminate()


def until_ready(port: int) -> None:
    """Wait until requests are taken."""
    for _ in range(600):
        try:
            if get(port, "/readyz")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise AssertionError("the server never became ready")


def get(port: int, path: str) -> tuple[int, bytes]:
    """Ask for a path."""
    return once(port, "GET", path, None)


def ask(port: int, text: str) -> tuple[int, bytes]:
    """Ask for an answer."""
    return once(port, "POST", "/v1/classify", json.dumps({"pack": "mood", "texts": [text]}).encode())


def once(port: int, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
    """Ask over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_sigterm_answers_what_was_taken_and_ends_with_0(run: Run, packs: Path) -> None:
    """Eight clients ask all the time; each request sent before the port closed has its right answer."""
    process, port = run(pause=0.002)
    engine = ToyRuntime()
    engine.add(packs / "mood.pack", "mood")
    asked = threading.Event()
    sent: list[tuple[float, str, Any]] = []

    def client(own: int) -> None:
        for number in range(1000):
            text, begun = f"client {own} says {number}", time.monotonic()
            try:
                sent.append((begun, text, ask(port, text)))
            except OSError as error:
                sent.append((begun, text, error))
                return
            if number == 5:
                asked.set()

    clients = [threading.Thread(target=client, args=(own,)) for own in range(8)]
    for one in clients:
        one.start()
    assert asked.wait(20)
    process.send_signal(signal.SIGTERM)
    signalled = time.monotonic()
    time.sleep(0.1)
    assert get(port, "/readyz")[0] == 503
    assert 0 == process.wait(20)
    for one in clients:
        one.join(20)
    answered = [(text, result) for _, text, result in sent if not isinstance(result, OSError)]
    assert all(
        (200, engine.alone(text, "mood").label) == (status, json.loads(body)["answers"][0]["label"])
        for text, (status, body) in answered
    )
    # Refused connections come from after the drain alone.
    assert all(begun > signalled + 0.35 for begun, _, result in sent if isinstance(result, OSError))
    assert sum(begun > signalled for begun, _, result in sent if not isinstance(result, OSError)) > 8


def test_workers_share_a_port_and_are_counted_together(run: Run) -> None:
    """Metrics of whoever answers are the sum; a worker that dies is replaced; SIGTERM ends all in order."""
    process, port = run(workers=2)
    gather(port, "bertwright_workers 2")
    for number in range(20):
        assert ask(port, f"text {number}")[0] == 200
    gather(port, 'bertwright_rows_total{pack="mood"} 20')
    parent = psutil.Process(process.pid)
    victim = parent.children()[0]
    victim.kill()
    for _ in range(200):
        if len(others := parent.children()) == 2 and victim not in others:
            break
        time.sleep(0.05)
    assert 2 == len(others)
    assert all(ask(port, f"text {number}")[0] == 200 for number in range(4))
    process.send_signal(signal.SIGTERM)
    assert 0 == process.wait(20)
    with pytest.raises(OSError, match="refused"):
        get(port, "/healthz")


def gather(port: int, line: str) -> None:
    """Wait until the metrics have a line; the workers tell each other once a second."""
    for _ in range(100):
        if line in get(port, "/metrics")[1].decode().splitlines():
            return
        time.sleep(0.05)
    raise AssertionError(f"{line} never came: {get(port, '/metrics')[1].decode()}")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_the_log_stops_nothing(run: Run, packs: Path) -> None:
    """Packs come and go, and answers with them, while no line can be written."""
    with Path("/dev/full").open("w") as full:
        process, port = run(stderr=full)
        (packs / "broken.pack").write_bytes(b"{}")
        write_pack(packs / "more.pack", 3)
        for _ in range(100):
            if b'"more"' in get(port, "/v1/packs")[1]:
                break
            time.sleep(0.02)
        assert ask(port, "fine")[0] == 200
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(20)


def test_the_command_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is none, a port that is taken, a library that is not installed: exit 2 and what to do."""
    assert 2 == call(["serve", str(tmp_path / "none")])
    assert "is no folder; `bertwright export" in capsys.readouterr().err
    assert 2 == call(["serve", str(tmp_path), "--packs", str(tmp_path / "none")])
    assert "make it" in capsys.readouterr().err
    assert 2 == call(["serve", str(tmp_path), "--queue-rows", "0"])
    assert "queue_rows is 0; expected at least 1" in capsys.readouterr().err
    assert 2 == call(["serve", str(tmp_path), "--host", "192.0.2.1"])
    assert "192.0.2.1:8080 cannot be listened at" in capsys.readouterr().err
    for module in ("onnxruntime", "starlette", "uvicorn"):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, gone=module: None if name == gone else True)
        assert 2 == call(["serve", str(tmp_path)])
        assert (
            f'needs {module}, which is not installed here; `pip install "bertwright[serve]"`' in capsys.readouterr().err
        )


def test_a_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never from the command line, which every user of the machine can read; short ones are refused."""
    file = tmp_path / "token"
    monkeypatch.delenv("BERTWRIGHT_TOKEN", raising=False)
    assert token(None) is None
    file.write_text("0123456789abcdef\n")
    assert "0123456789abcdef" == token(file)
    monkeypatch.setenv("BERTWRIGHT_TOKEN", "f" * 20)
    assert "f" * 20 == token(None)
    monkeypatch.setenv("BERTWRIGHT_TOKEN", "short")
    with pytest.raises(InputError, match="BERTWRIGHT_TOKEN: found a token of 5 characters; expected at least 16"):
        token(None)
    with pytest.raises(InputError, match="name the file"):
        token(tmp_path / "none")


def test_settings_under_which_nothing_is_answered_are_refused() -> None:
    """A request larger than the queue could never be taken."""
    with pytest.raises(InputError, match="raise queue_rows"):
        ServeSettings(queue_rows=10, request_rows=20)
    assert Serving(folder=Path()).settings == ServeSettings()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(("before", "code"), [("", 120), ("serving.speak()", 0)])
def test_a_line_that_no_disk_took_does_not_change_how_it_ends(before: str, code: int) -> None:
    """Left to itself Python tries such a line once more at its end, and exits with 120."""
    told = f"import sys; from bertwright.deploy import serving; {before}\nsys.stderr = open('/dev/full', 'w')\n"
    found = subprocess.run([sys.executable, "-c", f"{told}sys.stderr.write('lost')"], check=False)
    assert code == found.returncode
