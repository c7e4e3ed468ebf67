"""Webhooks by the Standard Webhooks specification: inbound ones are verified, outbound ones are signed and sent.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

Outbound webhooks go to a URL from the settings: over HTTPS, to a public address, within a deadline. A redirect counts
as a refusal, since following it would let the receiver choose where the function connects to.
"""

from __future__ import annotations

import http.client
import re
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from socket import AI_ADDRCONFIG, SHUT_RDWR, SOCK_STREAM, getaddrinfo, socket
from urllib.parse import urlsplit

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from functions.domain.errors import NotDelivered, Unauthorized

HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
# What is signed is id, time and body, joined by dots. An id with a dot would make that ambiguous.
_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,255}")
# For connecting, for the TLS handshake, and between two packets of the answer.
SOCKET_SECONDS = 5.0
# For the whole delivery.
DELIVERY_SECONDS = 15.0
# Of the IANA special-purpose address registries; what is anycast or reserved serves no webhook, even where the registry
# calls it globally reachable. Listed here, because `is_global` differs between versions of Python.
# https://www.iana.org/assignments/iana-ipv4-special-registry
SPECIAL_IPV4 = [
    IPv4Network(network)
    for network in """0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
    192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15
    198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4""".split()
]
# IANA has allocated global unicast addresses from this network alone, so ::/128, ::1/128, IPv4-compatible addresses,
# 64:ff9b:1::/48, 100::/64, 100:0:0:1::/64, 5f00::/16, fc00::/7, fe80::/10, fec0::/10 and ff00::/8 need no line below.
GLOBAL_IPV6 = IPv6Network("2000::/3")
# https://www.iana.org/assignments/iana-ipv6-special-registry; 2001::/23 includes Teredo, and 2002::/16 is 6to4.
SPECIAL_IPV6 = [IPv6Network(n) for n in "2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20".split()]
# IPv4 addresses as networks without IPv4 write them: RFC 6052.
NAT64 = IPv6Network("64:ff9b::/96")
# The upper half of an ISATAP interface identifier, which an IPv4 address follows: RFC 5214.
ISATAP = (0x0000_5EFE, 0x0200_5EFE)


class WebhookVerifier:
    """Verifies inbound webhooks. Any of `secrets` may have signed, so that a secret can be replaced without a gap.

    The library refuses a timestamp that is more than five minutes off.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [Webhook(secret) for secret in secrets]

    def __call__(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return the message's id. Raises Unauthorized."""
        signed = {name.lower(): value for name, value in headers.items() if name.lower() in HEADERS}
        if not _ID.fullmatch(signed.get("webhook-id", "")):
            raise Unauthorized("The header webhook-id must be 1 to 255 printable ASCII characters without a dot.")
        if not any(_is_signed(secret, signed, body) for secret in self._secrets):
            raise Unauthorized(
                "The webhook's signature is not valid, or its timestamp is more than five minutes off. Check the "
                "secret and the clock."
            )
        return signed["webhook-id"]


class WebhookSigner:
    """Signs outbound webhooks with each of `secrets`, so that the receiver can replace a secret without a gap."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [Webhook(secret) for secret in secrets]

    def __call__(self, message_id: str, body: bytes) -> dict[str, str]:
        """Return the headers to send with the body."""
        now = datetime.now(UTC)
        signatures = " ".join(secret.sign(message_id, now, body.decode()) for secret in self._secrets)
        return dict(zip(HEADERS, (message_id, str(int(now.timestamp())), signatures), strict=True))


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet.

    False for special-purpose and multicast addresses, and for IPv6 addresses that embed an IPv4 address by which a
    tunnel would deliver them: a webhook must not reach the metadata server or the network of the functions.
    """
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        embedded = ip.ipv4_mapped or (IPv4Address(int(ip) & 0xFFFF_FFFF) if ip in NAT64 else None)
        if embedded is None:
            is_isatap = int(ip) >> 32 & 0xFFFF_FFFF in ISATAP
            return ip in GLOBAL_IPV6 and not is_isatap and not any(ip in network for network in SPECIAL_IPV6)
        ip = embedded
    return not any(ip in network for network in SPECIAL_IPV4)


class WebhookSender:
    """Implements lifecycle.outbox.Sender.

    `context` holds the trusted certificate authorities. `is_allowed` decides about an IP address. `deadline` is for one
    whole delivery, in seconds.
    """

    def __init__(
        self,
        url: str,
        secrets: Sequence[str],
        context: ssl.SSLContext | None = None,
        is_allowed: Callable[[str], bool] = is_public,
        deadline: float = DELIVERY_SECONDS,
    ) -> None:
        parts = urlsplit(url)
        assert parts.scheme == "https" and parts.hostname
        self._host, self._port = parts.hostname, parts.port or 443
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._deadline = deadline
        self._sign = WebhookSigner(secrets)
        self._context, self._is_allowed = context or ssl.create_default_context(), is_allowed

    def send(self, message_id: str, body: bytes) -> None:
        connection = _Connection(self._host, self._port, self._context, self._is_allowed)
        # The socket's timeout starts again with each packet, so a receiver that sends a byte every few seconds would
        # hold the worker for ever. The timer bounds the whole.
        timer = threading.Timer(self._deadline, connection.abort)
        timer.start()
        try:
            headers = {"Content-Type": "application/json", "User-Agent": "toolboxes", **self._sign(message_id, body)}
            connection.request("POST", self._target, body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise NotDelivered(f"The webhook's target cannot be reached or does not answer: {error!r}"[:300]) from error
        finally:
            timer.cancel()
            connection.close()
        # An aborted connection may end such that what arrived parses as a whole answer.
        if connection.was_aborted:
            raise NotDelivered(f"The webhook's target did not answer within {self._deadline:g} s.")
        if status // 100 != 2:
            raise NotDelivered(f"The webhook's target answered {status} instead of 2xx.")


class _Connection(http.client.HTTPSConnection):
    """A connection that ignores proxies and checks the address that it connects to.

    The check is made here rather than on the URL, because a name can resolve to another address each time (DNS
    rebinding).
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext, is_allowed: Callable[[str], bool]) -> None:
        super().__init__(host, port, timeout=SOCKET_SECONDS, context=context)
        self._tls, self._is_allowed = context, is_allowed
        self.was_aborted = False

    def connect(self) -> None:
        # AI_ADDRCONFIG: only families that this machine has an address of.
        found = getaddrinfo(self.host, self.port, type=SOCK_STREAM, flags=AI_ADDRCONFIG)
        refused = [str(place[0]) for *_, place in found if not self._is_allowed(str(place[0]))]
        if refused:
            raise NotDelivered(f"The webhook's target resolves to {refused[0]}, which is not a public address.")
        family, kind, protocol, _, place = found[0]
        plain = self.sock = socket(family, kind, protocol)
        plain.settimeout(SOCKET_SECONDS)
        plain.connect(place)
        # Assigned before the handshake, so that `abort` can end a handshake too.
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock.do_handshake()

    def abort(self) -> None:
        """End the connection from another thread.

        Shuts down the TCP socket only: the TLS state belongs to the thread that waits, and is not thread-safe.
        """
        self.was_aborted = True
        if self.sock:
            with suppress(OSError):
                socket.shutdown(self.sock, SHUT_RDWR)


def _is_signed(secret: Webhook, headers: dict[str, str], body: bytes) -> bool:
    try:
        secret.verify(body, headers, json_parse=False)
    # ValueError for what the library does not check: invalid base64, numbers, pairs and UTF-8.
    except (WebhookVerificationError, ValueError):
        return False
    return True
