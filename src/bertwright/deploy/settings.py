"""Every limit of the server, in one place; the command line shows those that a person changes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from bertwright.errors import InputError

MEGABYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Limits and times of one server process. Times are seconds, lengths as named."""

    batch_tokens: int = 1024  # rows x longest row of one batch; more than that gains nothing on a CPU
    wait: float = 0.0  # how long an idle engine waits for a fuller batch; 0: it begins at once
    queue_rows: int = 1024  # rows that wait or are worked at; one more request is refused with 503
    queue_tokens: int = 131_072  # the same in tokens
    body_bytes: int = MEGABYTE  # of a request
    request_rows: int = 256  # texts of a request
    text_characters: int = 100_000  # of one text; what is longer than a pack's max_length is cut and said so
    request_timeout: float = 10.0  # from a whole request to its answer; then 504
    read_timeout: float = 10.0  # from a request's first byte to its last; then 408, or the connection is closed
    send_timeout: float = 30.0  # for a client to take its answer; then the connection is closed
    idle_timeout: float = 60.0  # of a connection that waits for its next request
    connections: int = 512  # requests at once, with bodies that may still be coming; more are answered 503
    drain: float = 2.0  # after SIGTERM: still listening, /readyz says no, so that a balancer looks elsewhere
    poll: float = 0.25  # between two looks at the folder of packs

    def __post_init__(self) -> None:
        """Refuse limits under which nothing could be answered."""
        for one in fields(self):
            value, least = getattr(self, one.name), _LEAST.get(one.name, 0.01)
            if not value >= least:
                raise InputError(f"{one.name} is {value:g}; expected at least {least:g}")
        if self.request_rows > self.queue_rows:
            raise InputError(
                f"a request may have {self.request_rows} rows, and the queue holds {self.queue_rows}: such a request "
                "could never be taken; raise queue_rows"
            )


# A text of 512 tokens has to fit into a batch and into the queue.
_LEAST: dict[str, Any] = {
    "batch_tokens": 1,
    "wait": 0,
    "queue_rows": 1,
    "queue_tokens": 8192,
    "body_bytes": 1024,
    "request_rows": 1,
    "text_characters": 1,
    "connections": 1,
    "drain": 0,
}
