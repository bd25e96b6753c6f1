"""What every request passes: the host it names, the token, times, the headers of its answer, its count.

Nothing that a client sent is logged: not texts, not paths. A fault of the program is told by its place in the code.
"""

from __future__ import annotations

import hmac
import json
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass
from typing import Any

from bertwright.deploy.messages import Refused
from bertwright.deploy.metrics import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

LOG = logging.getLogger("bertwright.serve")
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_PROBES = frozenset({"/healthz", "/readyz"})
_OPEN = _PROBES | {"/", "/docs", "/openapi.json"}
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


@dataclass
class Standing:
    """How the server stands: ready once its packs are read, draining after SIGTERM."""

    ready: bool = False
    draining: bool = False


class Guard:
    """Wraps an ASGI application. ``hosts``: the names that a request may use, any where it is ``None``.

    ``most`` requests are inside at once; ``paths`` are those that are counted by name.
    """

    def __init__(
        self,
        app: Asgi,
        *,
        paths: Collection[str],
        most: int,
        token: str | None,
        hosts: Collection[str] | None,
        standing: Standing,
        metrics: Metrics,
    ) -> None:
        self._app, self._paths, self._hosts = app, frozenset(paths), hosts
        self._token = None if token is None else token.encode()
        self._standing, self._metrics = standing, metrics
        self._most, self._inside = most, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), 499  # what is counted where the client left before its answer
        path = scope["path"] if scope["path"] in self._paths else "other"

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._with_headers(message.get("headers", []))
            await send(message)

        self._inside += 1
        try:
            self._check(scope)
            await self._app(scope, receive, sending)
        except Refused as refused:
            await respond(refused, sending)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            LOG.error("fault: %s at %s:%s", type(error).__name__, last.filename, last.lineno)
            if status == 499:
                await respond(FAULT, sending)
        finally:
            self._inside -= 1
            self._metrics.count("requests_total", (path, str(status)))
            self._metrics.observe("request_seconds", time.monotonic() - begun, (path,))

    def _with_headers(self, given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        known = {name.lower() for name, _ in given}
        more = [(name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in known]
        if self._standing.draining and b"connection" not in known:
            more.append((b"connection", b"close"))
        return [*given, *more]

    def _check(self, scope: Scope) -> None:
        if self._inside > self._most and scope["path"] not in _PROBES:
            # Each may hold a body in memory; a queue of them behind the queue would help nobody.
            self._metrics.count("refused_total", ("connections",))
            raise Refused(
                503,
                f"{self._inside} requests at once",
                f"at most {self._most}",
                "send it again in 1 s, or to another",
                {"retry-after": "1", "connection": "close"},
            )
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if self._hosts is not None and name not in self._hosts:
            # A page of the web can point a name of its own at this machine's loopback.
            raise Refused(
                403,
                "another host's name in the request",
                f"one of {', '.join(sorted(self._hosts))}",
                "use that name; to be reached from other machines the server is started with --host",
            )
        if self._token is None or scope["path"] in _OPEN:
            return
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
            found = "no bearer token" if not given else "a token that is not this server's"
            raise Refused(
                401,
                found,
                "the header `Authorization: Bearer TOKEN`",
                "ask who runs it",
                {"www-authenticate": "Bearer"},
            )


FAULT = Refused(500, "a fault of the server", "an answer", "look into the server's log; the request may be sent again")


async def respond(refused: Refused, send: Send) -> None:
    """Send an error as JSON."""
    body = json.dumps(refused.body, ensure_ascii=False).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers}
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
