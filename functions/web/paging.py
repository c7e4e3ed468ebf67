"""Lists are bare arrays; the next page is in a `Link` header (RFC 8288), relative to the request's own URL."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from flask import Response, jsonify
from pydantic import Field

from functions.domain.account.limits import Limits
from functions.domain.errors import BadRequest
from functions.web.fields import DIGITS
from functions.web.requests import query
from functions.web.route import Query

DEFAULT_LIMIT = 100


class Page(Query):
    """`limit` may be bounded further by configuration; `cursor` is from the `Link` that the page before came with."""

    limit: Annotated[int, Field(ge=1, le=Limits().page), DIGITS] | None = None
    cursor: Annotated[str, Field(json_schema_extra={"format": "cursor"})] | None = None

    def place(self) -> tuple[object, str] | None:
        """The place to go on from. Raises BadRequest."""
        if self.cursor is None:
            return None
        try:
            time, last_id = json.loads(base64.urlsafe_b64decode(self.cursor.encode("ascii")))
            return datetime.fromisoformat(time), str(last_id)
        except (ValueError, TypeError):
            raise BadRequest("cursor is not one that this list has given") from None


def asked(limits: Limits) -> tuple[int, tuple[object, str] | None]:
    """`limit` and the place to go on from, from the query string. Raises BadRequest."""
    page, longest = query(Page), limits.page
    limit = min(DEFAULT_LIMIT, longest) if page.limit is None else page.limit
    if limit > longest:
        raise BadRequest(f"limit is at most {longest}")
    return limit, page.place()


def answer(records: Sequence[Mapping[str, Any]], limit: int, last: tuple[datetime, str] | None) -> Response:
    """`last`: time and id of the last record, where there may be more."""
    response = jsonify(records)
    if last:
        place = json.dumps([last[0].isoformat(), last[1]]).encode()
        onward = urlencode({"limit": limit, "cursor": base64.urlsafe_b64encode(place).decode()})
        response.headers["Link"] = f'<?{onward}>; rel="next"'
    return response
