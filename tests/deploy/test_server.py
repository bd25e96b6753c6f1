"""The server over real sockets: right answers, and each refusal with its status and its three sentences."""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from toy_runtime import LAYERS, ToyRuntime, toy_pack
from toy_server import Served, Start

from bertwright.deploy.server import ServeSettings, Service
from bertwright.errors import Diverged, InputError


def alone(server: Served, text: str, pack: str = "mood") -> dict[str, object]:
    """What the engine says of one text by itself, as JSON would give it."""
    answer = server.service.runtime.alone(text, pack)  # type: ignore[attr-defined]
    return {"pack": pack, "label": answer.label, "layer": answer.layer, "truncated": answer.truncated}


def without_shares(answers: list[dict[str, object]]) -> list[dict[str, object]]:
    """Leave out what a batch's size moves in the last digits."""
    return [{key: value for key, value in one.items() if key != "probabilities"} for one in answers]


def test_texts_of_one_pack_are_answered_in_order(start: Start) -> None:
    """Each text has the answer that it has alone; an empty text is a text."""
    server, texts = start(), ["good", "", "a longer text that leaves elsewhere", "ünïcödé 🙂", "x" * 300]
    found = server.classify({"pack": "mood", "texts": texts})
    assert 200 == found.status
    assert [alone(server, text) for text in texts] == without_shares(found.json["answers"])
    assert all(abs(sum(one["probabilities"].values()) - 1) < 1e-9 for one in found.json["answers"])
    assert [False, False, False, False, True] == [one["truncated"] for one in found.json["answers"]]


def test_rows_of_several_packs_share_a_batch(start: Start) -> None:
    """Mixed rows are answered by their own packs, pairs beside single texts; logits come where asked for."""
    server = start()
    rows = [
        {"pack": "mood", "text": "fine"},
        {"pack": "pair", "text": ["one", "two"]},
        {"pack": "mood", "text": ["so"]},
    ]
    found = server.classify({"rows": rows, "logits": True}).json["answers"]
    assert ["mood", "pair", "mood"] == [one["pack"] for one in found]
    assert [2, 3, 2] == [len(one["logits"]) for one in found]
    assert alone(server, "fine")["label"] == found[0]["label"]


def test_many_clients_get_their_own_answers(start: Start) -> None:
    """Forty requests at a time, each checked against the answer of its text alone."""
    server = start()
    texts = [[f"text {client} {number} {'x' * (client * number % 23)}" for number in range(3)] for client in range(40)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda own: server.classify({"pack": "mood", "texts": own}).json["answers"], texts))
    assert [[alone(server, text) for text in own] for own in texts] == [without_shares(one) for one in found]


REFUSALS = {
    "not JSON": (b'{"pack": "mood", "texts": ["go', 400, "not JSON", "JSON in UTF-8"),
    "not UTF-8": (b'{"pack": "mood", "texts": ["\xff\xfe"]}', 400, "not JSON", "JSON in UTF-8"),
    "half a character": (b'{"pack": "mood", "texts": ["\\ud800"]}', 400, "not JSON", "JSON in UTF-8"),
    "deep": (b"[" * 100_000, 400, "not JSON", "JSON in UTF-8"),
    "no object": (b"[]", 422, "a list at the body", "texts"),
    "unknown key": (b'{"pack": "mood", "text": ["a"]}', 422, "a key that is not known at text", "texts"),
    "a number": (b'{"pack": "mood", "texts": [1]}', 422, "a number at texts.0", "texts"),
    "no text": (b'{"pack": "mood", "texts": []}', 422, "no text", "at least one"),
    "no pack": (b'{"texts": ["a"]}', 422, "the keys texts", "rows"),
    "both forms": (b'{"pack": "mood", "texts": ["a"], "rows": []}', 422, "the keys pack, texts, rows", "rows"),
    "unknown pack": (b'{"pack": "mod", "texts": ["a"]}', 404, "the pack 'mod'", "one of mood, pair"),
    "one text for a pair": (b'{"pack": "pair", "texts": ["a"]}', 422, "1 texts in row 0", "a pair: text, other"),
    "three texts": (b'{"pack": "pair", "texts": [["a", "b", "c"]]}', 422, "a list at texts.0", "at most 2"),
    "many texts": (json.dumps({"pack": "mood", "texts": ["a"] * 10_000}).encode(), 413, "10,000 texts", "at most 256"),
    "a long text": (json.dumps({"pack": "mood", "texts": ["a" * 200_000]}).encode(), 413, "200,000", "at most 100,000"),
    "1 MB of text": (json.dumps({"pack": "mood", "texts": ["a" * (1 << 20)]}).encode(), 413, "a body of", "1,048,576"),
}


@pytest.fixture(scope="module")
def quiet_server() -> Served:
    """A server that many tests only read from."""
    from bertwright.deploy.server import Service
    from bertwright.deploy.settings import ServeSettings

    engine = ToyRuntime()
    engine.add(toy_pack(1), "mood")
    engine.add(toy_pack(2, labels=("same", "near", "far"), columns=2), "pair")
    server = Served(Service(engine, ServeSettings(drain=0.0)))
    yield server
    server.stop()


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_a_wrong_request_is_told_what_is_wrong(quiet_server: Served, case: str) -> None:
    """Found, expected and what to do next, with the right status; the server goes on."""
    body, status, found, expected = REFUSALS[case]
    reply = quiet_server.classify(body)
    assert status == reply.status
    assert found in reply.error["found"]
    assert expected in reply.error["expected"]
    assert reply.error["next"]
    assert 200 == quiet_server.classify({"pack": "mood", "texts": ["fine"]}).status


def test_an_unknown_address_and_a_wrong_verb(quiet_server: Served) -> None:
    """404 and 405 are JSON too."""
    assert (404, "/docs") == (quiet_server.ask("GET", "/v2").status, quiet_server.ask("GET", "/v2").error["next"][4:])
    wrong = quiet_server.ask("GET", "/v1/classify")
    assert (405, "POST") == (wrong.status, wrong.headers["allow"])


def test_a_form_of_a_foreign_page_cannot_ask(quiet_server: Served) -> None:
    """A body that is not declared JSON is refused: browsers send other types across origins without asking."""
    reply = quiet_server.classify(b'{"pack": "mood", "texts": ["a"]}', headers={"Content-Type": "text/plain"})
    assert (415, "close") == (reply.status, reply.headers["connection"])


def test_another_host_name_is_refused_on_loopback(start: Start) -> None:
    """A name of the web that points at this machine is no way in."""
    server = start(hosts=frozenset({"127.0.0.1", "localhost"}))
    assert 200 == server.ask("GET", "/v1/packs").status
    reply = server.ask("GET", "/v1/packs", headers={"Host": "evil.example:80"})
    assert (403, "one of 127.0.0.1, localhost") == (reply.status, reply.error["expected"])


def test_a_token_guards_answers_and_counts_but_not_probes(start: Start) -> None:
    """401 without or with a wrong one; pages and probes are open."""
    server, right = start(token="right"), {"Authorization": "Bearer right"}
    for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic right"}):
        reply = server.classify({"pack": "mood", "texts": ["a"]}, headers=given)
        assert (401, "Bearer") == (reply.status, reply.headers["www-authenticate"])
    assert [401, 401] == [server.ask("GET", path).status for path in ("/v1/packs", "/metrics")]
    assert 200 == server.classify({"pack": "mood", "texts": ["a"]}, headers=right).status
    opened = ("/", "/docs", "/openapi.json", "/healthz", "/readyz")
    assert [200] * 5 == [server.ask("GET", path).status for path in opened]


def test_every_answer_has_headers_that_a_browser_heeds(quiet_server: Served) -> None:
    """No sniffing, no framing, nothing kept; pages run their own script and nothing else."""
    for path in ("/", "/docs", "/v1/packs", "/nothing"):
        headers = quiet_server.ask("GET", path).headers
        assert ("nosniff", "DENY", "no-store") == tuple(
            headers[name] for name in ("x-content-type-options", "x-frame-options", "cache-control")
        )
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers
    page = quiet_server.ask("GET", "/").body.decode()
    assert [] == re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page)


def test_a_full_queue_answers_503_with_a_time(start: Start) -> None:
    """What is refused is refused at once; what was taken is answered."""
    server = start(pause=0.05, queue_rows=4, request_rows=4)
    with ThreadPoolExecutor(12) as threads:
        bodies = [{"pack": "mood", "texts": [f"text {number}"] * 2} for number in range(12)]
        replies = list(threads.map(server.classify, bodies))
    statuses = [reply.status for reply in replies]
    assert {200, 503} == set(statuses)
    refused = next(reply for reply in replies if reply.status == 503)
    assert int(refused.headers["retry-after"]) >= 1
    assert "rows" in refused.error["found"]
    counts = server.ask("GET", "/metrics").body.decode()
    assert f'bertwright_refused_total{{why="queue"}} {statuses.count(503)}' in counts


def test_more_requests_at_once_than_memory_allows_are_refused(start: Start) -> None:
    """Slow bodies fill the places: 503 with a time, while probes are answered; a place that is free is given again."""
    server = start(connections=2, read_timeout=5)
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
    for client in slow:
        client.sendall(head(100) + b"{")
    time.sleep(0.2)
    reply = server.classify({"pack": "mood", "texts": ["a"]})
    assert (503, "1", "at most 2") == (reply.status, reply.headers["retry-after"], reply.error["expected"])
    assert 200 == server.ask("GET", "/healthz").status
    for client in slow:
        client.close()
    time.sleep(0.2)
    assert 200 == server.classify({"pack": "mood", "texts": ["a"]}).status


def test_an_answer_that_takes_too_long_is_504(start: Start) -> None:
    """The request's time is over; later requests are answered."""
    server = start(pause=0.4, request_timeout=0.3)
    assert 504 == server.classify({"pack": "mood", "texts": ["abc"]}).status
    server.service.runtime.pause = 0.0  # type: ignore[attr-defined]
    time.sleep(0.5)
    assert 200 == server.classify({"pack": "mood", "texts": ["abc"]}).status


def test_a_client_that_goes_takes_no_work(start: Start) -> None:
    """Its rows leave the queue when it hangs up."""
    server = start(pause=0.1, batch_tokens=8)
    body = json.dumps({"pack": "mood", "texts": ["abc"] * 20}).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head(len(body)) + body)
        time.sleep(0.2)
    begun = time.monotonic()
    assert 200 == server.classify({"pack": "mood", "texts": ["next"]}).status
    assert time.monotonic() - begun < 2  # twenty rows would take six seconds
    assert b'requests_total{path="/v1/classify",code="499"} 1' in server.ask("GET", "/metrics").body


def head(length: int) -> bytes:
    """The head of a request."""
    lines = ["POST /v1/classify HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def test_a_slow_body_is_408_and_a_slow_head_is_hung_up_on(start: Start) -> None:
    """Neither holds a connection longer than the read timeout, while others are served."""
    server = start(read_timeout=0.3)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as slow:
        slow.sendall(head(100) + b'{"pack"')
        assert slow.recv(4096).startswith(b"HTTP/1.1 408")
    for beginning in (b"", b"POST /v1/cla"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as slow:
            slow.sendall(beginning)
            assert 200 == server.classify({"pack": "mood", "texts": ["a"]}).status
            assert slow.recv(1) == b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as kept:
        kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.1)
        assert kept.recv(4096).startswith(b"HTTP/1.1 200")
        kept.sendall(b"G")  # the first byte of a second request, and never the rest
        assert b"" == kept.recv(4096)


def test_a_fault_is_500_and_its_log_holds_no_text(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """What a client sent is in no log, also where the program fails."""
    server = start()

    def breaks(row: object) -> None:
        raise ValueError(f"secret words {row}")

    server.service.runtime.encode = breaks  # type: ignore[method-assign, assignment]
    with caplog.at_level(logging.DEBUG):
        reply = server.classify({"pack": "mood", "texts": ["secret words"]})
    assert 500 == reply.status
    assert "fault: ValueError at" in caplog.text
    assert "secret" not in caplog.text + reply.body.decode()


def test_a_row_without_an_answer_fails_its_own_request_alone(start: Start) -> None:
    """Two requests in one batch: numbers of one row that are none are told to its client, and the other is answered."""
    server = start(wait=0.5)
    begin = server.service.runtime.begin

    class Overflowing:
        """A flight in which rows of the pack `pair` have no answer."""

        def __init__(self, rows: Sequence[Any]) -> None:
            self.rows, self.flight = rows, begin(rows)

        def step(self) -> None:
            self.flight.step()

        @property
        def finished(self) -> list[tuple[int, Any]]:
            bad = Diverged("pack pair answers with no numbers")
            return [(place, bad if self.rows[place].name == "pair" else one) for place, one in self.flight.finished]

    server.service.batcher._begin_flight = Overflowing
    with ThreadPoolExecutor(2) as clients:
        asked = [{"pack": "mood", "texts": ["a"]}, {"pack": "pair", "texts": [["a", "b"]]}]
        mood, pair = clients.map(server.classify, asked)
    assert (200, 500) == (mood.status, pair.status)
    assert [2] == [len(lengths) for lengths in server.service.runtime.begun]  # type: ignore[attr-defined]


def test_packs_of_the_export_itself_are_watched(start: Start) -> None:
    """Where their rows leave is held against their calibration, as with packs of a folder."""
    runtime = ToyRuntime()
    ramps = {"1/output.weight": np.zeros((2, 4)), "1/output.bias": np.zeros(2)}
    runtime.add(toy_pack(1, ramps=ramps, policy={"policy": "entropy:0.2", "counts": [900, 100]}), "mood")
    watch = Service(runtime, ServeSettings()).exits
    for _ in range(100):
        watch.left("mood", LAYERS)
    assert watch.drifts()["mood"].drifted


def test_a_pack_that_goes_between_look_and_work_is_422(start: Start) -> None:
    """The runtime's own refusal reaches the client."""
    server = start()

    def gone(row: object) -> None:
        raise InputError("the pack 'mood' is not here")

    server.service.runtime.encode = gone  # type: ignore[method-assign, assignment]
    reply = server.classify({"pack": "mood", "texts": ["a"]})
    assert (422, "the pack 'mood' is not here") == (reply.status, reply.error["found"])


def test_counts_are_those_of_what_was_asked(start: Start) -> None:
    """Requests by status, rows by pack, exits by layer."""
    server = start()
    server.classify({"pack": "mood", "texts": ["a", "ab", "abcd"]})  # 3, 4 and 6 tokens: layers 4, 1 and 3
    server.classify({"pack": "none", "texts": ["a"]})
    server.ask("GET", "/anywhere/private")
    text = server.ask("GET", "/metrics")
    assert "text/plain; version=0.0.4; charset=utf-8" == text.headers["content-type"]
    for line in (
        'bertwright_requests_total{path="/v1/classify",code="200"} 1',
        'bertwright_requests_total{path="/v1/classify",code="404"} 1',
        'bertwright_requests_total{path="other",code="404"} 1',
        'bertwright_rows_total{pack="mood"} 3',
        'bertwright_exits_total{pack="mood",layer="4"} 1',
        'bertwright_exits_total{pack="mood",layer="1"} 1',
        'bertwright_exits_total{pack="mood",layer="3"} 1',
        "bertwright_wait_seconds_count 3",
        "bertwright_queue_rows 0",
        "bertwright_running_rows 0",
    ):
        assert line in text.body.decode().splitlines()
    assert b"private" not in text.body


def test_packs_tell_what_they_are(quiet_server: Served) -> None:
    """Kind, labels, columns and the version."""
    [mood, pair] = quiet_server.ask("GET", "/v1/packs").json["packs"]
    assert ("mood", ["no", "yes"], ["text"]) == (mood["name"], mood["labels"], mood["columns"])
    assert ("pair", ["text", "other"]) == (pair["name"], pair["columns"])
    assert mood["hash"] != pair["hash"]


def test_answers_are_what_the_description_says(quiet_server: Served) -> None:
    """Every answer is read by the model that /openapi.json is made of; every reference in it leads somewhere."""
    from bertwright.deploy.messages import ClassifyResponse, ErrorResponse, PacksResponse

    ClassifyResponse.model_validate_json(quiet_server.classify({"pack": "mood", "texts": ["a"], "logits": True}).body)
    PacksResponse.model_validate_json(quiet_server.ask("GET", "/v1/packs").body)
    ErrorResponse.model_validate_json(quiet_server.classify(b"").body)
    schema = quiet_server.ask("GET", "/openapi.json").json
    wanted = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(schema)))
    assert wanted <= set(schema["components"]["schemas"])
    page = quiet_server.ask("GET", "/docs").body.decode()
    assert all(path in page for path in schema["paths"])


def test_probes_follow_the_engine(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose engine stands still is neither well nor ready; one that drains is well."""
    server = start()
    assert [200, 200] == [server.ask("GET", path).status for path in ("/healthz", "/readyz")]
    server.service.standing.draining = True
    assert [200, 503] == [server.ask("GET", path).status for path in ("/healthz", "/readyz")]
    assert "close" == server.ask("GET", "/healthz").headers["connection"]
    server.service.standing.draining = False
    monkeypatch.setattr(server.service.batcher, "trouble", lambda: "it hangs")
    assert [503, 503] == [server.ask("GET", path).status for path in ("/healthz", "/readyz")]


def test_answers_go_on_while_a_large_body_is_read(start: Start) -> None:
    """One client's megabyte does not stop another's line."""
    server, bodies = start(), [{"pack": "mood", "texts": ["word " * 600] * 200}] * 3
    threads = [threading.Thread(target=server.classify, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    assert 200 == server.classify({"pack": "mood", "texts": ["short"]}).status
    for thread in threads:
        thread.join()
