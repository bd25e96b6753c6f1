"""Rows of many requests, worked at together: a bounded queue and one thread that runs the engine's flights.

    request --submit--> queue --begin--> flight --step--> ... --step--> answers, a row as soon as it leaves

A flight is a batch of rows between two segments of the encoder. Each request goes by the moment it would be done had
it the machine alone (its arrival and its own expected work), the earliest first; that is looked at between segments, so
a short request overtakes a long one that has hardly begun, and nobody can be overtaken for ever. Rows that left make
their flight cheaper and give their places to waiting rows at once: those begin a flight of their own at layer 0. They
do not join the flight, whose rows are at another layer and need other matrices.

Nothing here knows of HTTP, ONNX or torch.
"""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, Protocol

from bertwright.deploy.metrics import Metrics
from bertwright.errors import BertwrightError, RunError

_FLIGHTS = 4  # at once: a flight's states stay in memory while it is overtaken
_FULL = 0.7  # the least share of a batch that is real tokens; longer rows wait for their like
_FIRST_GUESS = 1e-4  # seconds a token, until the first flight has landed
_STALLED = 60.0  # seconds in one segment


class Flight(Protocol):
    """A batch of rows in the engine."""

    @property
    def finished(self) -> Sequence[tuple[int, Any]]:
        """The rows that left at the last step, by their place in the batch, with their answers, or errors."""

    def step(self) -> None:
        """Run the next segment."""


class QueueFull(BertwrightError):
    """The queue cannot take a request now; ``retry`` is a guess of the seconds until it can."""

    def __init__(self, found: str, expected: str, retry: float) -> None:
        super().__init__(f"found {found}; expected {expected}; send it again in {retry:.1f} s")
        self.found, self.expected, self.retry = found, expected, retry


class Closed(BertwrightError):
    """The batcher takes no more requests."""


@dataclass(eq=False)
class _Ticket:
    """A request: its answers so far, its place in the order, and the promise to whoever waits for it."""

    key: float
    arrived: float
    deadline: float
    answers: list[Any]
    left: int
    promise: Future[list[Any]] = field(default_factory=Future)

    def put(self, place: int, answer: Any) -> None:
        self.answers[place] = answer
        self.left -= 1
        if not self.left:
            _keep(self.promise, self.answers)

    def fail(self, error: Exception) -> None:
        if not self.promise.done():
            _keep(self.promise, error)


def _keep(promise: Future[list[Any]], result: list[Any] | Exception) -> None:
    """Keep a promise, unless whoever waited for it has gone."""
    try:
        if isinstance(result, Exception):
            promise.set_exception(result)
        else:
            promise.set_result(result)
    except InvalidStateError:
        pass  # cancelled between the look and the word


@dataclass(eq=False)
class _Row:
    ticket: _Ticket
    place: int
    content: Any
    tokens: int


@dataclass(eq=False)
class _Running:
    """A flight with the rows that are still in it, by their place; ``cells`` are rows x longest row as it began."""

    inner: Flight
    rows: dict[int, _Row]
    cells: int
    key: float
    spent: float = 0.0


class Batcher:
    """Takes requests of any thread, answers them in batches.

    ``begin`` starts a flight of encoded rows. ``batch_tokens`` bounds a batch's rows x longest row; a single longer row
    makes a batch of its own. An idle engine waits at most ``wait`` seconds for a fuller batch.
    """

    def __init__(
        self,
        begin: Callable[[Sequence[Any]], Flight],
        *,
        batch_tokens: int,
        queue_rows: int,
        queue_tokens: int,
        wait: float = 0.0,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._begin_flight, self._clock = begin, clock
        self._batch_tokens, self._most_rows, self._most_tokens = batch_tokens, queue_rows, queue_tokens
        self._wait, self._metrics = wait, metrics or Metrics()
        self._changed = threading.Condition()
        self._queue: list[_Row] = []  # sorted by the key of the request
        self._flights: list[_Running] = []
        self._rows = self._tokens = 0  # waiting and running
        self._pace = _FIRST_GUESS  # seconds a token of a batch, padding included
        self._closed = False
        self._stepping: float | None = None
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, rows: Sequence[Any], tokens: Sequence[int], timeout: float) -> Future[list[Any]]:
        """Take a request of encoded rows with their lengths; the future gives the answers in their order.

        ``QueueFull`` where it does not fit. The future raises ``TimeoutError`` where the work did not begin in time;
        cancelling it takes its waiting rows out.
        """
        count, total, now = len(rows), sum(tokens), self._clock()
        with self._changed:
            if self._closed:
                raise Closed("the server is shutting down; found a new request; send it to another server")
            self._drop_dead(now)
            if self._rows + count > self._most_rows or (self._rows and self._tokens + total > self._most_tokens):
                raise self._full(count)
            ticket = _Ticket(now + total * self._pace, now, now + timeout, [None] * count, count)
            if not count:
                _keep(ticket.promise, [])
            for place, (content, length) in enumerate(zip(rows, tokens, strict=True)):
                bisect.insort(self._queue, _Row(ticket, place, content, length), key=lambda row: row.ticket.key)
            self._rows, self._tokens = self._rows + count, self._tokens + total
            self._show()
            self._changed.notify()
        return ticket.promise

    def room(self, count: int) -> None:
        """Refuse a request of so many rows at once where the queue is full, before any work is spent on it."""
        with self._changed:
            if self._rows + count > self._most_rows:
                raise self._full(count)

    def _full(self, count: int) -> QueueFull:
        self._metrics.count("refused_total", ("queue",))
        return QueueFull(
            f"{self._rows} rows of {self._tokens} tokens at work or waiting, and a request of {count} rows",
            f"at most {self._most_rows} rows of {self._most_tokens} tokens",
            self._tokens * self._pace,
        )

    def close(self, timeout: float | None = None) -> bool:
        """Take nothing more, finish what was taken, and tell whether all was in time; a second call waits again."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def trouble(self) -> str | None:
        """Return what keeps the thread from working; nothing where it is well."""
        since = self._stepping
        if not self._thread.is_alive() and not self._closed:
            return "the thread that runs the engine has ended"
        if since is not None and self._clock() - since > _STALLED:
            return f"one segment has run for {self._clock() - since:.0f} s"
        return None

    def _work(self) -> None:
        try:
            while (flight := self._next()) is not None:
                self._advance(flight)
        finally:
            # Reached in order with nothing left, or by a fault: then nobody shall wait for ever.
            with self._changed:
                for row in [*self._queue, *(row for flight in self._flights for row in flight.rows.values())]:
                    row.ticket.fail(
                        RunError("the thread that runs the engine has ended; the server has to be restarted")
                    )

    def _next(self) -> _Running | None:
        """Wait for work; return the flight to advance, or nothing after the last."""
        while True:
            with self._changed:
                now = self._clock()
                self._drop_dead(now)
                running = min(self._flights, key=lambda flight: flight.key, default=None)
                head = self._queue[0] if self._queue else None
                if head is None or not self._goes_first(head, running):
                    if running is not None:
                        return running
                    if self._closed:
                        return None
                    self._changed.wait()
                    continue
                if running is None and (pause := self._pause(head, now)) > 0:
                    self._changed.wait(pause)
                    continue
                rows = self._take(now)
                if running is not None:
                    self._metrics.count("overtaken_total")
            self._begin(rows)

    def _goes_first(self, head: _Row, running: _Running | None) -> bool:
        return running is None or (head.ticket.key < running.key and len(self._flights) < _FLIGHTS)

    def _pause(self, head: _Row, now: float) -> float:
        """Return how long an idle engine may still wait for a fuller batch."""
        full = self._closed or sum(row.tokens for row in self._queue) >= self._batch_tokens
        return 0.0 if full else head.ticket.arrived + self._wait - now

    def _drop_dead(self, now: float) -> None:
        """Take out rows whose request was given up, or whose time is over."""
        dead = [row for row in self._queue if row.ticket.promise.done() or row.ticket.deadline <= now]
        if not dead:
            return
        gone = {id(row) for row in dead}
        self._queue = [row for row in self._queue if id(row) not in gone]
        for row in dead:
            if not row.ticket.promise.done():
                self._metrics.count("refused_total", ("timeout",))
                row.ticket.fail(TimeoutError())
        self._leave(dead)

    def _leave(self, rows: Sequence[_Row]) -> None:
        self._rows -= len(rows)
        self._tokens -= sum(row.tokens for row in rows)
        self._show()

    def _take(self, now: float) -> list[_Row]:
        """Take a batch from the queue: its head, and of the others those that fit in beside it, in their order."""
        taken, left, tokens, longest = [self._queue[0]], [], self._queue[0].tokens, self._queue[0].tokens
        for row in self._queue[1:]:
            length = max(longest, row.tokens)
            cells = (len(taken) + 1) * length
            if cells <= self._batch_tokens and tokens + row.tokens >= _FULL * cells:
                taken.append(row)
                tokens, longest = tokens + row.tokens, length
            else:
                left.append(row)
        self._queue = left
        for row in taken:
            self._metrics.observe("wait_seconds", now - row.ticket.arrived)
        return taken

    def _begin(self, rows: Sequence[_Row]) -> None:
        """Begin a flight; where the engine refuses it, each row alone, so that one bad row harms no other."""
        try:
            inner = self._begin_flight([row.content for row in rows])
        except Exception as error:
            self._metrics.count("batch_failures_total")
            if len(rows) > 1:
                for row in rows:
                    self._begin([row])
                return
            rows[0].ticket.fail(error)
            with self._changed:
                self._leave(rows)
            return
        cells = len(rows) * max(row.tokens for row in rows)
        self._metrics.observe("batch_rows", len(rows))
        self._metrics.observe("batch_cells", cells)
        with self._changed:
            self._flights.append(_Running(inner, dict(enumerate(rows)), cells, rows[0].ticket.key))
            self._show()

    def _advance(self, flight: _Running) -> None:
        """Run one segment of a flight and hand out the answers of the rows that left."""
        begun = self._stepping = self._clock()
        try:
            flight.inner.step()
            finished = [(flight.rows.pop(place), answer) for place, answer in flight.inner.finished]
        except Exception as error:
            self._metrics.count("batch_failures_total")
            for row in flight.rows.values():
                row.ticket.fail(error)
            self._land(flight, list(flight.rows.values()))
            return
        finally:
            self._stepping = None
        flight.spent += self._clock() - begun
        if flight.rows:
            with self._changed:
                self._leave([row for row, _ in finished])
        else:
            # The pace forgets slowly: the next requests are like the last ones, not like one of them.
            self._pace += 0.1 * (flight.spent / flight.cells - self._pace)
            self._land(flight, [row for row, _ in finished])
        # Last, so that whoever is answered finds its places free.
        for row, answer in finished:
            if isinstance(answer, Exception):
                row.ticket.fail(answer)
            else:
                row.ticket.put(row.place, answer)

    def _land(self, flight: _Running, rows: Sequence[_Row]) -> None:
        with self._changed:
            self._flights.remove(flight)
            self._leave(rows)

    def _show(self) -> None:
        put, running = self._metrics.put, sum(len(flight.rows) for flight in self._flights)
        put("queue_rows", len(self._queue))
        put("queue_tokens", sum(row.tokens for row in self._queue))
        put("running_rows", running)
        put("running_batches", len(self._flights))
