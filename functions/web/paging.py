"""Lists are bare arrays; the next page is in a `Link` header (RFC 8288), relative to the request's own URL."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from flask import Response, jsonify, request

from functions.domain.errors import BadRequest
from functions.domain.limits import Limits
from functions.web.requests import integer

DEFAULT_LIMIT = 100


def asked(limits: Limits) -> tuple[int, tuple[object, str] | None]:
    """`limit` and the place to go on from, from the query string. Raises BadRequest."""
    longest = limits.page
    limit, cursor = integer("limit", min(DEFAULT_LIMIT, longest), range(1, longest + 1)), request.args.get("cursor")
    if cursor is None:
        return limit, None
    try:
        time, last_id = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
        return limit, (datetime.fromisoformat(time), str(last_id))
    except (ValueError, TypeError):
        raise BadRequest("cursor is not one that this list has given") from None


def answer(records: list[dict[str, Any]], limit: int, last: tuple[datetime, str] | None) -> Response:
    """`last`: time and id of the last record, where there may be more."""
    response = jsonify(records)
    if last:
        place = json.dumps([last[0].isoformat(), last[1]]).encode()
        query = urlencode({"limit": limit, "cursor": base64.urlsafe_b64encode(place).decode()})
        response.headers["Link"] = f'<?{query}>; rel="next"'
    return response
