"""The function `digitalocean-options`: the regions and sizes for droplets. Public, like DigitalOcean's own lists."""

from __future__ import annotations

from typing import Any, Protocol

from flask import Flask, Response
from pydantic import Field

from functions.domain import errors
from functions.domain.account.model import Rate
from functions.lifecycle.account.admission import Rates
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.toolbox.options import CachedList
from functions.web.app import create
from functions.web.records import Record, answer_list
from functions.web.requests import client_address
from functions.web.route import Proof, Route

NAME = "digitalocean-options"
# Of one client address.
RATE = Rate(at_once=30, a_minute=60)
MAX_AGE_SECONDS = 300


class Region(Record):
    """A region, as https://docs.digitalocean.com/reference/api/reference/regions/ describes it."""

    slug: str = Field(description="The region's name in requests.")
    name: str = Field(description="The region's name for people.")
    features: list[str] = Field(description="Features that droplets can have there.")
    sizes: list[str] = Field(description="Slugs of the sizes that can be created there.")
    available: bool = Field(description="Whether droplets can be created there.")


class Size(Record):
    """A size, as https://docs.digitalocean.com/reference/api/reference/sizes/ describes it."""

    slug: str = Field(description="The size's name in requests.")
    description: str = Field(description="The kind of size in words.")
    memory: int = Field(description="Memory in MiB.")
    vcpus: int = Field(description="Number of virtual CPUs.")
    disk: int = Field(description="Disk in GiB.")
    transfer: float = Field(description="Outbound transfer included, in TiB a month.")
    price_monthly: float = Field(description="Price of a month in US dollars.")
    price_hourly: float = Field(description="Price of an hour in US dollars.")
    regions: list[str] = Field(description="Slugs of the regions that have the size.")
    available: bool = Field(description="Whether droplets of the size can be created.")


_PROBLEMS = (
    errors.TooManyRequests,
    errors.DigitalOceanRefused,
    errors.DigitalOceanBusy,
    errors.DigitalOceanUnknown,
)
REGIONS = Route(
    operation="listRegions",
    method="GET",
    path="/regions",
    summary="List regions",
    description="Those in which droplets can be created now, as DigitalOcean lists them.",
    answers={200: list[Region]},
    problems=_PROBLEMS,
    proof=Proof.ANYBODY,
)
SIZES = Route(
    operation="listSizes",
    method="GET",
    path="/sizes",
    summary="List droplet sizes",
    description="Those that can be created now, as DigitalOcean lists them.",
    answers={200: list[Size]},
    problems=_PROBLEMS,
    proof=Proof.ANYBODY,
)
ROUTES = (REGIONS, SIZES)


class Catalogue(Protocol):
    """DigitalOcean's lists in its API's own fields."""

    def regions(self) -> list[dict[str, Any]]:
        """All regions."""

    def sizes(self) -> list[dict[str, Any]]:
        """All droplet sizes."""


def build(deps: Dependencies, catalogue: Catalogue) -> Flask:
    """Build the function's app."""
    app = create(NAME, deps.limits)
    rates = Rates(RATE, deps.now)
    regions, sizes = CachedList(catalogue.regions, deps.now), CachedList(catalogue.sizes, deps.now)

    @REGIONS.on(app)
    def list_regions() -> Response:
        return listed(Region, regions)

    @SIZES.on(app)
    def list_sizes() -> Response:
        return listed(Size, sizes)

    def listed(kind: type[Record], cached: CachedList) -> Response:
        rates.take(client_address())
        response = answer_list(kind, cached.get())
        response.headers["Cache-Control"] = f"public, max-age={MAX_AGE_SECONDS}"
        return response

    return app
