"""Sessions over HTTPS with one certificate and no other, kept for those most lately spoken to."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import requests
from requests.adapters import HTTPAdapter

KEPT_SESSIONS = 64


class PinnedSessions:
    """Safe to share between threads."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, requests.Session] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, fingerprint: str) -> requests.Session:
        """`fingerprint`: SHA-256 of the certificate in DER, lower-case hex."""
        with self._lock:
            session = self._sessions.pop(fingerprint, None) or _pinned(fingerprint)
            self._sessions[fingerprint] = session
            if len(self._sessions) > KEPT_SESSIONS:
                self._sessions.popitem(last=False)
            return session


class _PinnedAdapter(HTTPAdapter):
    """urllib3 compares the certificate's SHA-256 right after the handshake, before anything is sent."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        super().__init__(pool_maxsize=16)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, assert_fingerprint=self._fingerprint, cert_reqs="CERT_NONE")


def _pinned(fingerprint: str) -> requests.Session:
    session = requests.Session()
    # REQUESTS_CA_BUNDLE and proxies from the environment would override both the pin and the address.
    session.trust_env = False
    session.verify = False
    session.mount("https://", _PinnedAdapter(fingerprint))
    return session
