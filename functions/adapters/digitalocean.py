"""DigitalOcean's API, and what stands in its place in a function that is given no token for it."""

from __future__ import annotations

from typing import NoReturn

from functions.domain.droplet import Droplet, NewDroplet
from functions.domain.errors import Misconfigured


class NoDroplets:
    """For a function that makes, finds and destroys no droplet."""

    def create(self, new: NewDroplet) -> Droplet:
        self._refuse()

    def get(self, droplet_id: str) -> Droplet | None:
        self._refuse()

    def named(self, name: str) -> list[Droplet]:
        self._refuse()

    def tagged(self, tag: str) -> list[Droplet]:
        self._refuse()

    def destroy(self, droplet_id: str) -> bool:
        self._refuse()

    def open_firewall(self, name: str) -> None:
        self._refuse()

    def remove_firewall(self, name: str) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise Misconfigured("this function has no token for DigitalOcean's API")
