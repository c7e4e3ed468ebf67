"""`digitalocean-options`: where droplets can be made, and of which sizes. Public, as DigitalOcean's own list is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from flask import Flask, Response, jsonify
from typing_extensions import TypedDict

from functions.domain import errors
from functions.domain.account.limits import Rate
from functions.lifecycle.account.rates import Rates
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.toolbox.options import CachedList
from functions.web.app import create
from functions.web.record_types import exact
from functions.web.requests import client_address
from functions.web.route import Proof, Route

NAME = "digitalocean-options"
ASKED = Rate(at_once=30, a_minute=60)
MAX_AGE_SECONDS = 300


@exact
class Region(TypedDict):
    """As DigitalOcean's API has it: https://docs.digitalocean.com/reference/api/reference/regions/"""

    slug: str
    name: str
    features: list[str]
    sizes: list[str]
    available: bool


@exact
class Size(TypedDict):
    """Likewise: `memory` in MiB, `disk` in GiB, `transfer` in TiB a month, prices in US dollars."""

    slug: str
    description: str
    memory: int
    vcpus: int
    disk: int
    transfer: float
    price_monthly: float
    price_hourly: float
    regions: list[str]
    available: bool


_PROBLEMS = (
    errors.TooManyRequests, errors.DigitalOceanRefused, errors.DigitalOceanBusy, errors.DigitalOceanUnknown,
)  # fmt: skip
REGIONS = Route(
    "GET", "/regions", "Where droplets can be made now", {200: list[Region]}, problems=_PROBLEMS, proof=Proof.ANYBODY
)
SIZES = Route(
    "GET", "/sizes", "The sizes that droplets can have now", {200: list[Size]}, problems=_PROBLEMS, proof=Proof.ANYBODY
)
ROUTES = (REGIONS, SIZES)


class Catalogue(Protocol):
    """DigitalOcean's lists, as its API has them."""

    def regions(self) -> list[dict[str, Any]]: ...

    def sizes(self) -> list[dict[str, Any]]: ...


def build(deps: Dependencies, catalogue: Catalogue) -> Flask:
    app = create(NAME, deps.limits)
    rates = Rates(ASKED, deps.now)
    regions, sizes = CachedList(catalogue.regions, deps.now), CachedList(catalogue.sizes, deps.now)

    @REGIONS.on(app)
    def list_regions() -> Response:
        rates.take(client_address())
        return _answer([{key: one[key] for key in Region.__annotations__} for one in regions.get()])

    @SIZES.on(app)
    def list_sizes() -> Response:
        rates.take(client_address())
        return _answer([{key: one[key] for key in Size.__annotations__} for one in sizes.get()])

    return app


def _answer(records: list[Mapping[str, Any]]) -> Response:
    response = jsonify(records)
    response.headers["Cache-Control"] = f"public, max-age={MAX_AGE_SECONDS}"
    return response
