"""`Idempotency-Key`, bound to account, method, path and an HMAC of the body: the body may hold secrets.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import hmac
import re

from flask import Response, current_app, jsonify, request

from functions.domain.errors import BadRequest
from functions.lifecycle.idempotency import Render, Replay, RequestKey, StoredAnswer
from functions.lifecycle.repository import D
from functions.web.requests import raw_body

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def request_key(account: str, secret: bytes) -> RequestKey | None:
    """The request's key, None where it has none. Raises BadRequest."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise BadRequest("An Idempotency-Key has 1 to 255 printable ASCII characters without spaces.")
    # The path is below the function's own name, and several functions have the same paths.
    content = f"{request.method}\n{current_app.name}\n{request.path}\n".encode() + raw_body()
    return RequestKey(account, key, hmac.digest(secret, content, "sha256").hex())


def replay(account: str, secret: bytes, render: Render[D]) -> Replay[D] | None:
    """The request's key with `render`, which makes the final answer; None where it has none. Raises BadRequest."""
    key = request_key(account, secret)
    return Replay(key.account, key.key, key.fingerprint, render) if key else None


def stored_answer(stored: StoredAnswer) -> Response:
    """The answer of an earlier attempt."""
    status, content = stored
    response = jsonify(content)
    response.status_code = status
    if status >= 400:
        response.mimetype = "application/problem+json"
    return response
