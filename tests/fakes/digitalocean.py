"""DigitalOcean's API in memory, with the properties that make the real one hard to use.

Creating a droplet has no idempotency key, so each call that arrives makes a droplet. Tags and lists may lag behind. A
test can make a call fail before it takes effect or after.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from functions.domain.toolbox.droplet import Droplet, NewDroplet

NONE = timedelta(0)
FIRST = 500_000_001


@dataclass
class ApiFault:
    """Raised at the next call named `call` (None: any call), before it takes effect or `after`."""

    error: Exception
    call: str | None = None
    after: bool = False


@dataclass
class FakeDigitalOcean:
    """The API of one account.

    Attributes:
        tags_late: How long a new droplet has no tags.
        lists_late: How long a new droplet is in no list.
        destroy_takes: How long a destroyed droplet still exists.
        create_requests: The request of each create call, by the id of the droplet that it made.
        calls: The name of every call.
    """

    now: Callable[[], datetime]
    tags_late: timedelta = NONE
    lists_late: timedelta = NONE
    destroy_takes: timedelta = NONE
    faults: list[ApiFault] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    create_requests: dict[str, NewDroplet] = field(default_factory=dict)
    firewalls: set[str] = field(default_factory=set)
    before_call: Callable[[str], None] | None = None
    _droplets: dict[str, Droplet] = field(default_factory=dict)
    _destroyed_at: dict[str, datetime] = field(default_factory=dict)
    _ids: Any = field(default_factory=lambda: itertools.count(FIRST))

    @property
    def droplets(self) -> dict[str, Droplet]:
        """The droplets that exist, as the owner of the account sees them."""
        now = self.now()
        return {
            key: droplet
            for key, droplet in self._droplets.items()
            if key not in self._destroyed_at or self._destroyed_at[key] > now
        }

    def add(self, name: str, tags: list[str]) -> Droplet:
        """Add a droplet that somebody else made."""
        key = str(next(self._ids))
        made = Droplet(key, name, "active", self.now(), f"192.0.2.{int(key) - FIRST + 1}", tags)
        self._droplets[key] = made
        return made

    def vanish(self, droplet_id: str) -> None:
        """Destroy a droplet by hand."""
        del self._droplets[droplet_id]

    def create(self, new: NewDroplet) -> Droplet:
        self._arrive("create")
        made = replace(self.add(new.name, new.tags), created_at=self.now())
        self._droplets[made.id] = made
        self.create_requests[made.id] = new
        self._leave("create")
        # The answer to a create call has no address yet.
        return replace(made, state="new", address=None, tags=[])

    def get(self, droplet_id: str) -> Droplet | None:
        self._arrive("get")
        return self._shown(self.droplets[droplet_id]) if droplet_id in self.droplets else None

    def list_by_name(self, name: str) -> list[Droplet]:
        self._arrive("list_by_name")
        return [droplet for droplet in self._listed() if droplet.name == name]

    def list_by_tag(self, tag: str) -> list[Droplet]:
        self._arrive("list_by_tag")
        return [droplet for droplet in self._listed() if tag in droplet.tags]

    def destroy(self, droplet_id: str) -> bool:
        self._arrive("destroy")
        existed = droplet_id in self.droplets
        if existed and droplet_id not in self._destroyed_at:
            if self.destroy_takes:
                self._destroyed_at[droplet_id] = self.now() + self.destroy_takes
            else:
                del self._droplets[droplet_id]
        self._leave("destroy")
        return existed

    def open_firewall(self, name: str) -> None:
        self._arrive("open_firewall")
        self.firewalls.add(name)
        self._leave("open_firewall")

    def remove_firewall(self, name: str) -> None:
        self._arrive("remove_firewall")
        self.firewalls.discard(name)
        self._leave("remove_firewall")

    def newest(self) -> tuple[NewDroplet, str, str | None]:
        """Return the create request, the id and the address of the newest droplet."""
        key = max(self.create_requests, key=int)
        return self.create_requests[key], key, self.droplets[key].address

    def regions(self) -> list[dict[str, Any]]:
        self._arrive("regions")
        return [{"slug": "fra1", "name": "Frankfurt 1", "features": [], "sizes": ["s-1vcpu-1gb"], "available": True}]

    def sizes(self) -> list[dict[str, Any]]:
        self._arrive("sizes")
        size = {"slug": "s-1vcpu-1gb", "description": "Basic", "memory": 1024, "vcpus": 1, "disk": 25, "transfer": 1.0}
        price = {"price_monthly": 6.0, "price_hourly": 0.00893, "regions": ["fra1"], "available": True}
        return [{**size, **price, "disk_info": []}]

    def _listed(self) -> list[Droplet]:
        return [
            self._shown(droplet)
            for droplet in self.droplets.values()
            if self.now() - droplet.created_at >= self.lists_late
        ]

    def _shown(self, droplet: Droplet) -> Droplet:
        return droplet if self.now() - droplet.created_at >= self.tags_late else replace(droplet, tags=[])

    def _arrive(self, call: str) -> None:
        if self.before_call:
            self.before_call(call)
        self.calls.append(call)
        self._fail(call, after=False)

    def _leave(self, call: str) -> None:
        self._fail(call, after=True)

    def _fail(self, call: str, *, after: bool) -> None:
        for fault in self.faults:
            if fault.after is after and fault.call in (None, call):
                self.faults.remove(fault)
                raise fault.error
