"""The shims, over HTTPS: the pinned certificate and no other, one signed command a request, answers read strictly.

What a droplet says is its owner's word: it is parsed as the contract's message, bounded in size, and believed only
about that droplet.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from requests.adapters import HTTPAdapter

from functions.domain.errors import Misconfigured, ShimIncompatible, ToolboxRefused, ToolboxUnreachable
from functions.domain.toolbox import Toolbox
from functions.lifecycle.ports import NOTHING
from shim import protocol, signing
from shim.protocol import Route, messages

CONNECT_SECONDS = 5.0
# A stop takes its own time-out, 10 s, in the engine; the slowest start that is still one takes less than the rest.
ANSWER_SECONDS = 35.0
LIST_SECONDS = 10.0
# The shim gives up on a silent registry after 60 s and says so.
PULL_SILENCE_SECONDS = 90.0
MAX_ANSWER_BYTES = 8 << 20
KEPT_SESSIONS = 64
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class ShimClients:
    """Makes a client for a toolbox, and keeps the connections of those most lately spoken to."""

    def __init__(self, command_key: str) -> None:
        key = load_pem_private_key(command_key.encode(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise Misconfigured("COMMAND_KEY must be an Ed25519 private key in PEM (PKCS #8)")
        self._key = key
        self._sessions: OrderedDict[str, requests.Session] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, toolbox: Toolbox) -> ShimClient:
        if not toolbox.address or not toolbox.fingerprint:
            raise ToolboxUnreachable(f"toolbox {toolbox.name!r} has not enrolled yet")
        session = self._session(toolbox.fingerprint)
        return ShimClient(self._key, toolbox.id, toolbox.address, toolbox.fingerprint, session)

    def _session(self, fingerprint: str) -> requests.Session:
        with self._lock:
            session = self._sessions.pop(fingerprint, None) or _pinned(fingerprint)
            self._sessions[fingerprint] = session
            if len(self._sessions) > KEPT_SESSIONS:
                self._sessions.popitem(last=False)
            return session


class NoShims:
    """For a function that is not given the key to sign commands with, and speaks to no droplet."""

    def of(self, toolbox: Toolbox) -> ShimClient:
        raise Misconfigured(f"this function cannot sign a command for toolbox {toolbox.id}")


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


class ShimClient:
    """One toolbox's shim; implements lifecycle.ports.Shim."""

    def __init__(
        self, key: Ed25519PrivateKey, toolbox_id: str, address: str, fingerprint: str, session: requests.Session
    ) -> None:
        self._key = key
        self._base = f"https://{address}:{protocol.PORT}"
        self._audience = signing.audience(toolbox_id, fingerprint)
        self._session = session

    def command(
        self,
        route: Route,
        *,
        start_by: datetime,
        name: str = "",
        body: object = NOTHING,
        query: str = "",
        within: float | None = None,
    ) -> Any:
        """One command; its answer as the route's message."""
        _, content, _ = self._answered(route, route.target(name, query), messages.dump(body), start_by, within)
        return _read(route.answer, content)

    def status(self, *, start_by: datetime, unless: str) -> tuple[messages.Status | None, str]:
        route, known = protocol.STATUS, {"If-None-Match": unless} if unless else {}
        code, content, etag = self._answered(route, route.target(), b"", start_by, LIST_SECONDS, known)
        return (None if code == HTTPStatus.NOT_MODIFIED else _read(route.answer, content)), etag

    def pull(
        self, body: messages.Pull, *, start_by: datetime, on_progress: Callable[[messages.Progress], None]
    ) -> messages.Image:
        route = protocol.PULL
        answer = self._send(route, route.target(), messages.dump(body), start_by, PULL_SILENCE_SECONDS)
        with answer:
            if answer.status_code != 200:
                raise _error(answer.status_code, _content(answer))
            try:
                for text in answer.iter_lines():
                    line: messages.PullLine = _read(messages.PullLine, text)
                    if line.image:
                        return line.image
                    if line.error:
                        raise _error(200, json.dumps({"error": line.error}).encode())
                    if line.progress:
                        on_progress(line.progress)
            except requests.RequestException as error:
                raise protocol.OutcomeUnknown(f"the pull's progress broke off: {_cause(error)}") from error
        raise protocol.OutcomeUnknown("the pull's progress ended without a result")

    def _answered(
        self,
        route: Route,
        target: str,
        payload: bytes,
        start_by: datetime,
        within: float | None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> tuple[int, bytes, str]:
        """Status, body and ETag; signed anew once where the token is stale, e.g. after the shim was restarted."""
        for attempt in (1, 2):
            with self._send(route, target, payload, start_by, within or ANSWER_SECONDS, headers) as answer:
                content = _content(answer)
                if answer.status_code in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED):
                    return answer.status_code, content, answer.headers.get("ETag", "")
                error = _error(answer.status_code, content)
                if attempt == 2 or not isinstance(error, protocol.TokenStale):
                    raise error
        raise AssertionError("unreachable")

    def _send(
        self,
        route: Route,
        target: str,
        payload: bytes,
        start_by: datetime,
        silence: float,
        more_headers: Mapping[str, str] = NO_HEADERS,
    ) -> requests.Response:
        now = datetime.now(UTC)
        token = signing.sign(
            self._key,
            audience=self._audience,
            method=route.method,
            target=target,
            body=payload,
            now=now.timestamp(),
            expires=start_by.timestamp(),
            jti=str(uuid.uuid4()),
        )
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **more_headers}
        request = requests.Request(route.method, self._base + target, headers=headers, data=payload or None)
        try:
            answer = self._session.send(
                request.prepare(), stream=True, timeout=(CONNECT_SECONDS, silence), allow_redirects=False, verify=False
            )
        except (requests.ConnectTimeout, requests.exceptions.SSLError) as error:
            raise ToolboxUnreachable(f"the toolbox cannot be reached: {_cause(error)}") from error
        except requests.ConnectionError as error:
            if _never_sent(error):
                raise ToolboxUnreachable(f"the toolbox cannot be reached: {_cause(error)}") from error
            raise protocol.OutcomeUnknown(f"the toolbox broke off: {_cause(error)}") from error
        except requests.RequestException as error:
            raise protocol.OutcomeUnknown(f"the toolbox did not answer: {_cause(error)}") from error
        _require_our_contract(answer)
        return answer


def _require_our_contract(answer: requests.Response) -> None:
    theirs = answer.headers.get(protocol.CONTRACT_HEADER, "none")
    if theirs != str(protocol.CONTRACT):
        answer.close()
        raise ShimIncompatible(
            f"the toolbox's shim speaks contract {theirs[:20]} and this service {protocol.CONTRACT}; upgrade the shim"
        )


def _content(answer: requests.Response) -> bytes:
    try:
        content = b"".join(_bounded(answer))
    except requests.RequestException as error:
        raise protocol.OutcomeUnknown(f"the toolbox's answer broke off: {_cause(error)}") from error
    return content


def _bounded(answer: requests.Response) -> Any:
    taken = 0
    for chunk in answer.iter_content(65536):
        taken += len(chunk)
        if taken > MAX_ANSWER_BYTES:
            raise ToolboxRefused(f"the toolbox's answer is larger than {MAX_ANSWER_BYTES} bytes")
        yield chunk


def _read(kind: type[Any], content: bytes) -> Any:
    try:
        return messages.read(kind, content)
    except messages.Malformed as error:
        raise ToolboxRefused(f"the toolbox's answer is not of the contract: {error}") from None


def _error(status: int, content: bytes) -> Exception:
    """The shim's error as its own class; what it should not say is a refusal that quotes it."""
    try:
        said = json.loads(content)["error"]
        code, message = str(said["code"]), str(said["message"])[:2000]
    except (ValueError, KeyError, TypeError):
        return ToolboxRefused(f"the toolbox answered HTTP {status} without the contract's error")
    if code == protocol.Incompatible.code:
        return ShimIncompatible(message)
    kind = protocol.ERRORS.get(code)
    return kind(message) if kind else ToolboxRefused(f"the toolbox answered {code[:60]}: {message}")


def _never_sent(error: requests.ConnectionError) -> bool:
    """Whether the connection was not even made; a kept one that breaks may have carried the command."""
    return "NewConnectionError" in repr(error) or "NameResolutionError" in repr(error)


def _cause(error: Exception) -> str:
    return str(error)[:300]
