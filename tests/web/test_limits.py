"""What is too much: requests, bodies, pages."""

from dataclasses import replace
from io import BytesIO

import pytest
from flask import Flask

from functions.adapters.tokens import TokenVerifier
from functions.domain.account.model import Limits
from functions.lifecycle.account.admission import AccountRates
from functions.web import instances
from functions.web.requests import Callers, client_address, trace_id
from tests.fakes.issuer import Issuer
from tests.fakes.world import ACCOUNT, TOOLBOX, World
from tests.web.conftest import ADMIN_CLAIM, Caller

TOOLS = f"/{TOOLBOX}/tools"
LIMITS = Limits(requests_at_once=4, requests_a_minute=30, body_bytes=2_000, page=2)


@pytest.fixture
def call(world: World, issuer: Issuer) -> Caller:
    deps = replace(world.deps, limits=LIMITS)
    callers = Callers(TokenVerifier(issuer.settings), ADMIN_CLAIM, AccountRates(deps))
    return Caller({"toolbox-tools": instances.build(deps, callers, b"secret")}, issuer.token(ACCOUNT))


def test_a_burst_is_a_429_that_says_when_to_ask_again(world: World, call: Caller) -> None:
    answers = [call("GET", "toolbox-tools", TOOLS) for _ in range(10)]
    assert {answer.status_code for answer in answers} == {200, 429}
    refused = answers[-1]
    assert refused.json["type"] == "urn:toolboxes:problem:too-many-requests"
    world.pass_time(int(refused.headers["Retry-After"]))
    assert call("GET", "toolbox-tools", TOOLS).status_code == 200


def test_a_body_over_the_limit_is_a_413_whether_it_says_its_length_or_not(call: Caller) -> None:
    body = b'{"instanceNameOnToolbox": "' + b"x" * 3_000
    assert call("POST", "toolbox-tools", TOOLS, data=body).status_code == 413
    # As gunicorn hands on a chunked body.
    chunked = {"input_stream": BytesIO(body), "environ_overrides": {"wsgi.input_terminated": True}}
    chunked["headers"] = {"Transfer-Encoding": "chunked"}
    assert call("POST", "toolbox-tools", TOOLS, **chunked).status_code == 413


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("10.0.0.1, 198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9%eth0", "2001:db8:1:2::/64"),
        ("", "127.0.0.1"),
        ("unknown", "unknown"),
    ],
)
def test_a_client_is_known_by_what_the_last_proxy_saw(forwarded: str, address: str) -> None:
    headers, environ = {"X-Forwarded-For": forwarded}, {"REMOTE_ADDR": "127.0.0.1"}
    with Flask("x").test_request_context(headers=headers, environ_overrides=environ):
        assert client_address() == address


@pytest.mark.parametrize("limit", ["0", "3", "-1", "1e1", "٢", " 1", "1" * 40])
def test_a_page_is_no_longer_than_it_may_be(call: Caller, limit: str) -> None:
    answer = call("GET", "toolbox-tools", TOOLS, query_string={"limit": limit})
    assert (answer.status_code, answer.json["detail"].partition(" ")[0].strip(":")) == (400, "limit")
    assert call("GET", "toolbox-tools", TOOLS, query_string={"limit": "2"}).status_code == 200


@pytest.mark.parametrize("length", ["-5", "+2", "2_0", "two", "0x2"])
def test_content_length_that_is_no_number_returns_400(call: Caller, length: str) -> None:
    environ = {"CONTENT_LENGTH": length}
    answer = call("POST", "toolbox-tools", TOOLS, data=b"{}", environ_overrides=environ)
    assert (answer.status_code, answer.json["type"]) == (400, "urn:toolboxes:problem:bad-request")


@pytest.mark.parametrize("trace", ["a" * 32, "a" * 32 + "/1;o=1", "chosen", "a" * 32 + "/chosen"])
def test_a_caller_does_not_choose_the_request_id(call: Caller, trace: str) -> None:
    headers = {"X-Cloud-Trace-Context": trace, "X-Request-Id": "a" * 32}
    ids = {call("GET", "toolbox-tools", TOOLS, headers=headers).headers["X-Request-Id"] for _ in range(2)}
    assert len(ids) == 2 and "a" * 32 not in ids


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        ("0123456789abcdef" * 2 + "/12345;o=1", "0123456789abcdef" * 2),
        ("0123456789abcdef" * 2 + "/12345", "0123456789abcdef" * 2),
        ("0123456789abcdef" * 2, ""),
        ("0123456789abcdef" * 2 + "/chosen", ""),
        ("0123456789abcdef/1;o=1", ""),
    ],
)
def test_log_lines_name_the_trace_of_a_header_in_the_platforms_format(header: str, trace: str) -> None:
    with Flask("x").test_request_context(headers={"X-Cloud-Trace-Context": header}):
        assert trace_id() == trace
    assert trace_id() == ""
