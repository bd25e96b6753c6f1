"""The whole road in one process without a network: text, encoder, packs, report, answers, export, server.

Run by ``test_whole_road.py`` as ``python road.py FOLDER``; secrets are in the environment, and in the texts.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))

from toy_recipes import toy_in

from bertwright.cli.main import call

SECRET_TEXT = "Quillfeather Ombudsman 4471"
_UP = 0x1


def loopback_up() -> None:
    """Switch on loopback, which a network namespace of one's own begins without."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = bytearray(b"lo".ljust(16, b"\0") + _UP.to_bytes(2, "little") + bytes(22))
        fcntl.ioctl(any_socket, 0x8914, array.array("B", request))


def recipe_in(folder: Path) -> Path:
    """Write texts, a task and a recipe; the secret stands in a document, in lines that come again, in a wrong label."""
    write = toy_in(folder)
    place = folder / "texts" / "0.txt"
    place.write_text(place.read_text() + f"\n{SECRET_TEXT} balan\n" + f"\n{SECRET_TEXT}\n" * 30)
    rows = [json.loads(line) for line in (folder / "dev.jsonl").read_text().splitlines()]
    low = next(row for row in rows if row["label"] == "low")
    wrong = {"text": f"{low['text']} {SECRET_TEXT}", "label": "high"}
    other = {"text": f"{SECRET_TEXT} {low['text']}", "label": "low"}
    (folder / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, wrong, other]))
    return write(finetune={"seeds": 1, "baseline": False, "trainable": "bitfit", "epochs": 2})


def served(export: Path, folder: Path) -> None:
    """Serve an export, ask it with the token, and end it; its log and its command line are kept."""
    command = [sys.executable, "-m", "bertwright", "serve", str(export), "--port", "0", "--drain", "0", "--json"]
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        (folder / "serve.cmdline").write_bytes(Path(f"/proc/{process.pid}/cmdline").read_bytes())
        connection = http.client.HTTPConnection("127.0.0.1", int(told["address"].rpartition(":")[2]), timeout=30)
        body = json.dumps({"pack": told["packs"][0], "texts": [SECRET_TEXT]})
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ['BERTWRIGHT_TOKEN']}"}
        for given, expected in ((headers, 200), ({"Content-Type": "application/json"}, 401)):
            connection.request("POST", "/v1/classify", body, given)
            answer = connection.getresponse()
            assert (expected, True) == (answer.status, len(answer.read()) > 20)
    finally:
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(60)


def main(folder: Path) -> None:
    """Go the road; every command has to succeed."""
    loopback_up()
    recipe = str(recipe_in(folder))
    run = folder / "bertwright-store" / "runs" / "toy"
    packs = run / "tasks" / "height"
    for command in (["check", recipe], ["run", recipe]):
        assert 0 == call(command)
    (folder / "with-examples.json").write_bytes((run / "report.json").read_bytes())
    assert 0 == call(["report", recipe, "--no-examples"])
    [pack] = sorted(packs.rglob("*.pack"))
    assert 0 == call(["predict", str(pack), str(folder / "dev.jsonl"), "-o", str(folder / "answers.csv"), "-q"])
    export = folder / "export"
    assert 0 == call(["export", str(pack), "-o", str(export), "--precision", "fp32", "-q"])
    served(export, folder)
    print("arrived")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
