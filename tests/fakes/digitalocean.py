"""DigitalOcean's API in memory: a hand-written stand-in with its bad habits, and droplets that boot when told to.

Creating knows no idempotency key: each call that gets through makes a droplet. Tags and lists may lag behind. It can
be told to fail before an act, after it, or to be slow about it.
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
    """Raised at the next `call` (None: any), `after` its act was done or before."""

    error: Exception
    call: str | None = None
    after: bool = False


@dataclass
class FakeDigitalOcean:
    """`tags_late`, `lists_late`: how long a new droplet has no tags, and shows in no list.

    `asked` keeps what each create call asked for, by the droplet's id. `calls` names every call. A droplet that is to
    be destroyed is there for `goes_in` yet.
    """

    now: Callable[[], datetime]
    tags_late: timedelta = NONE
    lists_late: timedelta = NONE
    goes_in: timedelta = NONE
    faults: list[ApiFault] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    asked: dict[str, NewDroplet] = field(default_factory=dict)
    firewalls: set[str] = field(default_factory=set)
    before_call: Callable[[str], None] | None = None
    _droplets: dict[str, Droplet] = field(default_factory=dict)
    _gone_at: dict[str, datetime] = field(default_factory=dict)
    _ids: Any = field(default_factory=lambda: itertools.count(FIRST))

    @property
    def droplets(self) -> dict[str, Droplet]:
        """What is there, as the account's owner would see it."""
        now = self.now()
        return {key: one for key, one in self._droplets.items() if key not in self._gone_at or self._gone_at[key] > now}

    def add(self, name: str, tags: list[str]) -> Droplet:
        """One that somebody else made."""
        key = str(next(self._ids))
        made = Droplet(key, name, "active", self.now(), f"192.0.2.{int(key) - FIRST + 1}", tags)
        self._droplets[key] = made
        return made

    def vanish(self, droplet_id: str) -> None:
        """Destroyed by hand."""
        del self._droplets[droplet_id]

    def create(self, new: NewDroplet) -> Droplet:
        self._arrive("create")
        made = replace(self.add(new.name, new.tags), created_at=self.now())
        self._droplets[made.id] = made
        self.asked[made.id] = new
        self._leave("create")
        # Its address comes later.
        return replace(made, state="new", address=None, tags=[])

    def get(self, droplet_id: str) -> Droplet | None:
        self._arrive("get")
        return self._shown(self.droplets[droplet_id]) if droplet_id in self.droplets else None

    def list_by_name(self, name: str) -> list[Droplet]:
        self._arrive("list_by_name")
        return [one for one in self._listed() if one.name == name]

    def list_by_tag(self, tag: str) -> list[Droplet]:
        self._arrive("list_by_tag")
        return [one for one in self._listed() if tag in one.tags]

    def destroy(self, droplet_id: str) -> bool:
        self._arrive("destroy")
        there = droplet_id in self.droplets
        if there and droplet_id not in self._gone_at:
            if self.goes_in:
                self._gone_at[droplet_id] = self.now() + self.goes_in
            else:
                del self._droplets[droplet_id]
        self._leave("destroy")
        return there

    def open_firewall(self, name: str) -> None:
        self._arrive("open_firewall")
        self.firewalls.add(name)
        self._leave("open_firewall")

    def remove_firewall(self, name: str) -> None:
        self._arrive("remove_firewall")
        self.firewalls.discard(name)
        self._leave("remove_firewall")

    def newest(self) -> tuple[NewDroplet, str, str | None]:
        """What the droplet that was made last knows of itself: its user-data, its id and its address."""
        key = max(self.asked, key=int)
        return self.asked[key], key, self.droplets[key].address

    def regions(self) -> list[dict[str, Any]]:
        self._arrive("regions")
        return [{"slug": "fra1", "name": "Frankfurt 1", "features": [], "sizes": ["s-1vcpu-1gb"], "available": True}]

    def sizes(self) -> list[dict[str, Any]]:
        self._arrive("sizes")
        size = {"slug": "s-1vcpu-1gb", "description": "Basic", "memory": 1024, "vcpus": 1, "disk": 25, "transfer": 1.0}
        price = {"price_monthly": 6.0, "price_hourly": 0.00893, "regions": ["fra1"], "available": True}
        return [{**size, **price, "disk_info": []}]

    def _listed(self) -> list[Droplet]:
        return [self._shown(one) for one in self.droplets.values() if self.now() - one.created_at >= self.lists_late]

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
