"""A server of any engine on a free port of loopback, and how to ask it."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bertwright.deploy.listener import Listener, bound
from bertwright.deploy.server import Service, app


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
