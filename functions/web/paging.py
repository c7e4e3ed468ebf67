"""Lists are bare arrays; the next page is in a `Link` header (RFC 8288), relative to the request's own URL."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from urllib.parse import urlencode

from flask import Response, jsonify, request

from functions.domain.errors import BadRequest
from functions.web.requests import integer

DEFAULT_LIMIT = 100
LIMITS = range(1, 501)


class Dated(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...


def asked() -> tuple[int, tuple[object, str] | None]:
    """`limit` and the place to go on from, from the query string. Raises BadRequest."""
    limit, cursor = integer("limit", DEFAULT_LIMIT, LIMITS), request.args.get("cursor")
    if cursor is None:
        return limit, None
    try:
        time, last_id = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
        return limit, (datetime.fromisoformat(time), str(last_id))
    except (ValueError, TypeError):
        raise BadRequest("cursor is not one that this list has given") from None


def answer(found: Sequence[Dated], records: list[dict[str, object]], limit: int) -> Response:
    response = jsonify(records)
    if len(found) == limit:
        place = json.dumps([found[-1].created_at.isoformat(), found[-1].id]).encode()
        query = urlencode({"limit": limit, "cursor": base64.urlsafe_b64encode(place).decode()})
        response.headers["Link"] = f'<?{query}>; rel="next"'
    return response
