"""One HTTP request to a container's own address: bounded, to that address alone, read no further than is needed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from shim.contract import messages, routes
from shim.contract.messages import Request
from tests.shim.caller import Answer, Caller
from tests.shim.droplet import Droplet
from tests.shim.fake_engine import FakeEngine
from tests.shim.server_in_container import ADDRESS, Server
from tests.shim.test_engine_faults import said

GET = Request(80, "GET", "/mcp?x=1")
Ask = Callable[..., Answer]
OK = b"HTTP/1.1 200 OK\r\n"
EVENTS = OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
RESULT: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "result": {"tools": []}}


def chunk(text: str) -> bytes:
    return f"{len(text.encode()):x}\r\n{text}\r\n".encode()


@pytest.fixture
def ask(caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str) -> Iterator[Ask]:
    """Asks a server that answers so, as if it ran in a container."""
    running: list[Server] = []

    def asked(chunks: list[bytes], message: Request = GET, **how: Any) -> Answer:
        server = Server(chunks, **how)
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        at = {"NetworkSettings": {"Networks": {"none": {"EndpointID": "", "IPAddress": ""},
                                               "bridge": {"EndpointID": "e", "IPAddress": ADDRESS}}}}  # fmt: skip
        fake_engine.on(f"GET /containers/{name}/json", (200, said(name, toolbox_id) | at))
        answer = caller.call(routes.REQUEST, name, replace(message, port=server.port))
        answer.headers["sent"] = server.received.decode()
        return answer

    yield asked
    for server in running:
        server.shutdown()
        server.server_close()


def response(answer: Answer) -> messages.Response:
    assert answer.status == 200, answer.body
    return messages.read(messages.Response, answer.body)


def test_what_is_sent_is_what_was_asked_and_what_is_answered_is_told(ask: Ask) -> None:
    message = Request(80, "POST", "/mcp?x=1", {"Accept": "text/event-stream", "Mcp-Session-Id": "s"}, '{"é": 1}')
    answer = ask([OK + b"X-Two: 1\r\nX-Two: 2\r\nContent-Length: 5\r\n\r\nh\xc3\xa9\x00!"], message)
    assert response(answer) == messages.Response(200, {"x-two": "1, 2", "content-length": "5"}, "hé\ufffd!", False)
    head, _, body = answer.headers["sent"].partition("\r\n\r\n")
    assert head.startswith("POST /mcp?x=1 HTTP/1.1\r\n") and body == '{"é": 1}'
    assert {"Accept: text/event-stream", "Mcp-Session-Id: s", "Connection: close"} <= set(head.split("\r\n"))


def test_a_redirect_is_an_answer_and_not_followed(ask: Ask) -> None:
    answer = response(ask([b"HTTP/1.1 307 Go\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"]))
    assert (answer.status, answer.headers["location"]) == (307, "http://169.254.169.254/")


def test_a_proxy_of_the_environment_is_not_asked(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert response(ask([OK + b"Content-Length: 0\r\n\r\n"])).status == 200


def test_a_stream_of_events_is_read_to_its_first_response(ask: Ask) -> None:
    note = 'event: message\r\ndata: {"jsonrpc": "2.0", "method": "notifications/message"}\r\n\r\n: still here\n\n'
    first = f"id: 7\ndata: {json.dumps(RESULT)[:20]}"
    second = f"{json.dumps(RESULT)[20:]}\n\n"
    began = time.monotonic()
    answer = response(ask([EVENTS + chunk(note), chunk(first), chunk(second + "data: more\n\n")], stays_open=True))
    assert (answer.body, answer.truncated) == (note + first + second, False)
    assert time.monotonic() - began < 2


def test_a_stream_of_events_that_its_server_ends_is_whole(ask: Ask) -> None:
    answer = response(ask([EVENTS + chunk("data: hello\n\n") + b"0\r\n\r\n"]))
    assert (answer.body, answer.truncated) == ("data: hello\n\n", False)


@pytest.mark.parametrize("head", [EVENTS + chunk("data: hello\n\n"), OK + b"Content-Length: 99\r\n\r\ndata: hello\n\n"])
def test_a_body_that_does_not_end_is_cut_at_the_time_asked_and_said_to_be(ask: Ask, head: bytes) -> None:
    began = time.monotonic()
    answer = response(ask([head], replace(GET, timeout=1), stays_open=True))
    assert (answer.body, answer.truncated) == ("data: hello\n\n", True)
    assert 0.9 < time.monotonic() - began < 2


def test_a_body_without_end_is_cut_at_a_megabyte(ask: Ask) -> None:
    answer = response(ask([OK + b"\r\n", *[b"x" * 500_000] * 4]))
    assert (len(answer.body), answer.truncated) == (1_000_000, True)


@pytest.mark.parametrize("head", [OK + b"Content-Length: 9\r\n\r\nab", EVENTS + b"9\r\nab"])
def test_a_body_that_breaks_off_is_said_to_be_cut(ask: Ask, head: bytes) -> None:
    answer = response(ask([head]))
    assert (answer.body, answer.truncated) == ("ab", True)


@pytest.mark.parametrize(
    "chunks", [[], [b"HTTP/1.1 20"], [b"SSH-2.0-OpenSSH\r\n"], [OK, *[b"X: 1\r\n"] * 200]], ids=str
)
def test_what_is_no_answer_is_not_answering(ask: Ask, chunks: list[bytes]) -> None:
    answer = ask(chunks)
    assert (answer.status, answer.code) == (503, "not-answering")


def test_a_server_that_drips_its_head_is_given_up_in_the_time_asked(ask: Ask) -> None:
    began = time.monotonic()
    assert ask([b"H"] * 50, replace(GET, timeout=1), pause=0.1).code == "not-answering"
    assert time.monotonic() - began < 2


def test_a_container_that_does_not_run_or_listen_is_not_answering(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str
) -> None:
    at = {"NetworkSettings": {"Networks": {"bridge": {"EndpointID": "e", "IPAddress": ADDRESS}}}}
    fake_engine.on("GET /containers/", (200, said(name, toolbox_id, "exited") | at))
    assert caller.call(routes.REQUEST, name, replace(GET, port=1)).code == "not-answering"
    fake_engine.on("GET /containers/", (200, said(name, toolbox_id) | at))
    answer = caller.call(routes.REQUEST, name, replace(GET, port=1))
    assert answer.code == "not-answering" and "refused" in answer.json["error"]["message"]


def test_a_container_of_another_is_asked_nothing(caller: Caller, fake_engine: FakeEngine, name: str) -> None:
    fake_engine.on("GET /containers/", (200, said(name, "another")))
    assert caller.call(routes.REQUEST, name, GET).code == "no-such-container"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"port": 0}, "port"), ({"port": 65_536}, "port"), ({"method": "CONNECT"}, "method"),
        ({"method": "get"}, "method"),
        ({"path": ""}, "path"), ({"path": "x"}, "path"), ({"path": "http://a/"}, "path"), ({"path": "/a b"}, "path"),
        ({"path": "/a\r\nX: 1"}, "path"), ({"path": "/é"}, "path"), ({"path": "/" * 5000}, "path"),
        ({"timeout": 0}, "timeout"), ({"timeout": 31}, "timeout"),
        *(({"headers": {name: "x"}}, "headers") for name in (
            "Host", "Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Expect", "Proxy-Authorization",
            "Cookie", "X", "X-A: 1\r\nHost", "", "x-é")),
        ({"headers": {"X-A": "1\r\nHost: x"}}, "headers"), ({"headers": {"X-A": "é"}}, "headers"),
        ({"headers": {f"X-{n}": "" for n in range(33)}}, "headers"),
    ],
)  # fmt: skip
def test_a_request_that_nobody_should_send_is_refused_by_its_field(
    caller: Caller, fake_engine: FakeEngine, name: str, changed: dict[str, Any], field: str
) -> None:
    answer = caller.call(routes.REQUEST, name, replace(GET, **changed))
    assert (answer.status, answer.code) == (400, "bad-request")
    assert answer.json["error"]["message"].startswith(field) and fake_engine.calls == []


@pytest.mark.docker
def test_a_server_in_a_container_answers(droplet: Droplet, busybox: str) -> None:
    made = droplet.make(busybox, "sh", "-c", "echo hello > /tmp/index.html; httpd -f -p 8080 -h /tmp")
    for _ in range(50):
        answer = droplet.caller.call(routes.REQUEST, made.name, Request(8080, "GET", "/index.html"))
        if answer.status == 200:
            break
        assert answer.code == "not-answering"
        time.sleep(0.1)
    assert response(answer).body == "hello\n"
    droplet.caller.acted(routes.STOP, made.name, messages.Stop(0))
    assert droplet.caller.call(routes.REQUEST, made.name, Request(8080, "GET", "/")).code == "not-answering"
