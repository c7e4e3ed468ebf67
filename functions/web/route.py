"""What a route takes and answers, said once: Flask serves it by this, openapi.json shows it, the tests hold it.

A view reads its body and its query only as its route describes them (see `requests.body` and `requests.query`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from flask import Flask, g, request
from pydantic import BaseModel, ConfigDict

from functions.domain import errors
from functions.domain.errors import BadRequest, ToolboxesError
from shim.contract import errors as shim_errors
from shim.contract.errors import ShimError

Problem = type[ToolboxesError] | type[ShimError]


class Empty(BaseModel):
    """An object without a key."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Query(BaseModel):
    """A query string."""

    model_config = ConfigDict(extra="forbid")


def asked_for() -> dict[str, str]:
    """The query string, of a key that stands twice the first."""
    asked = request.args.to_dict()
    # supabase-js adds it where its caller names a region; it is the platform's.
    asked.pop("forceFunctionRegion", None)
    return asked


class Proof(StrEnum):
    """What a caller has to prove: to be whom."""

    ACCOUNT = "account"
    PLATFORM = "platform"
    SHIM = "shim"
    BACKEND = "backend"
    ANYBODY = "anybody"


@dataclass(frozen=True, slots=True)
class Media:
    """An answer that is a sequence of events; `kind` is the type of one."""

    type: str
    kind: Any


# The type of the JSON that goes with a status, or what else goes with it, or a tuple of these; None: no content.
Answer = Any

ANY_ROUTE: tuple[Problem, ...] = (errors.BadRequest, errors.PayloadTooLarge, errors.Unavailable, errors.Contended)
# What may come of a command to a shim.
ASKS_SHIM: tuple[Problem, ...] = (
    errors.ToolboxUnavailable, errors.ToolboxUnreachable, errors.ShimIncompatible, errors.ToolboxRefused,
    shim_errors.ShimError, shim_errors.Refused, shim_errors.Unauthenticated, shim_errors.ClockSkew,
    shim_errors.TokenStale,
    shim_errors.UnknownRoute, shim_errors.Transient, shim_errors.EngineUnavailable, shim_errors.OutcomeUnknown,
)  # fmt: skip


@dataclass(frozen=True)
class Route:
    """`path` is Flask's, below the function's name. `problems`: those beside what every route of its kind may have.

    `replayed`: takes an Idempotency-Key.
    """

    method: str
    path: str
    summary: str
    answers: Mapping[int, Answer]
    body: type[BaseModel] | None = None
    query: type[Query] | None = None
    problems: tuple[Problem, ...] = ()
    proof: Proof = Proof.ACCOUNT
    replayed: bool = False
    headers: tuple[str, ...] = field(default=())

    @property
    def endpoint(self) -> str:
        """Flask's name for it."""
        return f"{self.method} {self.path}"

    def on(self, app: Flask) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Have `app` serve this route by the decorated view."""

        def serve(view: Callable[..., Any]) -> Callable[..., Any]:
            def served(**path: str) -> Any:
                g.route = self
                if self.query is None and (unknown := asked_for()):
                    raise BadRequest(f"unknown key {next(iter(unknown))[:80]!r} in the query")
                return view(**path)

            app.add_url_rule(self.path, self.endpoint, served, methods=[self.method])
            return view

        return serve

    def all_problems(self) -> list[Problem]:
        """Every error that this route may answer with, but for a bug."""
        more: list[Problem] = [] if self.proof is Proof.ANYBODY else [errors.Unauthorized]
        more += [errors.TooManyRequests] if self.proof is Proof.ACCOUNT else []
        more += [errors.NotFound] if "<" in self.path else []
        more += [errors.KeyReused] if self.replayed else []
        return list(dict.fromkeys([*ANY_ROUTE, *more, *self.problems]))
