"""A server of the toy engine, on a free port of loopback."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from toy_runtime import ToyRuntime, toy_pack

from bertwright.deploy import listener
from bertwright.deploy.listener import Listener, bound
from bertwright.deploy.server import Service, app
from bertwright.deploy.settings import ServeSettings


@dataclass
class Reply:
    """An answer: its status, headers in small letters, and content."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The content, read."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, str]:
        """What an error says."""
        return dict(self.json["error"])


class Served:
    """A running server, and how to ask it."""

    def __init__(self, service: Service, **choices: Any) -> None:
        self.service, self.socket = service, bound("127.0.0.1", 0)
        self.port: int = self.socket.getsockname()[1]
        self.listener = Listener(app(service, **choices), service.settings, service.standing)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        for _ in range(500):
            if self.listener.started:
                return
            time.sleep(0.01)
        raise AssertionError("the server never began")

    def _run(self) -> None:
        asyncio.run(self.listener.serve(sockets=[self.socket]))

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        """Ask for a path; a body that is no bytes goes as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        typed = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, content, {**typed, **(headers or {})})
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def classify(self, body: Any, **choices: Any) -> Reply:
        """Ask for answers."""
        return self.ask("POST", "/v1/classify", body, **choices)

    def stop(self) -> None:
        """End the server."""
        self.listener.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


Start = Callable[..., Served]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts servers; packs `mood` (one text) and `pair` (two) are there."""
    monkeypatch.setattr(listener, "_LAST_WORDS", 0.0)
    running: list[Served] = []

    def begin(
        pause: float = 0.0,
        folder: Path | None = None,
        token: str | None = None,
        hosts: Any = None,
        runtime: Any = None,
        **limits: Any,
    ) -> Served:
        engine = runtime or ToyRuntime(pause)
        if runtime is None:
            engine.add(toy_pack(1), "mood")
            engine.add(toy_pack(2, labels=("same", "near", "far"), columns=2), "pair")
        settings = ServeSettings(**{"drain": 0.0, "poll": 0.05, **limits})
        service = Service(engine, settings, packs=folder)
        running.append(Served(service, token=token, hosts=hosts))
        return running[-1]

    yield begin
    for one in running:
        one.stop()
