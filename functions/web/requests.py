"""Reading a request: who sends it, the path below its function's name, ids, query, the body."""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Any, TypeVar

from flask import g, has_request_context, request
from pydantic import BaseModel, ValidationError

from functions.domain.account.model import AdminClaim, Caller, Claims, caller_from_claims
from functions.domain.errors import BadRequest, NotFound, PayloadTooLarge, Unauthorized
from functions.lifecycle.account.admission import AccountRates
from functions.web.fields import InstanceKey, RegistryHost, ToolboxId
from functions.web.route import Query, query_values
from shim.contract.names import UUID

# X-Cloud-Trace-Context: https://cloud.google.com/trace/docs/trace-context
_TRACE = re.compile(r"([0-9a-f]{32})/[0-9]{1,20}(?:;o=[0-3])?")

B = TypeVar("B", bound=BaseModel)
Q = TypeVar("Q", bound=Query)


@dataclass(frozen=True, slots=True)
class PathParameter:
    """A variable part of a route's path as openapi.json shows it."""

    name: str
    kind: Any
    description: str
    example: str


# By the names of the views' arguments.
PATH_PARAMETERS = {
    "toolbox": PathParameter(
        "toolboxId", ToolboxId, "The toolbox's id, a UUID.", "11111111-1111-4111-8111-111111111111"
    ),
    "instance": PathParameter("instance", InstanceKey, "The instance's id, or its name percent-encoded.", "everything"),
    "host": PathParameter(
        "host", RegistryHost, "The registry's host as in image references, with its port.", "registry.example:5000"
    ),
}


def path_below(function: str, path: str) -> str:
    """The path below the function's own name, whatever stands before it, without a trailing slash.

    A function answers at `/functions/v1/{name}/…`, at `/api/{name}/…`, at `/{name}/…`, and bare on a host of its own.
    """
    mounted = re.match(rf"(?:/functions/v1|/api)?/{re.escape(function)}(?=/|$)", path)
    rest = path[mounted.end() :] if mounted else path
    return rest.rstrip("/") or "/"


def request_id() -> str:
    """A random id, the same for the whole request; "" outside a request.

    Not the platform's trace id: the platform continues a trace that the caller began, so the caller could choose it.
    """
    if not has_request_context():
        return ""
    if "request_id" not in g:
        g.request_id = uuid.uuid4().hex
    return str(g.request_id)


def trace_id() -> str:
    """The platform's trace id for log lines; "" outside a request, or where the header is not in its format."""
    header = request.headers.get("X-Cloud-Trace-Context", "") if has_request_context() else ""
    found = _TRACE.fullmatch(header)
    return found[1] if found else ""


def body(kind: type[B]) -> B:
    """The JSON body as `kind`; an empty body is `{}`. Raises BadRequest, which names each wrong key."""
    assert kind is g.route.body, f"{request.endpoint} does not describe its body as {kind.__name__}"
    try:
        return kind.model_validate_json(raw_body().strip() or b"{}")
    except ValidationError as error:
        raise _bad_request(error) from None


def query(kind: type[Q]) -> Q:
    """The query string as `kind`. Raises BadRequest."""
    assert kind is g.route.query, f"{request.endpoint} does not describe its query as {kind.__name__}"
    try:
        return kind.model_validate(query_values())
    except ValidationError as error:
        raise _bad_request(error) from None


def raw_body() -> bytes:
    """The body as it was sent. Raises PayloadTooLarge, RequestEntityTooLarge."""
    content, maximum = request.get_data(cache=True), request.max_content_length
    # Without a Content-Length werkzeug reads up to the maximum and silently drops the rest.
    if request.content_length is None and maximum is not None and len(content) >= maximum:
        raise PayloadTooLarge(f"The body is too large. It must have less than {maximum} bytes.")
    return content


def client_address() -> str:
    """The client's address as the platform's last proxy recorded it; with IPv6 the /64 network of one subscriber.

    What stands before that in X-Forwarded-For was written by the client itself.
    """
    text = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip() or request.remote_addr or ""
    try:
        address = ip_address(text)
    except ValueError:
        return text
    return str(address if isinstance(address, IPv4Address) else IPv6Network((int(address) >> 64 << 64, 64)))


def instance_key(text: str) -> str:
    """An instance's id or name in the form that is stored; the case of an id's letters does not matter."""
    name = unicodedata.normalize("NFC", text)
    return name.lower() if len(name) == 36 and name.count("-") == 4 else name


def toolbox_id(text: str) -> str:
    """`text` if it has the form of an id. Raises NotFound without a look into the store."""
    if not UUID.fullmatch(text):
        raise NotFound(f"There is no toolbox {text[:80]!r}.")
    return text


def _bad_request(error: ValidationError) -> BadRequest:
    return BadRequest("; ".join(_sentence(dict(e)) for e in error.errors(include_url=False)[:5]))


def _sentence(error: dict[str, object]) -> str:
    place = error["loc"]
    where = ".".join(str(part) for part in place) if isinstance(place, tuple) else ""
    if error["type"] == "extra_forbidden":
        return f"unknown key {where!r}"
    if error["type"] == "missing":
        return f"{where!r} is required"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


# Who is calling: a bearer token's verified claims make a caller, or the request is refused.

# Verifies a token's signature, algorithm, issuer, audience and times. Raises Unauthorized, Unavailable.
Verify = Callable[[str], Claims]

MAX_TOKEN_CHARACTERS = 16_384


class Callers:
    """Authenticates the caller of the request that is being served and counts it against the account's rate limit."""

    def __init__(self, verify: Verify, admin: AdminClaim, rates: AccountRates) -> None:
        self._verify, self._admin, self._rates = verify, admin, rates

    def __call__(self) -> Caller:
        """Authenticate the caller. Raises Unauthorized, TooManyRequests, Unavailable."""
        caller = caller_from_claims(self._verify(bearer_token()), self._admin)
        self._rates.take(caller.account)
        return caller


def bearer_token() -> str:
    """The token in the Authorization header. Raises Unauthorized."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_CHARACTERS:
        raise Unauthorized("A bearer token is required. Send the header `Authorization: Bearer <token>`.")
    return token.strip()


def require_service(verify: Verify, email: str) -> None:
    """The platform's own caller (scheduler, Pub/Sub) by its identity token's verified address. Raises Unauthorized."""
    claims = verify(bearer_token())
    if claims.get("email") != email or claims.get("email_verified") is not True:
        raise Unauthorized(f"The token is not an identity token of {email}, the configured service account.")
