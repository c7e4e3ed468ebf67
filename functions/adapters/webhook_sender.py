"""Webhooks to the configured target: over HTTPS, to a public address, in bounded time; a redirect is a refusal."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv6Address, IPv6Network, ip_address
from socket import AI_ADDRCONFIG, SHUT_RDWR, SOCK_STREAM, getaddrinfo, socket
from urllib.parse import urlsplit

from functions.adapters.webhook_signatures import WebhookSigner
from functions.domain.errors import NotDelivered

STEP_SECONDS = 5.0
WHOLE_SECONDS = 15.0
# An IPv4 address as networks without it know it: RFC 6052.
NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether it is nobody's own network: not private, loopback, link-local, or any of these within an IPv6 address."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip_address(int(ip) & 0xFFFFFFFF) if ip in NAT64 else None)
        if inner:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


class WebhookSender:
    """`allowed`: to which addresses it may go. `context`: whose certificates are believed. `within` seconds."""

    def __init__(
        self,
        url: str,
        secrets: Sequence[str],
        context: ssl.SSLContext | None = None,
        allowed: Callable[[str], bool] = is_public,
        within: float = WHOLE_SECONDS,
    ) -> None:
        parts = urlsplit(url)
        assert parts.scheme == "https" and parts.hostname
        self._host, self._port = parts.hostname, parts.port or 443
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._within = within
        self._sign = WebhookSigner(secrets)
        self._context, self._allowed = context or ssl.create_default_context(), allowed

    def send(self, message_id: str, body: bytes) -> None:
        connection = _Connection(self._host, self._port, self._context, self._allowed)
        # Whatever a receiver does with its time: a byte every now and then would do for each step's own limit.
        watch = threading.Timer(self._within, connection.cut)
        watch.start()
        try:
            headers = {"Content-Type": "application/json", "User-Agent": "toolboxes", **self._sign(message_id, body)}
            connection.request("POST", self._target, body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise NotDelivered(f"the target cannot be reached or does not answer: {error!r}"[:300]) from error
        finally:
            watch.cancel()
            connection.close()
        # What was heard before it was cut may read like a whole answer.
        if connection.was_cut:
            raise NotDelivered(f"the target did not answer within {self._within:g} s")
        if status // 100 != 2:
            raise NotDelivered(f"the target answered {status}")


class _Connection(http.client.HTTPSConnection):
    """Knows no proxy. The address is looked at where it is connected to: a name may have another one each time."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, allowed: Callable[[str], bool]) -> None:
        super().__init__(host, port, timeout=STEP_SECONDS, context=context)
        self._trust, self._allowed = context, allowed
        self.was_cut = False

    def connect(self) -> None:
        # Only addresses of a kind that this machine has one of.
        found = getaddrinfo(self.host, self.port, type=SOCK_STREAM, flags=AI_ADDRCONFIG)
        refused = [str(place[0]) for *_, place in found if not self._allowed(str(place[0]))]
        if refused:
            raise NotDelivered(f"the target's address {refused[0]} is not a public one")
        family, kind, protocol, _, place = found[0]
        plain = self.sock = socket(family, kind, protocol)
        plain.settimeout(STEP_SECONDS)
        plain.connect(place)
        # Kept before its handshake, so that it can be cut in the middle of that too.
        self.sock = self._trust.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock.do_handshake()

    def cut(self) -> None:
        """From another thread: the one that waits is told that all is over. TLS is left alone, being in its hands."""
        self.was_cut = True
        if self.sock:
            with suppress(OSError):
                socket.shutdown(self.sock, SHUT_RDWR)
