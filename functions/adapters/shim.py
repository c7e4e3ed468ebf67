"""The shims, over HTTPS: the pinned certificate and no other, one signed command for each request."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from functions.adapters import shim_versions
from functions.adapters.pinned import Answer, BrokenOff, NotConnected, PinnedConnections, TimedOut
from functions.adapters.shim_answers import AnswerLines, content, error_of, read
from functions.adapters.shim_versions import PullProgress, WireRequest
from functions.adapters.toolbox_shim import EMPTY
from functions.domain.errors import Misconfigured, ShimIncompatible, ToolboxUnreachable
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Lines
from shim.contract import errors as shim_errors
from shim.contract import messages, routes, tokens
from shim.contract.routes import Route

# For the whole of an answer, connection and handshake included. A stop takes its own time-out, 10 s, in the engine, and
# the slowest start that still succeeds takes less than the rest.
ANSWER_SECONDS = 35.0
LIST_SECONDS = 10.0
# For each line of a pull: the shim gives up on a silent registry after 60 s and says so.
PULL_LINE_SECONDS = 90.0
PULL_SECONDS = 1_800.0
# For each line of a log: the shim sends a sign of life every 10 s.
FOLLOW_LINE_SECONDS = 35.0
# Done, begun, or unchanged since the caller's last look.
GOOD = (HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.NOT_MODIFIED)
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class ShimClients:
    """Makes the client of a toolbox, and keeps connections open."""

    def __init__(self, command_key: str) -> None:
        key = load_pem_private_key(command_key.encode(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise Misconfigured("COMMAND_KEY must be an Ed25519 private key in PEM (PKCS #8).")
        self._key, self._connections = key, PinnedConnections()

    def for_toolbox(self, toolbox: Toolbox) -> ShimClient:
        return ShimClient(self._key, toolbox, self._connections)


class NoShims:
    """For a function that is not given the key to sign commands with, and connects to no droplet."""

    def for_toolbox(self, toolbox: Toolbox) -> ShimClient:
        raise Misconfigured(f"This function has no key to sign a command for toolbox {toolbox.id}.")


class ShimClient:
    """One toolbox's shim. Implements toolbox_shim.ShimTransport.

    Signs with the version of the contract that the toolbox is known to speak, and once more with the version that a
    409 names, where that is spoken here.
    """

    def __init__(self, key: Ed25519PrivateKey, toolbox: Toolbox, connections: PinnedConnections) -> None:
        self._key, self._toolbox, self._connections = key, toolbox, connections

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
        """Send one command; its answer is the route's message (of RELAY a Response to a Request).

        `within`: seconds for the whole of the answer. Raises shim errors, ToolboxUnreachable, ToolboxRefused,
        ShimIncompatible, ShimTooOld.
        """
        if isinstance(body, messages.Request):
            return self._relay(name, body, start_by)
        answer, _ = self._open(route, name, body, query, start_by, within or ANSWER_SECONDS)
        with closing(answer):
            return read(route.answer, content(answer))

    def status(self, *, start_by: datetime, unless: str, limits: bool = False) -> tuple[messages.Status | None, str]:
        """The engine's list and its ETag; None where the ETag still is `unless`. `limits`: those of each container."""
        known = {"If-None-Match": unless} if unless else NO_HEADERS
        query = "limits=1" if limits else ""
        answer, _ = self._open(routes.STATUS, "", EMPTY, query, start_by, LIST_SECONDS, known)
        with closing(answer):
            body = content(answer)
            unchanged = answer.status == HTTPStatus.NOT_MODIFIED
            return (None if unchanged else read(messages.Status, body)), answer.header("ETag")

    def pull(
        self, body: messages.Pull, *, start_by: datetime, on_progress: Callable[[messages.Progress], None]
    ) -> messages.Image:
        """Pull an image, and report the sum of its layers as it comes. At most PULL_SECONDS."""
        ends = time.monotonic() + PULL_SECONDS
        answer, version = self._open(routes.PULL, "", body, "", start_by, PULL_LINE_SECONDS)
        lines: Lines[Any] = AnswerLines(shim_versions.pull_line(version), answer, PULL_LINE_SECONDS, ends)
        with closing(lines):
            image = PullProgress(on_progress, time.monotonic).image(lines)
        if image is None:
            raise shim_errors.OutcomeUnknown("The pull's progress ended without a result.")
        return image

    def follow(self, name: str, *, start_by: datetime, query: str) -> Lines[messages.FollowLine]:
        """A container's log as it grows, until it stops. A line without fields is a sign of life."""
        answer, _ = self._open(routes.FOLLOW, name, EMPTY, query, start_by, FOLLOW_LINE_SECONDS)
        return AnswerLines(messages.FollowLine, answer, FOLLOW_LINE_SECONDS)

    def _relay(self, name: str, request: messages.Request, start_by: datetime) -> messages.Response:
        """One HTTP request to a container. Its own statuses are no errors. Raises NotAnswering where it is silent."""
        try:
            answer, version = self._open(routes.RELAY, name, request, "", start_by, request.timeout)
        except shim_errors.OutcomeUnknown as error:
            if isinstance(error.__cause__, TimedOut):
                message = f"Port {request.port} of {name} did not answer within {request.timeout} seconds."
                raise shim_errors.NotAnswering(message) from error
            raise
        with closing(answer):
            return shim_versions.read_response(version, answer)

    def _open(
        self,
        route: Route,
        name: str,
        body: messages.Message,
        query: str,
        start_by: datetime,
        seconds: float,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> tuple[Answer, int]:
        """A good answer whose body is not read yet, and its version of the contract."""
        ends = time.monotonic() + seconds
        version = shim_versions.first_version(self._toolbox.contract)
        signed_again = switched = False
        while True:
            request = shim_versions.write(version, route, name, body, query)
            answer = self._send(request, version, start_by, ends, headers)
            try:
                theirs = shim_versions.version_of(answer)
                relayed = route is routes.RELAY and shim_versions.marks_relayed(version)
                is_good = answer.header(routes.RELAYED_HEADER) if relayed else False
                if theirs == version and (is_good or answer.status in GOOD):
                    return answer, version
                error = error_of(answer.status, content(answer))
            except BaseException:
                answer.close()
                raise
            answer.close()
            if theirs != version and not switched:
                # The shim was upgraded, or put back, since the toolbox's record was written.
                version, switched = theirs, True
            elif isinstance(error, shim_errors.TokenStale) and not signed_again:
                # The first answer of a shim that has just restarted.
                signed_again = True
            elif theirs != version:
                message = f"The toolbox's shim speaks contract {theirs}, and the command {version}. Upgrade the shim."
                raise ShimIncompatible(message)
            else:
                raise error

    def _send(
        self, request: WireRequest, version: int, start_by: datetime, ends: float, headers: Mapping[str, str]
    ) -> Answer:
        toolbox, now = self._toolbox, datetime.now(UTC)
        if not toolbox.address or not toolbox.fingerprint:
            raise ToolboxUnreachable(f"Toolbox {toolbox.name!r} has not enrolled yet. Wait until it is active.")
        token = tokens.sign(
            self._key,
            audience=tokens.audience(toolbox.id, toolbox.fingerprint),
            method=request.method,
            target=request.target,
            body=request.body,
            now=now.timestamp(),
            expires=start_by.timestamp(),
            jti=str(uuid.uuid4()),
            contract=version,
        )
        try:
            return self._connections.request(
                toolbox.address,
                routes.PORT,
                toolbox.fingerprint,
                request.method,
                request.target,
                {**request.headers, **headers, "Authorization": f"Bearer {token}"},
                request.body,
                ends,
            )
        except NotConnected as error:
            raise ToolboxUnreachable(f"The toolbox cannot be reached: {error}.") from error
        except TimedOut as error:
            raise shim_errors.OutcomeUnknown(f"The toolbox did not answer: {error}.") from error
        except BrokenOff as error:
            raise shim_errors.OutcomeUnknown(f"The toolbox closed the connection: {error}.") from error
