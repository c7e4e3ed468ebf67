"""Outbound webhooks over real TLS: what counts as delivered, and which receivers are refused."""

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
    receiver = Receiver(tmp_path)
    yield receiver
    receiver.close()


@pytest.mark.parametrize("secret", SECRETS)
def test_webhook_is_signed_with_every_secret(receiver: Receiver, secret: str) -> None:
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
def test_answer_other_than_2xx_is_not_delivered_nor_redirected(
    receiver: Receiver, answer: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    receiver.answer = answer
    with pytest.raises(NotDelivered):
        receiver.sender().send("msg_1", BODY)
    assert receiver.ids == ["msg_1"]


def test_receiver_that_sends_slowly_is_cut_off_at_the_deadline(receiver: Receiver) -> None:
    receiver.answer = drips
    with pytest.raises(NotDelivered, match=r"did not answer within 0\.5 s"):
        receiver.sender(within=0.5).send("msg_1", BODY)


def test_untrusted_certificate_or_other_name_is_refused(receiver: Receiver) -> None:
    url = f"https://localhost:{receiver.port}/"
    with pytest.raises(NotDelivered, match="CERTIFICATE_VERIFY_FAILED"):
        WebhookSender(url, SECRETS, is_allowed=lambda address: True).send("msg_1", BODY)
    context = ssl.create_default_context(cafile=str(receiver.certificate))
    other = WebhookSender(url.replace("localhost", "127.0.0.2"), SECRETS, context, lambda address: True)
    with pytest.raises(NotDelivered):
        other.send("msg_1", BODY)
    assert receiver.received == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0.0.0.0", "0x7f.1"])
def test_address_of_this_machine_is_refused_in_every_notation(receiver: Receiver, host: str) -> None:
    with pytest.raises(NotDelivered, match=r"is not a public address|cannot be reached"):
        receiver.sender(host, is_public).send("msg_1", BODY)
    assert receiver.received == []


def test_address_is_checked_at_every_connection(receiver: Receiver) -> None:
    """A name that had a public address can resolve to another one later."""
    checked: list[Any] = []

    def allowed(address: str) -> bool:
        checked.append(address)
        return len(checked) == 1

    sender = receiver.sender("127.0.0.1", allowed)
    sender.send("msg_1", BODY)
    with pytest.raises(NotDelivered, match=r"127\.0\.0\.1, which is not a public address"):
        sender.send("msg_2", BODY)
    assert receiver.ids == ["msg_1"]


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    """127.0.0.1 10.1.2.3 172.16.0.1 172.30.0.1 192.168.0.1 169.254.169.254 0.0.0.0 100.64.0.1 224.0.0.1 255.255.255.255
    192.0.2.1 198.18.0.1 ::1 :: fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 ff02::1 2001:db8::1 ::ffff:127.0.0.1
    ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1::1 2002:a9fe:a9fe::
    192.0.0.1 192.0.0.9 192.0.0.10 192.0.0.170 192.31.196.1 192.52.193.1 192.88.99.1 192.175.48.1 198.19.255.255
    198.51.100.1 203.0.113.1 239.1.1.1 240.0.0.1 ::8.8.8.8 ::127.0.0.1 64:ff9b:1::808:808 64:ff9b::c612:1
    100::1 100:0:0:1::1 2001::1 2001:0:7f00:1::1 2001:1::1 2001:2::1 2001:3::1 2001:4:112::1 2001:10::1 2001:20::1
    2001:30::1 2002:808:808::1 2620:4f:8000::1 3fff::1 3fff:fff::1 5f00::1 4000::1 fec0::1 febf::1 ff0e::1
    2a00:1450:4001:81b::5efe:a00:1 2a00:1450:4001:81b:200:5efe:a9fe:a9fe ::ffff:0:8.8.8.8 ::ffff:198.18.0.1""".split(),
)
def test_private_or_local_address_is_not_public(address: str) -> None:
    assert not is_public(address)
