"""What every request has: a path below its function's name, an id, and a bounded JSON body."""

from __future__ import annotations

import re
import unicodedata
import uuid
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Any, TypeVar

from flask import g, has_request_context, request
from pydantic import BaseModel, ValidationError

from functions.domain.errors import BadRequest, NotFound, PayloadTooLarge
from functions.web.fields import InstanceKey, RegistryHost, ToolboxId
from functions.web.route import Query, asked_for
from shim.contract.names import UUID

_TRACE = re.compile(r"[0-9a-f]{32}")

B = TypeVar("B", bound=BaseModel)
Q = TypeVar("Q", bound=Query)


@dataclass(frozen=True, slots=True)
class PathParameter:
    name: str
    kind: Any


# What stands in a route's path, by the view's own word for it.
PATH_PARAMETERS = {
    "box": PathParameter("toolboxId", ToolboxId),
    "key": PathParameter("instance", InstanceKey),
    "host": PathParameter("host", RegistryHost),
}


def below(function: str, path: str) -> str:
    """The path below the function's own name, whatever stands before it, without a trailing slash.

    A function answers at `/functions/v1/{name}/…`, at `/api/{name}/…`, at `/{name}/…`, and bare on its own host.
    """
    mounted = re.match(rf"(?:/functions/v1|/api)?/{re.escape(function)}(?=/|$)", path)
    rest = path[mounted.end() :] if mounted else path
    return rest.rstrip("/") or "/"


def request_id() -> str:
    """The trace id that the platform gave, else a random one; the same for the whole request."""
    if not has_request_context():
        return ""
    if "request_id" not in g:
        given = request.headers.get("X-Cloud-Trace-Context", "").partition("/")[0]
        g.request_id = given if _TRACE.fullmatch(given) else uuid.uuid4().hex
    return str(g.request_id)


def body(kind: type[B]) -> B:
    """The JSON body as `kind`; an empty one is `{}`. Raises BadRequest, naming what is wrong and where."""
    assert kind is g.route.body, f"{request.endpoint} does not describe its body as {kind.__name__}"
    try:
        return kind.model_validate_json(raw_body().strip() or b"{}")
    except ValidationError as error:
        raise _refused(error) from None


def query(kind: type[Q]) -> Q:
    """The query string as `kind`. Raises BadRequest."""
    assert kind is g.route.query, f"{request.endpoint} does not describe its query as {kind.__name__}"
    try:
        return kind.model_validate(asked_for())
    except ValidationError as error:
        raise _refused(error) from None


def _refused(error: ValidationError) -> BadRequest:
    return BadRequest("; ".join(_sentence(dict(e)) for e in error.errors(include_url=False)[:5]))


def raw_body() -> bytes:
    """The body as it was sent. Raises PayloadTooLarge, RequestEntityTooLarge."""
    content, longest = request.get_data(cache=True), request.max_content_length
    # Of a body that does not say its length werkzeug reads so much, and drops the rest without a word.
    if request.content_length is None and longest is not None and len(content) >= longest:
        raise PayloadTooLarge(f"a body has less than {longest} bytes")
    return content


def client_address() -> str:
    """Whence the request came, as the platform's last proxy saw it; a whole network of one subscriber with IPv6.

    What stands before that in X-Forwarded-For is the client's own word.
    """
    seen = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip() or request.remote_addr or ""
    try:
        address = ip_address(seen)
    except ValueError:
        return seen
    return str(address if isinstance(address, IPv4Address) else IPv6Network((int(address) >> 64 << 64, 64)))


def _sentence(error: dict[str, object]) -> str:
    place = error["loc"]
    where = ".".join(str(part) for part in place) if isinstance(place, tuple) else ""
    if error["type"] == "extra_forbidden":
        return f"unknown key {where!r}"
    if error["type"] == "missing":
        return f"{where!r} is required"
    said = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def instance_key(text: str) -> str:
    """An instance's id or name as it is stored; an id is the same in any case of its letters."""
    name = unicodedata.normalize("NFC", text)
    return name.lower() if len(name) == 36 and name.count("-") == 4 else name


def toolbox_id(text: str) -> str:
    """Only an id is looked up; anything else is there for nobody. Raises NotFound."""
    if not UUID.fullmatch(text):
        raise NotFound(f"there is no toolbox {text!r}")
    return text
