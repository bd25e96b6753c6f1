"""How the server listens: uvicorn, with times for slow clients and an end that loses nothing.

SIGTERM or Ctrl-C: ``/readyz`` says no and every answer closes its connection, but requests are still taken for
``drain`` seconds, so that whoever balances can look elsewhere; then the port is closed, what was taken is answered, and
the process ends with 0. A second signal ends the waiting.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from bertwright.deploy.guard import Standing
from bertwright.deploy.settings import ServeSettings
from bertwright.errors import InputError

_LAST_WORDS = 0.2  # seconds between closing the port and the idle connections: what lies in them is read
_HEAD = 32_768  # bytes of a request's head
_IDLE = 4  # connections for each request that may be inside


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one. ``InputError`` where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise InputError(
            f"{host}:{port} cannot be listened at ({error.strerror}); choose another --port, or end what is there"
        ) from error
    listening.listen(1024)
    listening.set_inheritable(True)
    return listening


class Listener(uvicorn.Server):
    """A uvicorn server of one application on a socket that listens already."""

    def __init__(self, app: Starlette, settings: ServeSettings, standing: Standing) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_protocol(settings),
                loop="asyncio",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=max(1, round(settings.idle_timeout)),
                timeout_graceful_shutdown=max(1, round(settings.request_timeout + settings.read_timeout)),
                h11_max_incomplete_event_size=_HEAD,
            )
        )
        self._standing, self._grace = standing, settings.drain
        self._asked: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain at the first signal, end at the second, drop what is left at a third Ctrl-C."""
        if self._asked is None:
            self._asked = time.monotonic()
            self._standing.draining = True
        elif not self.should_exit:
            self.should_exit = True
        elif sig == signal.SIGINT:
            self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Tell whether to end: some seconds after the first signal."""
        if self._asked is not None and time.monotonic() - self._asked >= self._grace:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port first, and the connections once what lies in them was read."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(_LAST_WORDS)
        await super().shutdown(sockets)


def _protocol(settings: ServeSettings) -> type[H11Protocol]:
    """Return uvicorn's protocol with the times that it lacks: for a request's head, and for taking an answer."""

    class Timed(H11Protocol):
        _head: asyncio.TimerHandle | None = None
        _taking: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > _IDLE * settings.connections:
                transport.abort()  # idle ones alone can be so many
                return
            self._time_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._time_head()

        def _time_head(self) -> None:
            """Let a connection that has no request at work send a whole head in time."""
            waits = (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing()
            if waits and self._head is None:
                self._head = self.loop.call_later(settings.read_timeout, self._late)
            elif not waits:
                self._untime()

        def _untime(self) -> None:
            if self._head is not None:
                self._head.cancel()
                self._head = None

        def _taken(self) -> None:
            if self._taking is not None:
                self._taking.cancel()
                self._taking = None

        def _late(self) -> None:
            self._head = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.abort()

        def on_response_complete(self) -> None:
            self._untime()
            super().on_response_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            if self._taking is None:
                self._taking = self.loop.call_later(settings.send_timeout, self.transport.abort)

        def resume_writing(self) -> None:
            self._taken()
            super().resume_writing()

        def timeout_keep_alive_handler(self) -> None:
            super().timeout_keep_alive_handler()
            # Closing waits for what was written to be taken; that may be never.
            self.loop.call_later(settings.send_timeout, self.transport.abort)

        def connection_lost(self, error: Exception | None) -> None:
            self._untime()
            self._taken()
            super().connection_lost(error)

    return Timed


def listen(server: Listener, listening: socket.socket, ready: Callable[[], Any]) -> None:
    """Serve until a signal comes; ``ready`` is called once requests are taken."""

    async def both() -> None:
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            ready()
        await serving

    asyncio.run(both())
