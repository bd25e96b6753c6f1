"""The batcher: what is taken is answered, in time, and never with another row's answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.deploy.batcher import Batcher, Closed, QueueFull
from bertwright.deploy.metrics import Metrics
from bertwright.errors import RunError


class Flight:
    """Rows (number, layer to leave after); the answer is the number and the layer. Steps wait for ``gate``."""

    def __init__(self, engine: Engine, rows: Sequence[tuple[int, int]]) -> None:
        self.engine, self.rows, self.layer, self.finished = engine, dict(enumerate(rows)), 0, []

    def step(self) -> None:
        """Run a layer."""
        self.engine.steps.append((sorted(number for number, _ in self.rows.values()), self.layer))
        assert self.engine.gate.wait(10)
        if self.engine.fails_at == self.layer:
            raise RunError("the engine broke")
        self.layer += 1
        self.finished = [(place, (row[0], self.layer)) for place, row in self.rows.items() if row[1] == self.layer]
        for place, _ in self.finished:
            del self.rows[place]


class Engine:
    """Begins flights and notes what was run."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.begun: list[list[int]] = []
        self.steps: list[tuple[list[int], int]] = []
        self.fails_at: int | None = None
        self.refuses: int | None = None

    def begin(self, rows: Sequence[tuple[int, int]]) -> Flight:
        """Begin a flight, unless a row is refused."""
        numbers = [number for number, _ in rows]
        if self.refuses in numbers:
            raise RunError("this row cannot be worked at")
        self.begun.append(numbers)
        return Flight(self, rows)


@pytest.fixture
def engine() -> Engine:
    """The engine of a test."""
    return Engine()


@pytest.fixture
def made(engine: Engine) -> Iterator[Any]:
    """Makes batchers and closes them."""
    all_of_them = []

    def make(**choices: Any) -> Batcher:
        limits = {"batch_tokens": 64, "queue_rows": 100, "queue_tokens": 10_000, **choices}
        all_of_them.append(Batcher(engine.begin, **limits))
        return all_of_them[-1]

    yield make
    engine.gate.set()
    for batcher in all_of_them:
        assert batcher.close(5)


def submit(batcher: Batcher, numbers: Sequence[int], length: int = 8, layer: int = 3) -> Future[list[Any]]:
    """Submit rows of one length that leave after one layer."""
    return batcher.submit([(number, layer) for number in numbers], [length] * len(numbers), 5.0)


def until(what: Any) -> None:
    """Wait, for some seconds at most, until something is so."""
    for _ in range(500):
        if what():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to be so")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 4)), max_size=12), min_size=1, max_size=8))
def test_each_request_gets_its_own_answers_in_order(requests: list[list[tuple[int, int]]]) -> None:
    """Whatever the lengths and exits, every row has the answer of its own number and layer, once."""
    engine = Engine()
    batcher = Batcher(engine.begin, batch_tokens=64, queue_rows=100, queue_tokens=10_000)
    promises = []
    for number, rows in enumerate(requests):
        contents = [(100 * number + place, layer) for place, (_, layer) in enumerate(rows)]
        promises.append((contents, batcher.submit(contents, [length for length, _ in rows], 5.0)))
    for contents, promise in promises:
        assert contents == promise.result(5)
    assert batcher.close(5)


def test_a_batch_is_bounded_by_its_padded_tokens(engine: Engine, made: Any) -> None:
    """64 tokens hold eight rows of eight; rows of other lengths wait for their like. Less work goes first."""
    batcher = made()
    batcher._pace = 1.0
    engine.gate.clear()
    first = submit(batcher, [0])
    until(lambda: engine.steps)
    promises = [first, submit(batcher, range(1, 13)), submit(batcher, [90], length=60)]
    engine.gate.set()
    wait(promises, 5)
    assert [[0], [90], [1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11, 12]] == engine.begun


def test_a_row_longer_than_a_batch_goes_alone(engine: Engine, made: Any) -> None:
    """No row is too long to be answered."""
    assert [(5, 3)] == submit(made(), [5], length=500).result(5)


def test_a_short_request_overtakes_a_long_one_between_segments(engine: Engine, made: Any) -> None:
    """It would be done before had each the machine alone; the long one is finished after it."""
    metrics = Metrics()
    batcher = made(batch_tokens=4096, metrics=metrics)
    batcher._pace = 0.001
    engine.gate.clear()
    long = submit(batcher, range(50), length=80)
    until(lambda: engine.steps)
    short = submit(batcher, [77], length=4)
    engine.gate.set()
    wait([long, short], 5)
    order = [77 in numbers for numbers, _ in engine.steps]
    assert [False, True, True, True, False, False] == order
    assert 1 == metrics.snapshot()["overtaken_total"][()][0]


def test_nobody_is_overtaken_for_ever(engine: Engine, made: Any) -> None:
    """A request that came later than an older one would be done, waits for it."""
    metrics = Metrics()
    batcher = made(batch_tokens=4096, metrics=metrics)
    batcher._pace = 1e-6
    engine.gate.clear()
    long = submit(batcher, range(50), length=80)
    until(lambda: engine.steps)
    time.sleep(0.02)  # more than 50 x 80 tokens x 1e-6 s
    short = submit(batcher, [77], length=4)
    engine.gate.set()
    wait([long, short], 5)
    assert [False, False, False, True, True, True] == [77 in numbers for numbers, _ in engine.steps]
    assert {} == metrics.snapshot()["overtaken_total"]


def test_rows_that_left_make_room_in_the_queue(engine: Engine, made: Any) -> None:
    """A row's place is free as soon as it has its answer, before its flight has landed."""
    batcher, turns = made(queue_rows=2), threading.Semaphore(0)
    engine.gate.wait = lambda seconds: turns.acquire(timeout=seconds)  # type: ignore[method-assign]
    both = batcher.submit([(1, 1), (2, 4)], [4, 4], 5.0)
    until(lambda: engine.steps)
    with pytest.raises(QueueFull):
        submit(batcher, [3])
    turns.release()
    until(lambda: len(engine.steps) == 2)
    third = submit(batcher, [3])
    turns.release(20)
    assert ([(1, 1), (2, 4)], [(3, 3)]) == (both.result(5), third.result(5))


def test_a_full_queue_refuses_and_says_when_to_come_again(engine: Engine, made: Any) -> None:
    """Rows and tokens are both bounded; nothing of a refused request stays."""
    batcher = made(queue_rows=10, queue_tokens=100)
    engine.gate.clear()
    taken = [submit(batcher, [0]), submit(batcher, range(1, 8))]
    with pytest.raises(QueueFull, match="found 8 rows of 64 tokens.* a request of 3 rows; expected at most 10") as full:
        submit(batcher, [8, 9, 10])
    assert full.value.retry > 0
    with pytest.raises(QueueFull, match="at most 10 rows of 100 tokens"):
        submit(batcher, [8], length=50)
    with pytest.raises(QueueFull):
        batcher.room(3)
    taken.append(submit(batcher, [8]))
    engine.gate.set()
    assert 9 == sum(len(promise.result(5)) for promise in taken)


def test_a_row_that_waited_too_long_is_told_so_and_not_worked_at(engine: Engine, made: Any) -> None:
    """The deadline is looked at before work begins."""
    batcher = made(batch_tokens=8)
    engine.gate.clear()
    first = submit(batcher, [0])
    until(lambda: engine.steps)
    late = batcher.submit([(1, 1)], [8], 0.01)
    time.sleep(0.03)
    engine.gate.set()
    first.result(5)
    with pytest.raises(TimeoutError):
        late.result(5)
    assert [[0]] == engine.begun


def test_a_cancelled_request_leaves_the_queue(engine: Engine, made: Any) -> None:
    """Whoever goes takes no one's time."""
    batcher = made(batch_tokens=8)
    engine.gate.clear()
    first = submit(batcher, [0])
    until(lambda: engine.steps)
    gone, last = submit(batcher, [1]), submit(batcher, [2])
    assert gone.cancel()
    engine.gate.set()
    wait([first, last], 5)
    assert [[0], [2]] == engine.begun


def test_one_bad_row_harms_no_other(engine: Engine, made: Any) -> None:
    """Where the engine refuses a batch, each row is tried alone."""
    batcher = made()
    engine.gate.clear()
    first = submit(batcher, [0])
    until(lambda: engine.steps)
    engine.refuses = 2
    promises = [submit(batcher, [number]) for number in (1, 2, 3)]
    engine.gate.set()
    assert ([(1, 3)], [(3, 3)]) == (promises[0].result(5), promises[2].result(5))
    with pytest.raises(RunError, match="cannot be worked at"):
        promises[1].result(5)
    assert [(0, 3)] == first.result(5)


def test_a_segment_that_fails_fails_its_rows_alone(engine: Engine, made: Any) -> None:
    """The thread goes on with the next batch, and the places are free again."""
    batcher = made(queue_rows=2)
    engine.fails_at = 1
    with pytest.raises(RunError, match="the engine broke"):
        submit(batcher, [1, 2]).result(5)
    engine.fails_at = None
    until(lambda: batcher._rows == 0)
    assert [(3, 3), (4, 3)] == submit(batcher, [3, 4]).result(5)


def test_closing_finishes_what_was_taken_and_takes_no_more(engine: Engine, made: Any) -> None:
    """A drain loses nothing."""
    batcher = made(batch_tokens=16)
    engine.gate.clear()
    promises = [submit(batcher, [number]) for number in range(7)]
    assert not batcher.close(0.01)
    with pytest.raises(Closed):
        submit(batcher, [8])
    engine.gate.set()
    assert batcher.close(5)
    assert [[(number, 3)] for number in range(7)] == [promise.result(0) for promise in promises]


def test_an_idle_engine_waits_for_a_fuller_batch_only_so_long(engine: Engine, made: Any) -> None:
    """With ``wait``, two requests share a batch; a full batch begins at once."""
    batcher = made(wait=0.25)
    first = submit(batcher, [1])
    time.sleep(0.05)
    wait([first, submit(batcher, [2])], 5)
    assert [[1, 2]] == engine.begun
    begun = time.monotonic()
    submit(batcher, range(10, 18)).result(5)
    assert time.monotonic() - begun < 0.2


def test_a_thread_that_ends_leaves_nobody_waiting(made: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the batcher's own fails the requests and shows in its trouble."""
    batcher = made()
    monkeypatch.setattr(batcher, "_advance", lambda _flight: 1 / 0)
    monkeypatch.setattr(threading, "excepthook", lambda _arguments: None)
    promise = submit(batcher, [1])
    with pytest.raises(RunError, match="has ended"):
        promise.result(5)
    until(lambda: batcher.trouble() is not None)
    assert "has ended" in batcher.trouble()


def test_a_segment_that_hangs_is_trouble(engine: Engine, made: Any) -> None:
    """A platform restarts a server whose engine stands still for a minute."""
    now = [0.0]
    batcher = made(clock=lambda: now[0])
    engine.gate.clear()
    promise = submit(batcher, [1])
    until(lambda: engine.steps)
    assert batcher.trouble() is None
    now[0] = 100.0
    assert "one segment has run for 100 s" == batcher.trouble()
    engine.gate.set()
    assert [(1, 3)] == promise.result(5)


def test_many_threads_get_their_own_answers(engine: Engine, made: Any) -> None:
    """Eight threads of 50 requests each; every answer is its own."""
    batcher, wrong = made(queue_rows=1000), []

    def ask(thread: int) -> None:
        draw = np.random.default_rng(thread)
        for number in range(50):
            own = [(1000 * thread + number, int(layer)) for layer in draw.integers(1, 4, draw.integers(1, 4))]
            if own != batcher.submit(own, [int(n) for n in draw.integers(1, 30, len(own))], 5.0).result(5):
                wrong.append(own)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == wrong
