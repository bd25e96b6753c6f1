"""The command that answers over HTTP."""

from __future__ import annotations

import importlib.util
import ipaddress
from pathlib import Path
from typing import Annotated, Any

import typer

from bertwright.cli.console import output, show
from bertwright.errors import InputError
from bertwright.processes import processors

_NEEDED = ("onnxruntime", "starlette", "uvicorn")


def serve_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An encoder that `bertwright export` wrote.")],
    packs: Annotated[
        Path | None, typer.Option("--packs", metavar="FOLDER", help="Packs to serve; what changes in it is taken up.")
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="The address to listen at; 0.0.0.0 for all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes a free one.")] = 8080,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes behind the port.")] = 1,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of a worker's engine; all processors by default.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="Holds the bearer token; or set BERTWRIGHT_TOKEN."),
    ] = None,
    batch_tokens: Annotated[int, typer.Option("--batch-tokens", help="Rows x longest row of a batch.")] = 1024,
    wait_ms: Annotated[
        float, typer.Option("--wait-ms", min=0, help="How long an idle engine waits for a fuller batch.")
    ] = 0.0,
    queue_rows: Annotated[int, typer.Option("--queue-rows", help="Rows at work or waiting, at most.")] = 1024,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds for an answer.")] = 10.0,
    drain: Annotated[
        float, typer.Option("--drain", min=0, help="Seconds after SIGTERM in which requests are still taken.")
    ] = 2.0,
) -> None:
    """Answer texts over HTTP by any number of packs on one encoder.

    Rows of different packs are mixed in a batch. It listens on this machine alone, unless --host says otherwise.
    SIGTERM or Ctrl-C: what was taken is answered first.
    """
    _check(folder, packs)
    from bertwright.deploy import serving
    from bertwright.deploy.guard import LOG
    from bertwright.deploy.listener import bound
    from bertwright.deploy.settings import ServeSettings

    settings = ServeSettings(
        batch_tokens=batch_tokens,
        wait=wait_ms / 1000,
        queue_rows=queue_rows,
        request_rows=min(256, queue_rows),
        request_timeout=timeout,
        drain=drain,
    )
    local = _is_loopback(host)
    wanted = serving.Serving(
        folder=folder,
        packs=packs,
        threads=threads or max(1, processors() // workers),
        token_file=token_file,
        local=local,
        settings=settings,
    )
    serving.speak("WARNING" if output.quiet else "INFO")
    if not local and serving.token(token_file) is None:
        LOG.warning("%s can be reached from other machines, and no token is asked for; see --token-file", host)
    listening = bound(host, port)
    port = listening.getsockname()[1]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    if workers == 1:
        serving.serve(wanted, listening, lambda names: _ready(address, names, 1))
        return
    _ready(address, None, workers)
    if code := serving.serve_by_workers(wanted, listening, workers):
        raise typer.Exit(code)


def _check(folder: Path, packs: Path | None) -> None:
    for module in _NEEDED:
        if importlib.util.find_spec(module) is None:
            raise InputError(
                f'serving needs {module}, which is not installed here; `pip install "bertwright[serve]"` brings it'
            )
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; `bertwright export ENCODER -o DIR` writes one")
    if packs is not None and not packs.is_dir():
        raise InputError(f"{packs} is no folder; make it, and put packs in before or while the server runs")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ready(address: str, names: list[str] | None, workers: int) -> None:
    """Tell where it listens; packs of several workers are told by each of them."""
    told: dict[str, Any] = {"address": address, "workers": workers}
    lines = [f"{address}  (try a pack there; programs: {address}/docs)"]
    if names is not None:
        told["packs"] = names
        lines.append(f"packs: {', '.join(names) or 'none yet'}")
    show(lines, told)
    # Whoever reads this through a pipe waits for it.
    print(end="", flush=True)
