"""The relay: one HTTP request to a container's own address and port, passed on unchanged in both directions."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from functions.adapters.shim import ShimClient
from shim import identity
from shim.__main__ import server_for
from shim.contract import errors, messages, routes
from shim.contract.messages import Request
from tests.shim.caller import Answer, Caller, TlsCaller
from tests.shim.droplet import Droplet, free_port
from tests.shim.fake_engine import FakeEngine
from tests.shim.functions_client import soon
from tests.shim.server_in_container import ADDRESS, Server
from tests.shim.test_engine_faults import inspection

OK = b"HTTP/1.1 200 OK\r\n"
EVENTS = OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
RESULT: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "result": {"tools": []}}
AT = {
    "NetworkSettings": {
        "Networks": {"none": {"EndpointID": "", "IPAddress": ""}, "bridge": {"EndpointID": "e", "IPAddress": ADDRESS}}
    }
}
Serve = Callable[..., Server]


def chunk(text: str) -> bytes:
    return f"{len(text.encode()):x}\r\n{text}\r\n".encode()


@pytest.fixture
def container(fake_engine: FakeEngine, name: str, toolbox_id: str) -> Iterator[Serve]:
    """Starts a server with these answers at the address of a running container."""
    running: list[Server] = []

    def start(chunks: list[bytes], **how: Any) -> Server:
        server = Server(chunks, **how)
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        fake_engine.on("GET /containers/tool", (200, inspection(name, toolbox_id) | AT))
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def tls(tmp_path: Any, caller: Caller, toolbox_id: str) -> Iterator[TlsCaller]:
    port, pem = free_port(), identity.ensure_certificate(tmp_path, toolbox_id)
    server = server_for(caller.app, pem, ("127.0.0.1", port))
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield TlsCaller(caller.key, caller.audience, port)
    server.stop()
    thread.join()


def relay(
    by: Caller,
    name: str,
    server: Server,
    method: str = "GET",
    path: str = "/mcp?x=1",
    body: bytes = b"",
    **headers: str,
) -> Answer:
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    return by.raw(method, routes.relay_target(name, server.port, path), body, sent)


@pytest.mark.parametrize("status", [200, 201, 204, 400, 404, 405, 418, 500, 503])
def test_status_headers_and_body_pass_unchanged(tls: TlsCaller, container: Serve, name: str, status: int) -> None:
    body = b"" if status == 204 else b"h\xc3\xa9\x00\xff"
    head = f"HTTP/1.1 {status} X\r\nX-Two: 1\r\nX-Two: 2\r\nMcp-Session-Id: s\r\nContent-Length: {len(body)}\r\n"
    server = container([head.encode() + b"Set-Cookie: no\r\nServer: no\r\n\r\n" + body])
    answer = relay(tls, name, server, "POST", "/mcp?x=1", b'{"\xc3\xa9": 1}', accept="a/b", Mcp_Session_Id="s")
    assert (answer.status, answer.body) == (status, body)
    headers = {key.lower(): value for key, value in answer.headers.items()}
    assert headers[routes.RELAYED_HEADER.lower()] == "1" and headers["mcp-session-id"] == "s"
    assert not {"set-cookie", "server"} & headers.keys() and "content-type" not in headers
    sent, _, sent_body = server.received.partition(b"\r\n\r\n")
    lines = sent.decode().split("\r\n")
    assert lines[0] == "POST /mcp?x=1 HTTP/1.1" and sent_body == b'{"\xc3\xa9": 1}'
    assert {"accept: a/b", "mcp-session-id: s", f"host: 127.0.0.1:{tls.port}"} <= set(lines)
    assert "authorization" not in sent.decode().lower()


@pytest.mark.parametrize("method", routes.RELAY_METHODS)
def test_every_method_passes(tls: TlsCaller, container: Serve, name: str, method: str) -> None:
    server = container([OK + b"Content-Length: 2\r\n\r\n" + (b"" if method == "HEAD" else b"ok")])
    answer = relay(tls, name, server, method)
    assert (answer.status, answer.body) == (200, b"" if method == "HEAD" else b"ok")
    assert server.received.startswith(f"{method} /mcp?x=1 HTTP/1.1\r\n".encode())


@pytest.mark.parametrize("path", ["/", "//a//b", "/a%2Fb%20c?d=%00&e", "/../x", "/a/", "/~!$&'()*+,;=:@"])
def test_path_passes_byte_for_byte(tls: TlsCaller, container: Serve, name: str, path: str) -> None:
    server = container([OK + b"Content-Length: 0\r\n\r\n"])
    assert relay(tls, name, server, path=path).status == 200
    assert server.received.split(b" ")[1] == path.encode()


def test_redirect_is_passed_and_not_followed(caller: Caller, container: Serve, name: str) -> None:
    server = container([b"HTTP/1.1 307 Go\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"])
    answer = relay(caller, name, server)
    assert (answer.status, answer.headers["Location"]) == (307, "http://169.254.169.254/")


def test_event_stream_arrives_as_it_is_sent_and_without_an_end(tls: TlsCaller, container: Serve, name: str) -> None:
    server = container([EVENTS + chunk("data: 1\n\n"), chunk(": still here\n\n")], pause=0.2, stays_open=True)
    connection, response = opened(tls, name, server)
    assert response.status == 200 and response.read1(100) == b"data: 1\n\n"
    assert response.read1(100) == b": still here\n\n"
    connection.close()
    response.close()


def opened(by: TlsCaller, name: str, server: Server) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
    connection, target = by.connect(), routes.relay_target(name, server.port, "/mcp")
    connection.request("GET", target, headers={"Authorization": "Bearer " + by.token("GET", target)})
    return connection, connection.getresponse()


def test_client_that_leaves_closes_the_connection_to_the_container(tls: TlsCaller, container: Serve, name: str) -> None:
    server = container([EVENTS + chunk("data: 1\n\n")], stays_open=True)
    connection, response = opened(tls, name, server)
    assert response.read1(100)
    assert not server.closed.is_set()
    connection.close()
    response.close()
    assert server.closed.wait(5)


def test_client_that_leaves_before_the_head_closes_the_connection(tls: TlsCaller, container: Serve, name: str) -> None:
    server = container([], stays_open=True)
    connection, target = tls.connect(), routes.relay_target(name, server.port, "/mcp")
    connection.request("GET", target, headers={"Authorization": "Bearer " + tls.token("GET", target)})
    time.sleep(0.3)
    assert not server.closed.is_set()
    connection.close()
    assert server.closed.wait(5)


def test_body_of_four_mebibytes_passes_and_a_larger_one_is_refused(tls: TlsCaller, container: Serve, name: str) -> None:
    server = container([OK + b"Content-Length: 0\r\n\r\n"])
    large = b"x" * routes.MAX_RELAY_BODY_BYTES
    assert relay(tls, name, server, "POST", body=large).status == 200
    assert len(server.received.partition(b"\r\n\r\n")[2]) == len(large)
    answer = relay(tls, name, server, "POST", body=large + b"x")
    assert (answer.status, answer.code) == (413, "body-too-large")
    assert routes.RELAYED_HEADER not in answer.headers


def test_answer_without_end_is_passed_on_without_a_bound(tls: TlsCaller, container: Serve, name: str) -> None:
    server = container([OK + b"\r\n", *[b"x" * 500_000] * 10])
    assert len(relay(tls, name, server).body) == 5_000_000


def test_answer_that_the_container_cuts_off_is_incomplete_for_the_client(
    tls: TlsCaller, container: Serve, name: str
) -> None:
    server = container([EVENTS + b"9\r\nab"])
    with pytest.raises(http.client.HTTPException):
        relay(tls, name, server)


@pytest.mark.parametrize("chunks", [[], [b"HTTP/1.1 20"], [b"SSH-2.0\r\n"], [OK, *[b"X: 1\r\n"] * 300]], ids=str)
def test_no_http_answer_is_the_shims_own_error(tls: TlsCaller, container: Serve, name: str, chunks: Any) -> None:
    answer = relay(tls, name, container(chunks))
    assert (answer.status, answer.code) == (503, "not-answering")
    assert routes.RELAYED_HEADER not in answer.headers


def test_container_that_is_stopped_or_silent_is_the_shims_own_error(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str
) -> None:
    target = routes.relay_target(name, 1, "/")
    fake_engine.on("GET /containers/", (200, inspection(name, toolbox_id, "exited") | AT))
    assert caller.raw("GET", target).code == "not-running"
    fake_engine.on("GET /containers/", (200, inspection(name, toolbox_id) | AT))
    answer = caller.raw("GET", target)
    assert answer.code == "not-answering" and "refused" in answer.json["error"]["message"]
    fake_engine.on("GET /containers/", (200, inspection(name, "another") | AT))
    assert caller.raw("GET", target).code == "no-such-container"


@pytest.mark.parametrize("target", ["0/", "65536/", "99999/", "x/", "80", "-1/", "80x"])
def test_relay_target_without_port_or_path_reaches_no_container(
    caller: Caller, fake_engine: FakeEngine, name: str, target: str
) -> None:
    answer = caller.raw("GET", f"/tools/{name}/relay/{target}")
    assert answer.code in ("bad-request", "unknown-route") and fake_engine.calls == []


@pytest.mark.parametrize("header", [("X-A", "é".encode().decode("latin-1")), ("X-A", "y" * 8_193)])
def test_header_that_must_not_pass_is_refused(
    caller: Caller, container: Serve, name: str, header: tuple[str, str]
) -> None:
    server = container([OK + b"\r\n"])
    target = routes.relay_target(name, server.port, "/")
    answer = caller.raw("GET", target, headers={header[0]: header[1]})
    assert (answer.status, answer.code) == (400, "bad-request") and not server.received


@pytest.mark.parametrize(
    "header", ["Connection", "Transfer-Encoding", "Upgrade", "Expect", "Proxy-Authorization", "Cookie", "Te", "X"]
)
def test_header_outside_the_allow_list_does_not_pass(caller: Caller, container: Serve, name: str, header: str) -> None:
    server = container([OK + b"Content-Length: 0\r\n\r\n"])
    target = routes.relay_target(name, server.port, "/")
    assert caller.raw("GET", target, headers={header: "zzz"}).status == 200
    assert b"zzz" not in server.received


def test_token_is_bound_to_method_port_and_path(caller: Caller, fake_engine: FakeEngine, name: str) -> None:
    signed = caller.token("GET", routes.relay_target(name, 80, "/a"))
    for method, port, path in (("POST", 80, "/a"), ("GET", 81, "/a"), ("GET", 80, "/b"), ("GET", 80, "/a?x")):
        target = routes.relay_target(name, port, path)
        assert caller.send(method, target, {"Authorization": f"Bearer {signed}"}, b"").code == "unauthenticated"
    assert fake_engine.calls == []


# The functions' client, whose answers the MCP probe reads.


def requested(client: ShimClient, name: str, server: Server, **changed: Any) -> messages.Response:
    arguments: dict[str, Any] = {"port": server.port, "method": "GET", "path": "/mcp"}
    request = Request(**(arguments | changed))
    answer = client.command(routes.RELAY, name=name, body=request, start_by=soon())
    assert isinstance(answer, messages.Response)
    return answer


def test_client_gets_status_headers_and_text(client: ShimClient, container: Serve, name: str) -> None:
    server = container([b"HTTP/1.1 404 No\r\nX-Two: 1\r\nX-Two: 2\r\nContent-Length: 5\r\n\r\nh\xc3\xa9\x00!"])
    answer = requested(client, name, server, method="POST", body='{"é": 1}', headers={"Accept": "text/event-stream"})
    assert (answer.status, answer.headers["x-two"], answer.body, answer.truncated) == (404, "1, 2", "hé\ufffd!", False)
    assert b"accept: text/event-stream\r\n" in server.received and server.received.endswith('{"é": 1}'.encode())


def test_client_stops_at_the_first_response_of_an_event_stream(client: ShimClient, container: Serve, name: str) -> None:
    note = 'event: message\r\ndata: {"jsonrpc": "2.0", "method": "notifications/message"}\r\n\r\n: still here\n\n'
    first = f"id: 7\ndata: {json.dumps(RESULT)[:20]}"
    second = f"{json.dumps(RESULT)[20:]}\n\n"
    server = container([EVENTS + chunk(note), chunk(first), chunk(second + "data: more\n\n")], stays_open=True)
    began = time.monotonic()
    answer = requested(client, name, server)
    assert (answer.body, answer.truncated) == (note + first + second, False)
    assert time.monotonic() - began < 2
    # The client closes its connection, which ends the container's stream.
    assert server.closed.wait(5)


@pytest.mark.parametrize("head", [EVENTS + chunk("data: hello\n\n"), OK + b"Content-Length: 99\r\n\r\ndata: hello\n\n"])
def test_client_cuts_an_endless_body_at_its_deadline(
    client: ShimClient, container: Serve, name: str, head: bytes
) -> None:
    began = time.monotonic()
    answer = requested(client, name, container([head], stays_open=True), timeout=1)
    assert (answer.body, answer.truncated) == ("data: hello\n\n", True)
    assert 0.9 < time.monotonic() - began < 2


def test_client_cuts_a_large_body_at_a_megabyte(client: ShimClient, container: Serve, name: str) -> None:
    answer = requested(client, name, container([OK + b"\r\n", *[b"x" * 500_000] * 4]))
    assert (len(answer.body), answer.truncated) == (1_000_000, True)


def test_client_reports_a_container_that_drips_its_head_as_unknown(
    client: ShimClient, container: Serve, name: str
) -> None:
    began = time.monotonic()
    with pytest.raises(errors.NotAnswering):
        requested(client, name, container([b"H"] * 50, pause=0.1), timeout=1)
    assert time.monotonic() - began < 2


def test_client_raises_the_shims_own_errors(client: ShimClient, container: Serve, name: str) -> None:
    with pytest.raises(errors.NotAnswering):
        requested(client, name, container([b"SSH-2.0\r\n"]))
    with pytest.raises(errors.NoSuchContainer):
        requested(client, "x", container([]))


@pytest.mark.docker
def test_server_in_a_container_answers(droplet: Droplet, busybox: str) -> None:
    made = droplet.make(busybox, "sh", "-c", "echo hello > /tmp/index.html; httpd -f -p 8080 -h /tmp")
    target = routes.relay_target(made.name, 8080, "/index.html")
    for _ in range(50):
        answer = droplet.caller.raw("GET", target)
        if answer.status == 200:
            break
        assert answer.code == "not-answering"
        time.sleep(0.1)
    assert answer.body == b"hello\n"
    missing = droplet.caller.raw("GET", routes.relay_target(made.name, 8080, "/missing"))
    assert (missing.status, missing.headers[routes.RELAYED_HEADER]) == (404, "1")
    droplet.caller.perform(routes.STOP, made.name, messages.Stop(0))
    assert droplet.caller.raw("GET", target).code == "not-running"
