"""One page of a list: how many records, where it begins, and the `Link` header to the next one.

A cursor is the place of the last record of the page before, with an HMAC: whoever makes one up learns that at once,
instead of having the store compare with it.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, TypeVar
from urllib.parse import urlencode

from flask import Response
from pydantic import Field

from functions.domain.account.model import Limits
from functions.domain.errors import BadRequest
from functions.lifecycle.listing import After, Listed
from functions.web.fields import DIGITS
from functions.web.records import Record, answer_list
from functions.web.requests import query
from functions.web.route import Query

DEFAULT_LIMIT = 100
# Of a cursor's HMAC-SHA-256: nobody can try out 128 bits.
_SIGNATURE_BYTES = 16
# Without it an HMAC over a request's body, made with the same key, could stand for a cursor's.
_PURPOSE = b"cursor\n"

T = TypeVar("T")


class Page(Query):
    """One page of a list."""

    limit: Annotated[int, Field(ge=1, le=Limits().page), DIGITS] | None = Field(
        default=None,
        description=f"Largest number of records; {DEFAULT_LIMIT} if left out. A deployment can lower the maximum.",
    )
    cursor: Annotated[str, Field(json_schema_extra={"format": "cursor"})] | None = Field(
        default=None, description="Where the page begins: from the `Link` header of the page before."
    )


class Pages:
    """Reads which page is requested, and answers it. `key` signs the cursors."""

    def __init__(self, limits: Limits, key: bytes) -> None:
        self._limits, self._key = limits, key

    def requested(self) -> tuple[int, After]:
        """`limit`, and the place after which the page begins. Raises BadRequest."""
        parameters = query(Page)
        limit = min(DEFAULT_LIMIT, self._limits.page) if parameters.limit is None else parameters.limit
        if limit > self._limits.page:
            raise BadRequest(f"limit is {limit} and can be at most {self._limits.page}.")
        return limit, None if parameters.cursor is None else self._place(parameters.cursor)

    def answer(
        self, kind: type[Record], page: Listed[T], limit: int, place: Callable[[T], tuple[datetime, str]]
    ) -> Response:
        """One page of a list; `place` names the place of its last record.

        The `Link` header (RFC 8288) is relative to the request's own URL, since a function does not know its public
        one.
        """
        response = answer_list(kind, page.records)
        if page.more:
            query = urlencode({"limit": limit, "cursor": self.cursor(*place(page.records[-1]))})
            response.headers["Link"] = f'<?{query}>; rel="next"'
        return response

    def cursor(self, time: datetime, last_id: str) -> str:
        """The cursor of the page after a record."""
        place = json.dumps([time.isoformat(), last_id]).encode()
        return base64.urlsafe_b64encode(self._signature(place) + place).decode()

    def _place(self, cursor: str) -> tuple[datetime, str]:
        try:
            signed = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        except ValueError:
            signed = b""
        signature, place = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(place)):
            raise BadRequest("cursor is invalid. Use the URL of a Link header, or leave cursor out.")
        time, last_id = json.loads(place)
        return datetime.fromisoformat(time), last_id

    def _signature(self, place: bytes) -> bytes:
        return hmac.digest(self._key, _PURPOSE + place, "sha256")[:_SIGNATURE_BYTES]
