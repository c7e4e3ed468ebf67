"""`Idempotency-Key` at the web's edge: the key of a request, and the one path by which a repeat is answered.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Response, current_app, jsonify, request

from functions.domain.account.model import Caller
from functions.domain.errors import BadRequest
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.idempotency import (
    CommitHook,
    KeyedRequest,
    RequestKey,
    StoredAnswer,
    record_intent,
    record_outcome,
    run_once,
)
from functions.web.requests import raw_body

_KEY = re.compile(r"[\x21-\x7e]{1,255}")

T = TypeVar("T")


class Idempotent:
    """Answers requests of an account, each at most once for each Idempotency-Key.

    A key is bound to account, method, path and body; of these an HMAC is stored, since the body may hold secrets.
    """

    def __init__(self, deps: Dependencies, fingerprint_key: bytes) -> None:
        self._deps, self._fingerprint_key = deps, fingerprint_key

    def __call__(
        self,
        caller: Caller,
        first: Callable[[CommitHook], T],
        resume: Callable[[str, CommitHook], T],
        render: Callable[[T], StoredAnswer],
        *,
        confidential: bool = False,
    ) -> Response:
        """Answer the request that is being served.

        first         does what is requested and passes the hook into its commits; also without a key
        resume        carries on an earlier attempt whose answer is not stored, from the id of what it is about
        render        makes the answer of what either returned
        confidential  the stored answer is encrypted

        Raises BadRequest, KeyReused, and what `first` and `resume` raise.
        """
        key = self._key(caller.account)
        keyed = KeyedRequest(self._deps, key, render, confidential=confidential) if key else None
        outcome = run_once(keyed, first, resume)
        return respond(outcome if isinstance(outcome, StoredAnswer) else render(outcome))

    def act(
        self, caller: Caller, find: Callable[[], str], act: Callable[[str], T], render: Callable[[T], StoredAnswer]
    ) -> Response:
        """Answer a request that commits no change of its own with which the key could be recorded.

        The key is recorded with the result of `find`, which is then passed to `act`. If a worker died before the answer
        was stored, a repeat calls `act` again with the same value, and `act` must recognize what is done already.
        """

        def carried_out(about: str, commit: CommitHook) -> T:
            outcome = act(about)
            record_outcome(self._deps, commit, about, outcome)
            return outcome

        def first(commit: CommitHook) -> T:
            about = find()
            record_intent(self._deps, commit, about)
            return carried_out(about, commit)

        return self(caller, first, carried_out, render)

    def read(
        self, caller: Caller, find: Callable[[], str], read: Callable[[], T], render: Callable[[T], StoredAnswer]
    ) -> Response:
        """Answer a request that only reads: its key is bound to it, but a repeat reads again.

        No answer is stored: reading again does no harm, and a log may be confidential.
        """

        def first(commit: CommitHook) -> T:
            record_intent(self._deps, commit, find())
            return read()

        return self(caller, first, lambda _about, _commit: read(), render)

    def _key(self, account: str) -> RequestKey | None:
        """The request's key, None where it has none. Raises BadRequest."""
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return None
        if not _KEY.fullmatch(key):
            raise BadRequest("An Idempotency-Key has 1 to 255 printable ASCII characters without spaces.")
        # The path is below the function's own name, and several functions have the same paths.
        content = f"{request.method}\n{current_app.name}\n{request.path}\n".encode() + raw_body()
        return RequestKey(account, key, hmac.digest(self._fingerprint_key, content, "sha256").hex())


def respond(answer: StoredAnswer) -> Response:
    """The HTTP response of an answer. A status of 400 or more carries a problem document."""
    if answer.status == 204:
        return Response(status=204)
    body: dict[str, Any] = dict(answer.body)
    response = jsonify(body)
    response.status_code = answer.status
    if answer.status >= 400:
        response.mimetype = "application/problem+json"
    return response
