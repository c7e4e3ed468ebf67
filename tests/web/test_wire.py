"""Requests as no client library would send them, byte by byte to a function's real server."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from functions.adapters.store_sqlite import SqliteStore
from functions.lifecycle.dependencies import Create
from functions.lifecycle.repository import toolbox_ref
from tests.fakes.issuer import Issuer
from tests.fakes.stored import encode
from tests.fakes.world import ACCOUNT, TOOLBOX, World
from tests.test_main import ROOT, environment

HOST = "Host: functions.example"
START_SECONDS = 30


@pytest.fixture(scope="module")
def port(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """`toolboxes-user` under functions-framework, as it is deployed; the account has a toolbox."""
    folder = tmp_path_factory.mktemp("wire")
    settings = environment("toolboxes_user", folder) | {
        "CALLER_ISSUER": issuer.url, "CALLER_AUDIENCE": "toolboxes", "CALLER_JWKS_URL": f"{issuer.url}/jwks.json",
    }  # fmt: skip
    world = World()
    SqliteStore(settings["STORE"].removeprefix("sqlite:")).commit(
        [Create(toolbox_ref(TOOLBOX), encode(world.add_toolbox()))]
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    framework = Path(sys.executable).with_name("functions-framework")
    words = [str(framework), "--source", "functions/main.py", "--target", "toolboxes_user", "--host", "127.0.0.1"]
    server = subprocess.Popen([*words, "--port", str(number)], cwd=ROOT, env=settings, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", number), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < until and server.poll() is None, "the function does not listen"
                time.sleep(0.1)
        yield number
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def authorized(issuer: Issuer) -> str:
    return f"Authorization: Bearer {issuer.token(ACCOUNT)}"


def send(port: int, *lines: str, body: bytes = b"") -> list[tuple[int, bytes]]:
    """What is answered to these lines, until the server has no more to say: status and the rest, for each answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        connection.shutdown(socket.SHUT_WR)
        content = b""
        while chunk := connection.recv(65536):
            content += chunk
    parts = re.split(rb"(?=HTTP/1\.1 \d{3} )", content)
    return [(int(part[9:12]), part) for part in parts if part]


def statuses(answers: list[tuple[int, bytes]]) -> list[int]:
    return [status for status, _ in answers]


def test_a_good_request_is_answered(port: int, authorized: str) -> None:
    [(status, content)] = send(port, f"GET /toolboxes-user/{TOOLBOX} HTTP/1.1", HOST, authorized, "Connection: close")
    assert status == 200
    assert json.loads(content.partition(b"\r\n\r\n")[2])["id"] == TOOLBOX


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 2", "Content-Length: 40"],
        ["Content-Length: 2", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked, identity"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding : chunked"],
        ["Content-Length: +2"],
        ["Content-Length: 2_0"],
        ["Content-Length: -1"],
        ["X: a\0b"],
        ["X\tY: a"],
        ["no colon"],
        [" folded: a"],
    ],
    ids=str,
)
def test_a_request_that_can_be_read_in_two_ways_is_not_read_in_a_second_one(
    port: int, authorized: str, lines: list[str]
) -> None:
    """What hides in the body never becomes a request of its own: at most one answer, and no toolbox in it."""
    hidden = f"GET /toolboxes-user/{TOOLBOX} HTTP/1.1\r\n{HOST}\r\n{authorized}\r\n\r\n".encode()
    answers = send(port, "POST /toolboxes-user/none HTTP/1.1", HOST, *lines, body=b"{}" + hidden)
    assert 200 not in statuses(answers)
    assert all(TOOLBOX.encode() not in content for _, content in answers)


@pytest.mark.parametrize("length", ["-5", "-0", "+2", "2_0", "0x2", "1e1", "9" * 5_000])
def test_content_length_that_is_no_number_returns_400(port: int, authorized: str, length: str) -> None:
    lines = [HOST, authorized, f"Content-Length: {length}", "Connection: close"]
    assert statuses(send(port, "POST /toolboxes-user HTTP/1.1", *lines, body=b"{}")) == [400]


def test_what_follows_a_whole_request_is_the_next_one(port: int, authorized: str) -> None:
    """So that the test above would see what it looks for."""
    hidden = f"GET /toolboxes-user/{TOOLBOX} HTTP/1.1\r\n{HOST}\r\n{authorized}\r\n\r\n".encode()
    answers = send(port, "POST /toolboxes-user/none HTTP/1.1", HOST, "Content-Length: 2", body=b"{}" + hidden)
    assert statuses(answers) == [405, 200]


def test_a_second_token_or_one_in_another_spelling_is_no_token(port: int, authorized: str) -> None:
    token = authorized.partition(": ")[2]
    names = ("Authorization_", "HTTP_AUTHORIZATION", "X-Forwarded-Authorization", "Proxy-Authorization")
    for lines in (
        ["Authorization: Bearer x", authorized],
        [authorized, "Authorization: Bearer x"],
        [authorized.replace("Bearer", "Basic")],
        [authorized.replace("Bearer ", "Bearer\t")],
        *([f"{name}: {token}"] for name in names),
    ):
        assert statuses(send(port, "GET /toolboxes-user HTTP/1.1", HOST, *lines, "Connection: close")) == [401], lines


def test_headers_that_would_change_the_request_are_not_listened_to(port: int, authorized: str) -> None:
    headers = [
        "X-HTTP-Method-Override: DELETE", "X-Original-URL: /toolboxes-user/openapi.json", "X-Rewrite-URL: /",
        "X-Forwarded-Prefix: /x", "X-Forwarded-Host: evil.example", "X-Script-Name: /x", "Forwarded: host=evil",
    ]  # fmt: skip
    request = f"GET /toolboxes-user/{TOOLBOX} HTTP/1.1"
    [(status, content)] = send(port, request, HOST, authorized, *headers, "Connection: close")
    assert status == 200
    assert b"evil" not in content


@pytest.mark.parametrize(
    "target",
    ["//toolboxes-user", "/./toolboxes-user", "/x/../toolboxes-user", "/toolboxes-user/..", "/toolboxes-user%2F..",
     "/%74oolboxes-user/x", "/functions/v1/toolbox-tools/x", "/toolboxes-user/toolboxes-user/x",
     "http://evil.example/toolboxes-user/x", "/toolboxes-user/openapi.json%00", "/toolboxes-user/\\..\\openapi.json"],
)  # fmt: skip
def test_no_path_is_redirected_or_reaches_what_it_does_not_say(port: int, authorized: str, target: str) -> None:
    [(status, content)] = send(port, f"GET {target} HTTP/1.1", HOST, authorized, "Connection: close")
    assert status == 404
    assert b"\r\nLocation:" not in content and b"evil" not in content


@pytest.mark.parametrize("size", [9_000, 200_000])
def test_a_request_line_or_a_header_without_end_is_refused(port: int, authorized: str, size: int) -> None:
    long = "x" * size
    assert statuses(send(port, f"GET /toolboxes-user/{long} HTTP/1.1", HOST, authorized)) == [414]
    assert statuses(send(port, f"GET /toolboxes-user?cursor={long} HTTP/1.1", HOST, authorized)) == [414]
    assert statuses(send(port, "GET /toolboxes-user HTTP/1.1", HOST, authorized, f"X: {long}")) in ([400], [431])
    many = [f"X-{number}: x" for number in range(size // 30)]
    assert statuses(send(port, "GET /toolboxes-user HTTP/1.1", HOST, authorized, *many)) in ([400], [431])
