"""Webhooks on their way out, over real TLS: what is taken as delivered, and where they never go."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from functions.adapters.webhooks import WebhookSender, is_public
from functions.domain.errors import NotDelivered
from tests.fakes.receiver import SECRETS, Receiver, dies, drips, status

BODY = '{"type": "instance.crashed", "é": 1}'.encode()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("secret", SECRETS)
def test_what_is_sent_is_signed_by_every_secret(receiver: Receiver, secret: str) -> None:
    receiver.sender().send("msg_1", BODY)
    [(headers, body)] = receiver.received
    assert Webhook(secret).verify(body, headers)["type"] == "instance.crashed"
    assert (headers["webhook-id"], headers["content-type"], body) == ("msg_1", "application/json", BODY)


@pytest.mark.parametrize(
    "answer",
    [
        partial(status, code=500),
        partial(status, code=400),
        partial(status, code=302, Location="https://localhost/"),
        partial(status, code=307, Location="http://169.254.169.254/"),
        partial(status, code=304),
        dies,
        lambda request: request.connection.close(),
    ],
    ids=["500", "400", "302", "307", "304", "dies", "says nothing"],
)
def test_anything_but_success_is_not_delivered_and_no_redirect_is_followed(
    receiver: Receiver, answer: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    receiver.answer = answer
    with pytest.raises(NotDelivered):
        receiver.sender().send("msg_1", BODY)
    assert receiver.ids == ["msg_1"]


def test_a_receiver_that_drips_is_cut_off(receiver: Receiver) -> None:
    receiver.answer = drips
    with pytest.raises(NotDelivered, match=r"did not answer within 0\.5 s"):
        receiver.sender(within=0.5).send("msg_1", BODY)


def test_a_certificate_of_nobody_known_or_for_another_name_is_not_spoken_to(receiver: Receiver) -> None:
    url = f"https://localhost:{receiver.port}/"
    with pytest.raises(NotDelivered, match="CERTIFICATE_VERIFY_FAILED"):
        WebhookSender(url, SECRETS, is_allowed=lambda address: True).send("msg_1", BODY)
    context = ssl.create_default_context(cafile=str(receiver.certificate))
    other = WebhookSender(url.replace("localhost", "127.0.0.2"), SECRETS, context, lambda address: True)
    with pytest.raises(NotDelivered):
        other.send("msg_1", BODY)
    assert receiver.received == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0.0.0.0", "0x7f.1"])
def test_this_machine_is_not_spoken_to_by_whatever_name(receiver: Receiver, host: str) -> None:
    with pytest.raises(NotDelivered, match=r"is not a public address|cannot be reached"):
        receiver.sender(host, is_public).send("msg_1", BODY)
    assert receiver.received == []


def test_the_address_is_looked_at_at_each_connection(receiver: Receiver) -> None:
    """The name has had a public address, and has another one now."""
    seen: list[Any] = []

    def allowed(address: str) -> bool:
        seen.append(address)
        return len(seen) == 1

    sender = receiver.sender("127.0.0.1", allowed)
    sender.send("msg_1", BODY)
    with pytest.raises(NotDelivered, match=r"127\.0\.0\.1, which is not a public address"):
        sender.send("msg_2", BODY)
    assert receiver.ids == ["msg_1"]


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    """127.0.0.1 10.1.2.3 172.16.0.1 172.30.0.1 192.168.0.1 169.254.169.254 0.0.0.0 100.64.0.1 224.0.0.1 255.255.255.255
    192.0.2.1 198.18.0.1 ::1 :: fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 ff02::1 2001:db8::1 ::ffff:127.0.0.1
    ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1::1 2002:a9fe:a9fe::""".split(),
)
def test_addresses_that_are_somebodys_own(address: str) -> None:
    assert not is_public(address)
