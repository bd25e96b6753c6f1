"""A server process from its first line to its last: the engine is opened, the port is served, the counts are shared."""

from __future__ import annotations

import atexit
import json
import logging
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from bertwright import door
from bertwright.deploy.guard import LOCAL_HOSTS, LOG
from bertwright.deploy.listener import Listener, listen
from bertwright.deploy.server import Service, app
from bertwright.deploy.settings import ServeSettings
from bertwright.deploy.shares import Shares
from bertwright.deploy.workers import Workers
from bertwright.errors import InputError
from bertwright.processes import die_with, named

TOKEN = "BERTWRIGHT_TOKEN"
_LEAST_TOKEN = 16  # characters


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What is served and how, in plain values: what a worker process is told.

    ``threads`` of each worker's engine; ``token_file`` holds the bearer token, and is not the token. ``local`` refuses
    requests that name another host than this machine. ``runtime`` opens ``folder``; tests put an engine of their own.
    """

    folder: Path
    packs: Path | None = None
    threads: int = 1
    token_file: Path | None = None
    local: bool = True
    settings: ServeSettings = field(default_factory=ServeSettings)
    runtime: str = "bertwright.deploy.runtime:Runtime"


@dataclass(frozen=True)
class _Worker:
    """A worker's task: what it serves, the parent, the port's file descriptor, the folder of counts."""

    serving: Serving
    parent: int
    port: int
    shares: Path


def token(file: Path | None) -> str | None:
    """Return the bearer token of a file, or of the environment; nothing where neither is given."""
    if file is not None:
        try:
            found, place = file.read_text(encoding="utf-8").strip(), str(file)
        except OSError as error:
            raise InputError(f"{file} cannot be read ({error.strerror}); name the file that holds the token") from error
    elif TOKEN in os.environ:
        found, place = os.environ[TOKEN].strip(), f"the environment variable {TOKEN}"
    else:
        return None
    if len(found) < _LEAST_TOKEN or not found.isascii() or not found.isprintable() or " " in found:
        raise InputError(
            f"{place}: found a token of {len(found)} characters; expected at least {_LEAST_TOKEN}, letters and signs "
            "without spaces; make one with `openssl rand -hex 32`"
        )
    return found


def serve(serving: Serving, listening: socket.socket, ready: Callable[[list[str]], Any]) -> None:
    """Serve in this process until a signal comes; ``ready`` gets the names of the packs that are served."""
    _serve(serving, listening, None, ready)


def _serve(serving: Serving, listening: socket.socket, shares: Path | None, ready: Callable[[list[str]], Any]) -> None:
    secret = token(serving.token_file)
    runtime = named(serving.runtime)(serving.folder, threads=serving.threads)
    service = Service(runtime, serving.settings, packs=serving.packs)
    sharing = None if shares is None else Shares(shares, service.counts.snapshot)
    service.together = None if sharing is None else sharing.together
    application = app(service, token=secret, hosts=LOCAL_HOSTS if serving.local else None)
    try:
        listen(Listener(application, serving.settings, service.standing), listening, lambda: ready([*runtime.packs]))
    finally:
        if sharing is not None:
            sharing.stop()


def serve_by_workers(serving: Serving, listening: socket.socket, count: int) -> int:
    """Serve in so many processes until a signal comes; return the exit code."""
    token(serving.token_file)
    settings = serving.settings
    drain = settings.drain + settings.request_timeout + settings.read_timeout
    with door.passing_folder("serve") as shares:
        told = _Worker(serving, os.getpid(), listening.fileno(), shares)
        text = json.dumps(asdict(told), default=str)
        command = [sys.executable, "-m", __name__, text]
        return Workers(command, listening, count, drain=drain, tell=LOG.warning).run()


def main(text: str) -> None:
    """Be a worker."""
    told = TypeAdapter(_Worker).validate_json(text)
    die_with(told.parent)
    speak()
    try:
        _serve(told.serving, socket.socket(fileno=told.port), told.shares, lambda names: LOG.info("ready: %s", names))
    except InputError as error:
        LOG.error("%s", error)
        sys.exit(error.exit_code)


def speak(level: str = "INFO") -> None:
    """Have what happens told on stderr, a line each; a full disk behind it stops nothing."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    for name, least in (("bertwright.serve", level), ("uvicorn.error", "WARNING")):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(least)
    atexit.register(_drop_unwritten)


def _drop_unwritten() -> None:
    """Let go of lines that no disk took: Python would try once more at its end, and exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    main(sys.argv[1])
