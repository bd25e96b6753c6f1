"""The HTTP server's application: what is answered at each path, on starlette.

    POST /v1/classify   texts of one pack, or rows that each name their own
    GET  /v1/packs      what is served, and what of the packs folder is not
    GET  /healthz /readyz /metrics /openapi.json /docs /

The event loop only reads and writes; texts are cut into tokens in a few threads, and the engine has the batcher's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from bertwright.deploy import metrics, pages
from bertwright.deploy.bank import TUNED
from bertwright.deploy.batcher import Batcher, Closed, Flight, QueueFull
from bertwright.deploy.exit_watch import ExitWatch
from bertwright.deploy.guard import FAULT, LOG, Guard, Standing
from bertwright.deploy.messages import Asked, Refused, answer_out, understood
from bertwright.deploy.openapi import SCHEMA
from bertwright.deploy.settings import ServeSettings
from bertwright.deploy.watch import PackFolder
from bertwright.errors import InputError

_ENCODERS = 2  # threads that cut texts into tokens
_DISCARD = 16  # times the limit: so much of a body that is too large is read and dropped, so that the client hears why


class Runtime(Protocol):
    """What is asked of the engine; ``runtime.Runtime`` is one."""

    @property
    def packs(self) -> Mapping[str, Any]:
        """The packs that are served, by name."""

    def add(self, pack: Path, name: str) -> str:
        """Serve a pack."""

    def remove(self, name: str) -> None:
        """Serve a pack no longer."""

    def encode(self, row: Any) -> Any:
        """Return a row as tokens."""

    def begin(self, rows: Sequence[Any]) -> Flight:
        """Begin a batch."""


class Service:
    """A runtime with its queue, its folder of packs and its counts.

    ``together`` sums the metrics of all workers, where there are several.
    """

    def __init__(self, runtime: Runtime, settings: ServeSettings, *, packs: Path | None = None) -> None:
        self.runtime, self.settings = runtime, settings
        self.together: Callable[[metrics.Snapshot], metrics.Snapshot] | None = None
        self.exits, self.counts, self.standing = ExitWatch(), metrics.Metrics(), Standing()
        for name, info in runtime.packs.items():
            self.exits.begin(name, info.calibrated)
        self.folder = None
        if packs is not None:
            self.folder = PackFolder(runtime, packs, metrics=self.counts, exits=self.exits, tell=LOG.info)
        self.batcher = Batcher(
            runtime.begin,
            batch_tokens=settings.batch_tokens,
            queue_rows=settings.queue_rows,
            queue_tokens=settings.queue_tokens,
            wait=settings.wait,
            metrics=self.counts,
        )
        self._encoders = ThreadPoolExecutor(_ENCODERS, thread_name_prefix="encode")
        self.counts.put("workers", 1)
        self.counts.put("packs", len(runtime.packs))

    @contextlib.asynccontextmanager
    async def life(self, _app: Starlette) -> AsyncIterator[None]:
        """Begin and end with the server: packs are read before it is ready, what was taken is finished."""
        if self.folder is not None:
            await asyncio.to_thread(self.folder.look, settled=True)
            self.folder.start(self.settings.poll)
        self.standing.ready = True
        try:
            yield
        finally:
            self.standing.draining = True
            if self.folder is not None:
                await asyncio.to_thread(self.folder.stop)
            await asyncio.to_thread(self.batcher.close, self.settings.request_timeout)
            self._encoders.shutdown(wait=False, cancel_futures=True)

    async def classify(self, request: Request) -> Response:
        """Answer texts."""
        content = await self._body(request)
        until = time.monotonic() + self.settings.request_timeout
        most = self.settings.request_rows
        asked = understood(content, most_rows=most, most_characters=self.settings.text_characters)
        self._known(asked)
        self.batcher.room(len(asked.rows))
        loop = asyncio.get_running_loop()
        encoded = await loop.run_in_executor(self._encoders, self._encoded, asked)
        promise = self.batcher.submit(encoded, [one.tokens for one in encoded], until - time.monotonic())
        answers = await self._kept(request, promise, until)
        for row, answer in zip(asked.rows, answers, strict=True):
            self.counts.count("rows_total", (answer.pack,))
            self.counts.count("exits_total", (answer.pack, str(answer.layer)))
            if row.exit in (None, TUNED):  # by another policy they leave elsewhere than at calibration
                self.exits.left(answer.pack, answer.layer)
            if answer.truncated:
                self.counts.count("truncated_rows_total", (answer.pack,))
        return _json({"answers": [answer_out(answer, asked.logits) for answer in answers]})

    async def _body(self, request: Request) -> bytes:
        """Return a request's body, within its limits of bytes and time."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            # A form of a foreign page cannot set this type, so that it cannot ask a server on this machine.
            raise _closing(
                415, "a content type that is not JSON", "the header `Content-Type: application/json`", "set the header"
            )
        limit, size, parts = self.settings.body_bytes, 0, []
        try:
            async with asyncio.timeout(self.settings.read_timeout):
                async for part in request.stream():
                    size += len(part)
                    if size <= limit:
                        parts.append(part)
                    elif size > _DISCARD * limit:
                        break
        except TimeoutError:
            raise _closing(
                408,
                f"{size:,} bytes of a body in {self.settings.read_timeout:g} s",
                "all of it",
                "send it faster, or in several requests",
            ) from None
        if size > limit:
            more = "more than " if size > _DISCARD * limit else ""
            raise _closing(
                413,
                f"a body of {more}{size:,} bytes",
                f"at most {limit:,}",
                "send the texts in several requests, or cut them",
            )
        return b"".join(parts)

    def _known(self, asked: Asked) -> None:
        """Refuse packs that are not served, and texts that are not their columns."""
        packs = self.runtime.packs
        for number, row in enumerate(asked.rows):
            info = packs.get(row.pack)
            if info is None:
                raise Refused(404, f"the pack {row.pack!r}", _some(packs), "see /v1/packs")
            if len(info.columns) != len(row.texts):
                wanted = "one text" if len(info.columns) == 1 else f"a pair: {', '.join(info.columns)}"
                raise Refused(
                    422, f"{len(row.texts)} texts in row {number}", f"{wanted}, for pack {row.pack!r}", "see /v1/packs"
                )

    def _encoded(self, asked: Asked) -> list[Any]:
        return [self.runtime.encode(row) for row in asked.rows]

    async def _kept(self, request: Request, promise: Future[list[Any]], until: float) -> list[Any]:
        """Wait for the answers, as long as there is time and the client is there."""
        waiting: asyncio.Future[Any] = asyncio.wrap_future(promise)
        gone: asyncio.Future[Any] = asyncio.ensure_future(
            request.receive()
        )  # after a whole body only a parting can come
        try:
            left = until - time.monotonic()
            await asyncio.wait({waiting, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return list(waiting.result())
            if gone.done():
                raise ClientDisconnect
            raise TimeoutError
        finally:
            gone.cancel()
            waiting.cancel()

    async def packs(self, _request: Request) -> Response:
        """List what is served."""
        drifts = await asyncio.to_thread(self._drifts)
        listed = [
            {
                "name": name,
                "kind": info.kind,
                "labels": list(info.labels),
                "columns": list(info.columns),
                "policy": info.policy,
                "hash": info.hash,
                "drift": drifts[name].sentence if name in drifts else None,
                "drifted": name in drifts and drifts[name].drifted,
            }
            for name, info in sorted(self.runtime.packs.items())
        ]
        faults = [] if self.folder is None else sorted(self.folder.faults.items())
        return _json({"packs": listed, "faults": [{"file": file, "message": said} for file, said in faults]})

    async def healthz(self, _request: Request) -> Response:
        """Tell whether the process works; a platform restarts it where not."""
        trouble = self.batcher.trouble()
        return _json({"status": trouble or "ok"}, 503 if trouble else 200)

    async def readyz(self, _request: Request) -> Response:
        """Tell whether requests shall be sent here."""
        standing = self.standing
        status = "draining" if standing.draining else self.batcher.trouble() or ("ok" if standing.ready else "starting")
        return _json({"status": status}, 200 if status == "ok" else 503)

    async def metrics(self, _request: Request) -> Response:
        """Give the counts, of all workers together."""
        drifts = await asyncio.to_thread(self._drifts)
        for name in ("exit_drift", "exit_moved"):
            self.counts.forget(name)
        for pack, found in drifts.items():
            self.counts.put("exit_drift", found.drifted, (pack,))
            self.counts.put("exit_moved", found.moved, (pack,))
        own = self.counts.snapshot()
        whole = own if self.together is None else await asyncio.to_thread(self.together, own)
        return Response(metrics.text(whole), media_type=metrics.CONTENT_TYPE)

    def _drifts(self) -> Mapping[str, Any]:
        return self.exits.drifts()


_ANSWERED = (Refused, QueueFull, Closed, InputError, TimeoutError, ClientDisconnect, HTTPException)


def app(service: Service, *, token: str | None = None, hosts: Collection[str] | None = None) -> Starlette:
    """Return the application. ``token`` guards all but the pages and probes; ``hosts`` are the names it answers to."""
    routes = [
        Route("/v1/classify", service.classify, methods=["POST"]),
        Route("/v1/packs", service.packs),
        Route("/healthz", service.healthz),
        Route("/readyz", service.readyz),
        Route("/metrics", service.metrics),
        Route("/openapi.json", _fixed(JSONResponse(SCHEMA))),
        Route("/docs", _fixed(_page(pages.docs(SCHEMA)))),
        Route("/", _fixed(_page(pages.trial()))),
    ]
    guard = functools.partial(
        Guard,
        paths=[route.path for route in routes],
        most=service.settings.connections,
        token=token,
        hosts=hosts,
        standing=service.standing,
        metrics=service.counts,
    )
    return Starlette(
        routes=routes,
        middleware=[Middleware(guard)],
        lifespan=service.life,
        exception_handlers=dict.fromkeys(_ANSWERED, _told),
    )


def _told(request: Request, error: Exception) -> Response:
    """Return the answer to a request that could not be answered."""
    refused = _refused(request, error)
    return _json(refused.body, refused.status, refused.headers)


def _refused(request: Request, error: Exception) -> Refused:
    if isinstance(error, Refused):
        return error
    if isinstance(error, QueueFull):
        seconds = str(max(1, math.ceil(error.retry)))
        return Refused(
            503, error.found, error.expected, f"send it again in {seconds} s, or to another", {"retry-after": seconds}
        )
    if isinstance(error, Closed):
        return Refused(
            503, "a server that is shutting down", "one that is not", "send it to another", {"retry-after": "1"}
        )
    if isinstance(error, TimeoutError):
        return Refused(504, "no answer in time", "one", "send it again, or with fewer texts")
    if isinstance(error, ClientDisconnect):
        return Refused(499, "no client", "one that waits", "wait longer")
    if isinstance(error, HTTPException) and error.status_code in (404, 405):
        found = f"{request.method} at an address that has nothing for it"
        headers = {} if error.headers is None else error.headers
        return Refused(error.status_code, found, "one of those in /openapi.json", "see /docs", headers)
    if isinstance(error, InputError):  # the runtime's: a pack that went between the look and the work, mostly
        return Refused(422, str(error), "rows that the pack can answer, and an `exit` that it has", "see /v1/packs")
    return FAULT


def _closing(status: int, found: str, expected: str, following: str) -> Refused:
    """Return a refusal after which the connection ends: not all of its body was read."""
    return Refused(status, found, expected, following, {"connection": "close"})


def _some(packs: Mapping[str, Any]) -> str:
    names = sorted(packs)
    return (
        f"one of {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}" if names else "a pack; none is served yet"
    )


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, status, headers, media_type="application/json")


def _page(page: pages.Page) -> HTMLResponse:
    return HTMLResponse(page.html, headers={"content-security-policy": page.policy})


def _fixed(response: Response) -> Callable[[Request], Response]:
    return lambda _request: response
