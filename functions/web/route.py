"""A route's description: Flask serves the route by it, openapi.json shows it, and tests check every answer against it.

A view reads its body and query only as its route describes them (see `requests.body` and `requests.query`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flask import Flask, g, request
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from functions.domain import errors
from functions.domain.errors import BadRequest, ToolboxesError
from shim.contract import errors as shim_errors
from shim.contract.errors import ShimError

Problem = type[ToolboxesError] | type[ShimError]


class Body(BaseModel):
    """A JSON object whose keys are camelCase. Any other key is refused, and the error names it."""

    model_config = ConfigDict(defer_build=True, extra="forbid", strict=True, alias_generator=to_camel)


class NoFields(Body):
    """An object without a key. An empty body is one too."""


class Query(BaseModel):
    """A query string."""

    model_config = ConfigDict(defer_build=True, extra="forbid")


def query_values() -> dict[str, str]:
    """The query string; of a key that occurs twice the first value."""
    values = request.args.to_dict()
    # supabase-js adds this key where its caller names a region. The platform reads it.
    values.pop("forceFunctionRegion", None)
    return values


class Proof(StrEnum):
    """Who may call a route."""

    ACCOUNT = "account"
    PLATFORM = "platform"
    SHIM = "shim"
    BACKEND = "backend"
    ANYBODY = "anybody"


@dataclass(frozen=True, slots=True)
class Media:
    """An answer of another media type than JSON; `kind` is the type of one of its events."""

    type: str
    kind: Any


# The type of the JSON that goes with a status, a Media, or a tuple of these; None: no content.
Answer = Any

ANY_ROUTE: tuple[Problem, ...] = (
    errors.BadRequest,
    errors.PayloadTooLarge,
    errors.Unstorable,
    errors.Unavailable,
    errors.Contended,
)
# What can come of a command to a shim.
SHIM_COMMAND: tuple[Problem, ...] = (
    errors.ToolboxUnavailable,
    errors.ToolboxUnreachable,
    errors.ShimIncompatible,
    errors.ToolboxRefused,
    shim_errors.ShimError,
    shim_errors.Refused,
    shim_errors.Unauthenticated,
    shim_errors.ClockSkew,
    shim_errors.TokenStale,
    shim_errors.UnknownRoute,
    shim_errors.Transient,
    shim_errors.EngineUnavailable,
    shim_errors.OutcomeUnknown,
)


@dataclass(frozen=True, kw_only=True)
class Route:
    """One operation.

    operation    its operationId, unique over all functions
    path         below the function's name, in Flask's notation
    summary      an imperative phrase
    description  what a caller has to know beside the summary
    problems     errors beside those that every route of its kind can answer with
    idempotent   takes an Idempotency-Key
    """

    operation: str
    method: str
    path: str
    summary: str
    description: str
    answers: Mapping[int, Answer]
    body: type[BaseModel] | None = None
    query: type[Query] | None = None
    problems: tuple[Problem, ...] = ()
    proof: Proof = Proof.ACCOUNT
    idempotent: bool = False
    headers: tuple[str, ...] = ()

    @property
    def endpoint(self) -> str:
        """The route's name in Flask."""
        return f"{self.method} {self.path}"

    def on(self, app: Flask) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Have `app` serve this route by the decorated view."""

        def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
            def serve(**path: str) -> Any:
                g.route = self
                if self.query is None and (unknown := query_values()):
                    raise BadRequest(f"This route has no query parameter {next(iter(unknown))[:80]!r}. Remove it.")
                return view(**path)

            app.add_url_rule(self.path, self.endpoint, serve, methods=[self.method])
            return view

        return decorate

    def all_problems(self) -> list[Problem]:
        """Every error that this route can answer with, bugs excepted."""
        more: list[Problem] = [] if self.proof is Proof.ANYBODY else [errors.Unauthorized]
        more += [errors.TooManyRequests] if self.proof is Proof.ACCOUNT else []
        more += [errors.NotFound] if "<" in self.path else []
        more += [errors.KeyReused] if self.idempotent else []
        return list(dict.fromkeys([*ANY_ROUTE, *more, *self.problems]))
