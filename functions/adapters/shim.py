"""The shims, over HTTPS: the pinned certificate and no other, one signed command a request."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from functions.adapters.pinned import PinnedSessions
from functions.adapters.shim_answers import AnswerLines, cause, content, error_of, read, require_our_contract
from functions.adapters.toolbox_shim import EMPTY
from functions.domain.errors import Misconfigured, ToolboxUnreachable
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Lines
from shim.contract import errors as shim_errors
from shim.contract import messages, routes, tokens
from shim.contract.routes import Route

CONNECT_SECONDS = 5.0
# A stop takes its own time-out, 10 s, in the engine; the slowest start that is still one takes less than the rest.
ANSWER_SECONDS = 35.0
LIST_SECONDS = 10.0
# The shim gives up on a silent registry after 60 s and says so.
PULL_SILENCE_SECONDS = 90.0
# The shim gives a sign of life every 10 s.
FOLLOW_SILENCE_SECONDS = 35.0
# Done, begun, or as it was known already.
GOOD = (HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.NOT_MODIFIED)
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class ShimClients:
    """Makes a client for a toolbox, and keeps the connections of those most lately spoken to."""

    def __init__(self, command_key: str) -> None:
        key = load_pem_private_key(command_key.encode(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise Misconfigured("COMMAND_KEY must be an Ed25519 private key in PEM (PKCS #8)")
        self._key, self._sessions = key, PinnedSessions()

    def for_toolbox(self, toolbox: Toolbox) -> ShimClient:
        return ShimClient(self._key, toolbox, self._sessions)


class NoShims:
    """For a function that is not given the key to sign commands with, and speaks to no droplet."""

    def for_toolbox(self, toolbox: Toolbox) -> ShimClient:
        raise Misconfigured(f"this function cannot sign a command for toolbox {toolbox.id}")


class ShimClient:
    """One toolbox's shim; implements toolbox_shim.ShimTransport."""

    def __init__(self, key: Ed25519PrivateKey, toolbox: Toolbox, sessions: PinnedSessions) -> None:
        self._key, self._toolbox, self._sessions = key, toolbox, sessions

    def command(
        self,
        route: Route,
        *,
        start_by: datetime,
        name: str = "",
        body: messages.Message = EMPTY,
        query: str = "",
        within: float | None = None,
    ) -> Any:
        """One command; its answer as the route's message."""
        _, said, _ = self._answered(route, route.target(name, query), messages.dump(body), start_by, within)
        return read(route.answer, said)

    def status(self, *, start_by: datetime, unless: str, limits: bool = False) -> tuple[messages.Status | None, str]:
        route, known = routes.STATUS, {"If-None-Match": unless} if unless else {}
        target = route.target(query="limits=1" if limits else "")
        code, said, etag = self._answered(route, target, b"", start_by, LIST_SECONDS, known)
        return (None if code == HTTPStatus.NOT_MODIFIED else read(route.answer, said)), etag

    def pull(
        self, body: messages.Pull, *, start_by: datetime, on_progress: Callable[[messages.Progress], None]
    ) -> messages.Image:
        route, payload = routes.PULL, messages.dump(body)
        answer = self._opened(route, route.target(), payload, start_by, PULL_SILENCE_SECONDS)
        lines: Lines[messages.PullLine] = AnswerLines(route.answer, answer)
        with closing(lines):
            for line in lines:
                if line.image:
                    return line.image
                if line.progress:
                    on_progress(line.progress)
        raise shim_errors.OutcomeUnknown("the pull's progress ended without a result")

    def follow(self, name: str, *, start_by: datetime, query: str) -> Lines[messages.FollowLine]:
        route = routes.FOLLOW
        answer = self._opened(route, route.target(name, query), b"", start_by, FOLLOW_SILENCE_SECONDS)
        return AnswerLines(route.answer, answer)

    def _answered(
        self,
        route: Route,
        target: str,
        payload: bytes,
        start_by: datetime,
        within: float | None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> tuple[int, bytes, str]:
        """Status, body and ETag."""
        with self._opened(route, target, payload, start_by, within or ANSWER_SECONDS, headers) as answer:
            return answer.status_code, content(answer), answer.headers.get("ETag", "")

    def _opened(
        self,
        route: Route,
        target: str,
        payload: bytes,
        start_by: datetime,
        silence: float,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> requests.Response:
        """A good answer, its body not read; signed anew once where the token is stale, e.g. of a restarted shim."""
        for attempt in (1, 2):
            answer = self._send(route, target, payload, start_by, silence, headers)
            if answer.status_code in GOOD:
                return answer
            with answer:
                error = error_of(answer.status_code, content(answer))
            if attempt == 2 or not isinstance(error, shim_errors.TokenStale):
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
        toolbox, now = self._toolbox, datetime.now(UTC)
        if not toolbox.address or not toolbox.fingerprint:
            raise ToolboxUnreachable(f"toolbox {toolbox.name!r} has not enrolled yet")
        token = tokens.sign(
            self._key,
            audience=tokens.audience(toolbox.id, toolbox.fingerprint),
            method=route.method,
            target=target,
            body=payload,
            now=now.timestamp(),
            expires=start_by.timestamp(),
            jti=str(uuid.uuid4()),
        )
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **more_headers}
        url = f"https://{toolbox.address}:{routes.PORT}{target}"
        request = requests.Request(route.method, url, headers=headers, data=payload or None)
        try:
            answer = self._sessions.of(toolbox.fingerprint).send(
                request.prepare(), stream=True, timeout=(CONNECT_SECONDS, silence), allow_redirects=False, verify=False
            )
        except (requests.ConnectTimeout, requests.exceptions.SSLError) as error:
            raise ToolboxUnreachable(f"the toolbox cannot be reached: {cause(error)}") from error
        except requests.ConnectionError as error:
            if _never_sent(error):
                raise ToolboxUnreachable(f"the toolbox cannot be reached: {cause(error)}") from error
            raise shim_errors.OutcomeUnknown(f"the toolbox broke off: {cause(error)}") from error
        except requests.RequestException as error:
            raise shim_errors.OutcomeUnknown(f"the toolbox did not answer: {cause(error)}") from error
        require_our_contract(answer)
        return answer


def _never_sent(error: requests.ConnectionError) -> bool:
    """Whether the connection was not even made; a kept one that breaks may have carried the command."""
    return "NewConnectionError" in repr(error) or "NameResolutionError" in repr(error)
