"""The HTTP server under load, on loopback: is every answer right, is none lost, how long does one take.

    python benchmarks/load.py [--size toy|trial|base] [--seconds N] [--threads N] [--batch-tokens N] [--wait-ms N]

A drawn encoder in int8 with twelve packs, every second with ramps, so that rows leave early; requests of one to four
rows of mixed packs and lengths. One client process with keep-alive connections:

1. capacity: sixteen connections that ask as fast as they are answered
2. steady: requests at drawn moments, at 80 % of that, for --seconds; one pack is exchanged every second. A time counts
   from the moment at which a request was due, whether or not a connection was free
3. overload: three times the capacity for some seconds; what is refused has to say when to come again
4. end: SIGTERM at half the capacity, while requests go on

Each answer is compared with that of its text alone, by the same runtime in this process: wrong is another label or
logits that are further away than a tenth of what texts of this pack differ by. A row that left at another layer than
alone is `moved`, and not compared. Of the exchanged pack an answer has to be that of a version which was in force
between the request's beginning and its end (a file is taken up within two looks at the folder). A request is lost if
it was not answered, unless its connection was refused after SIGTERM. Client and server share the processors: on a
small machine the client's part is in every number.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertwright.deploy.export import Form, write_export
from bertwright.deploy.runtime import Runtime
from bertwright.deploy.settings import ServeSettings
from bertwright.deploy.sources import deployable
from bertwright.encoder.biases import terms_in
from bertwright.encoder.families import Loaded
from bertwright.encoder.models import build_masked_lm
from bertwright.pack import Backbone, Pack, PackTask, make, write
from bertwright.text.tokenizer import train_tokenizer
from pack_serving import config_of

PACKS, TEXTS, CONNECTIONS, SWAP = 12, 240, 16, "exchanged"
SWAP_EVERY = 1.0
WORDS = [
    a + b + c
    for a in ["ba", "ko", "mi", "tu", "re", "so"]
    for b in ["la", "ne", "ro", "si"]
    for c in ["n", "k", "sh", "t", "m"]
]


@dataclass(frozen=True)
class Expected:
    """What a text's pack says of it alone, and how far an answer's logits may be from that."""

    label: str
    logits: np.ndarray
    layer: int
    tolerance: float


@dataclass
class Case:
    """A text with its pack, and what is right: one answer, or one by version of the exchanged pack."""

    pack: str
    text: str
    right: list[Expected]


@dataclass
class Seen:
    """What came of the requests of a phase: seconds of those answered, and counts."""

    seconds: list[float] = field(default_factory=list)
    rows: int = 0
    wrong: int = 0
    moved: int = 0
    bound_to_one: int = 0  # rows of the exchanged pack for which a single version was right
    refused: int = 0
    unexplained: int = 0  # other statuses, and refusals without a time
    lost: int = 0
    retried: int = 0  # kept connections that were at their end as they were used again; asked once more over a new one
    closed: int = 0  # connections refused after SIGTERM


def pack(backbone: Backbone, sizes: dict[str, int], layers: int, width: int, seed: int) -> Pack:
    """Return a drawn pack of two to five labels; of an odd seed with ramps, that leave once two agree."""
    draw, labels = np.random.default_rng(seed), tuple(f"label {number}" for number in range(2 + seed % 4))
    names = {"output.weight": (len(labels), width), "output.bias": (len(labels),)}
    ramps = {f"{layer}/{name}": draw.normal(0, 1, shape) for layer in range(1, layers) for name, shape in names.items()}
    return make(
        backbone=backbone,
        task=PackTask(f"task {seed}", "classification", ("text",), labels, 128),
        method="bitfit",
        terms="all",
        biases={key: draw.normal(0, 0.1, size) for key, size in sizes.items()},
        head={name: draw.normal(0, 1, shape) for name, shape in names.items()},
        of=1,
        ramps=ramps if seed % 2 else None,
        policy={"policy": "patience:1"} if seed % 2 else None,
    )


def build(folder: Path, size: str) -> None:
    """Write an export, its folder of packs, and the two versions of the pack that is exchanged."""
    config = replace(config_of("trial"), layers=3, width=64, heads=4, inner=128) if size == "toy" else config_of(size)
    draw = np.random.default_rng(0)
    tokenizer = train_tokenizer(
        (" ".join(draw.choice(WORDS, 50)) for _ in range(200)), kind="wordpiece", vocabulary=150, lowercase=True
    )
    model = build_masked_lm(config, seed=0)
    loaded = Loaded(config, model.encoder, None, torch.nn.Linear(config.width, config.width), None, None, ())
    made = deployable(loaded, tokenizer.identity())
    (folder / "export").mkdir()
    (folder / "packs").mkdir()
    write_export(folder / "export", made, tokenizer, Form("int8"))
    sizes = {term.key: term.size for term in terms_in(config, pooler=True)}
    for number in range(PACKS - 1):
        drawn = pack(made.backbone, sizes, config.layers, config.width, number)
        write(folder / "packs" / f"pack-{number}.pack", drawn)
    for version in range(2):
        drawn = pack(made.backbone, sizes, config.layers, config.width, 100 + 2 * version)
        write(folder / f"version-{version}.pack", drawn)
    shutil.copy(folder / "version-0.pack", folder / "packs" / f"{SWAP}.pack")


def cases(folder: Path, threads: int) -> list[Case]:
    """Return texts of many lengths with the answer of each alone."""
    runtime, draw = Runtime(folder / "export", threads=threads), np.random.default_rng(1)
    for path in sorted((folder / "packs").glob("*.pack")):
        runtime.add(path)
    names = sorted(runtime.packs)
    lengths = np.minimum(1 + draw.geometric(0.06, TEXTS), 100)
    found = [Case(names[n % PACKS], " ".join(draw.choice(WORDS, lengths[n])), []) for n in range(TEXTS)]
    for version in range(2):
        runtime.add(folder / f"version-{version}.pack", SWAP)
        for name in names if version == 0 else [SWAP]:
            own = [case for case in found if case.pack == name]
            answers = [runtime.predict([case.text], name)[0] for case in own]
            spread = float(np.std([answer.logits for answer in answers], axis=0).mean())
            for case, answer in zip(own, answers, strict=True):
                case.right.append(Expected(str(answer.label), np.array(answer.logits), answer.layer, spread / 10))
    return found


class Client:
    """Connections that are kept, and the exchanges of the pack, to judge answers by."""

    def __init__(self, port: int, all_cases: list[Case]) -> None:
        self.port, self.cases = port, all_cases
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.exchanged: list[tuple[float, int]] = [(0.0, 0)]  # since when a version's file lies there
        self.stopping = False

    async def request(self, numbers: list[int], due: float, seen: Seen) -> None:
        """Ask once and judge the answer."""
        rows = [{"pack": self.cases[number].pack, "text": self.cases[number].text} for number in numbers]
        body = json.dumps({"rows": rows, "logits": True}).encode()
        sent = time.monotonic()
        try:
            status, headers, content = await self.exchange(body, seen)
        except ConnectionRefusedError:
            seen.closed += self.stopping
            seen.lost += not self.stopping
            return
        except (OSError, EOFError):
            seen.lost += 1
            return
        now = time.monotonic()
        if status == 200:
            seen.seconds.append(now - due)
            for number, answer in zip(numbers, json.loads(content)["answers"], strict=True):
                self.judge(self.cases[number], answer, sent, now, seen)
        elif status == 503 and int(headers.get("retry-after", 0)) >= 1:
            seen.refused += 1
        else:
            seen.unexplained += 1

    async def exchange(self, body: bytes, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        """Send a request over a connection that is free, or a new one, and read its answer.

        A kept connection that ends before a byte of an answer is no loss: a server may close what is idle at any time,
        and every client asks again over a new one.
        """
        while self.idle:
            reader, writer = self.idle.pop()
            if reader.at_eof():
                writer.close()
                continue
            try:
                return await self.over(reader, writer, body)
            except (ConnectionResetError, BrokenPipeError):
                seen.retried += 1
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise
                seen.retried += 1
        return await self.over(*await asyncio.open_connection("127.0.0.1", self.port), body)

    async def over(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request over a connection, read its answer, and keep the connection where the server does."""
        try:
            head = "POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines[1:])}
            content = await reader.readexactly(int(headers["content-length"]))
        except BaseException:
            writer.close()
            raise
        if headers.get("connection") == "close":
            writer.close()
        else:
            self.idle.append((reader, writer))
        return int(lines[0].split()[1]), headers, content

    def judge(self, case: Case, answer: dict[str, Any], sent: float, now: float, seen: Seen) -> None:
        """Compare an answer with those that are right."""
        right = case.right
        if case.pack == SWAP:
            # A file may be read up to two looks after it was put there.
            late = 2 * ServeSettings().poll + 0.3
            ends = [begun + late for begun, _ in self.exchanged[1:]] + [now + 1]
            valid = {
                version
                for (begun, version), end in zip(self.exchanged, ends, strict=True)
                if begun < now and end > sent
            }
            right = [right[version] for version in sorted(valid)]
            seen.bound_to_one += len(right) == 1
        seen.rows += 1
        same = [one for one in right if one.layer == answer["layer"] and len(one.logits) == len(answer["logits"])]
        if not same:
            seen.moved += 1
        elif not any(close(one, answer) for one in same):
            seen.wrong += 1

    def forget(self) -> None:
        """Close the idle connections."""
        for _, writer in self.idle:
            writer.close()
        self.idle.clear()


def close(right: Expected, answer: dict[str, Any]) -> bool:
    """Whether an answer is the right one: its logits near, and its label, unless two are as good as equal."""
    best = np.sort(right.logits)
    tie = best[-1] - best[-2] < 2 * right.tolerance
    near = float(np.abs(right.logits - np.array(answer["logits"])).max()) <= right.tolerance
    return near and (tie or right.label == answer["label"])


async def fast(client: Client, seconds: float, draw: np.random.Generator) -> tuple[Seen, float]:
    """Ask with all connections as fast as answers come; return what was seen and the rows a second."""
    seen, until = Seen(), time.monotonic() + seconds

    async def one() -> None:
        while time.monotonic() < until:
            await client.request(chosen(draw), time.monotonic(), seen)

    begun = time.monotonic()
    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return seen, seen.rows / (time.monotonic() - begun)


async def steady(client: Client, rate: float, seconds: float, draw: np.random.Generator, seen: Seen) -> None:
    """Ask at drawn moments, so many rows a second on average, whatever becomes of the requests before."""
    waiting: set[asyncio.Task[None]] = set()
    due, until = time.monotonic(), time.monotonic() + seconds
    while (due := due + draw.exponential(2.5 / rate)) < until:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        task = asyncio.create_task(client.request(chosen(draw), due, seen))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
    if waiting:
        await asyncio.wait(waiting, timeout=30)


def chosen(draw: np.random.Generator) -> list[int]:
    """Return a request: one to four rows."""
    return [int(number) for number in draw.integers(0, TEXTS, draw.integers(1, 5))]


async def exchanging(client: Client, folder: Path) -> None:
    """Put the other version of a pack in its place, every second, until cancelled."""
    while True:
        await asyncio.sleep(SWAP_EVERY)
        version = 1 - client.exchanged[-1][1]
        shutil.copy(folder / f"version-{version}.pack", folder / "next")
        client.exchanged.append((time.monotonic(), version))
        (folder / "next").replace(folder / "packs" / f"{SWAP}.pack")


async def phases(client: Client, folder: Path, process: subprocess.Popen[str], seconds: float) -> dict[str, Any]:
    """Run the four phases."""
    draw = np.random.default_rng(2)
    await fast(client, 1.0, draw)  # warms up
    first, capacity = await fast(client, max(2.0, seconds / 6), draw)
    swapping, second = asyncio.create_task(exchanging(client, folder)), Seen()
    await steady(client, 0.8 * capacity, seconds, draw, second)
    third, last = Seen(), Seen()
    await steady(client, 3 * capacity, max(2.0, seconds / 12), draw, third)
    ending = asyncio.create_task(steady(client, 0.5 * capacity, 5.0, draw, last))
    await asyncio.sleep(1.5)
    client.stopping = True
    process.send_signal(signal.SIGTERM)
    signalled = time.monotonic()
    await asyncio.to_thread(process.wait, 30)
    ended = time.monotonic() - signalled
    await ending
    swapping.cancel()
    client.forget()
    return {
        "capacity": capacity,
        "phases": {"fast": first, "steady": second, "overload": third, "end": last},
        "exchanges": len(client.exchanged) - 1,
        "exit_code": process.returncode,
        "drain_s": ended,
    }


def measure(
    size: str = "trial",
    seconds: float = 60.0,
    *,
    threads: int | None = None,
    batch_tokens: int = ServeSettings().batch_tokens,
    wait_ms: float = 0.0,
    workers: int = 1,
) -> dict[str, Any]:
    """Serve, load, end; print what was seen, and return it. `p99_ms` is of the steady phase."""
    threads = threads or len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder, size)
        all_cases = cases(folder, threads)
        command = ["serve", str(folder / "export"), "--packs", str(folder / "packs"), "--port", "0", "--json", "-q"]
        command += ["--batch-tokens", str(batch_tokens), "--wait-ms", str(wait_ms), "--workers", str(workers)]
        command += ["--queue-rows", "256", "--threads", str(max(1, threads // workers))]
        process = subprocess.Popen([sys.executable, "-m", "bertwright", *command], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            port = int(json.loads(process.stdout.readline())["address"].rpartition(":")[2])
            found = asyncio.run(phases(Client(port, all_cases), folder, process, seconds))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
    return told({"size": size, "threads": threads, "workers": workers, "batch_tokens": batch_tokens, **found})


def told(found: dict[str, Any]) -> dict[str, Any]:
    """Print the phases and return plain numbers."""
    by_phase: dict[str, Seen] = found.pop("phases")
    for name, seen in by_phase.items():
        cuts = statistics.quantiles([1e3 * one for one in seen.seconds] or [0.0, 0.0], n=100)
        print(
            f"{name:9}{len(seen.seconds):6} requests, {seen.rows:6} rows answered; p50 {cuts[49]:6.1f} p95 "
            f"{cuts[94]:6.1f} p99 {cuts[98]:6.1f} ms; {seen.wrong} wrong, {seen.moved} moved, {seen.lost} lost, "
            f"{seen.refused} refused with a time, {seen.unexplained} unexplained, {seen.closed} after the end"
        )
        found[name] = {"p50_ms": cuts[49], "p95_ms": cuts[94], "p99_ms": cuts[98], "refused": seen.refused}
    every = by_phase.values()
    found |= {
        key: sum(getattr(seen, key) for seen in every)
        for key in ("rows", "wrong", "moved", "unexplained", "lost", "retried")
    }
    found |= {"p99_ms": found["steady"]["p99_ms"], "bound_to_one": sum(seen.bound_to_one for seen in every)}
    print(
        f"capacity {found['capacity']:.0f} rows/s; {found['exchanges']} exchanges of a pack, {found['bound_to_one']} "
        f"of its rows held against a single version; ended with {found['exit_code']} in {found['drain_s']:.1f} s"
    )
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("toy", "trial", "base"), default="trial")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--batch-tokens", type=int, default=ServeSettings().batch_tokens)
    parser.add_argument("--wait-ms", type=float, default=0.0)
    parser.add_argument("--workers", type=int, default=1)
    arguments = vars(parser.parse_args())
    print(json.dumps(measure(arguments.pop("size"), arguments.pop("seconds"), **arguments)))


if __name__ == "__main__":
    main()
