"""A droplet as DigitalOcean's API describes it, and the names and tags by which a toolbox finds its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

# The tag of every droplet of every toolbox.
TAG = "toolboxes"
IMAGE = "debian-12-x64"
# A create call has no idempotency key, and a new droplet can appear in lists and under its tags half a minute late.
# Only when it has not appeared for this long did a create call without an answer create nothing.
CREATE_SETTLES_WITHIN = timedelta(seconds=90)
# Droplets with at most this much memory get swap.
SMALL_MIB = 2048
TOKEN_LIFE = timedelta(minutes=60)
# What DigitalOcean's slugs of regions, sizes and images look like.
SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
# The memory in a size's slug, such as s-1vcpu-2gb. It comes first; the size of an extra disk may follow.
_MEMORY = re.compile(r"-(?P<count>[0-9]{1,4})(?P<unit>mb|gb)\b")


@dataclass(frozen=True, slots=True)
class Droplet:
    """A droplet. `state` is the API's value: new, active, off or archive. `address` is its public IPv4 address."""

    id: str
    name: str
    state: str
    created_at: datetime
    address: str | None = None
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class NewDroplet:
    """The values of a create call that differ between toolboxes. With `token` the droplet's shim enrols, once."""

    toolbox_id: str
    name: str
    region: str
    size: str
    image: str
    token: str = field(repr=False)

    @property
    def tags(self) -> list[str]:
        """The tag of all toolboxes, and the tag of this one."""
        return [TAG, toolbox_tag(self.toolbox_id)]


def toolbox_tag(toolbox_id: str) -> str:
    """The toolbox's own tag, which is also its firewall's name."""
    return f"toolbox-{toolbox_id}"


def droplet_name(toolbox_id: str, attempt: int) -> str:
    """The name of a create call's droplet: different for each call, so that the droplet of a lost call is found."""
    return f"toolbox-{toolbox_id}-{attempt}"


def swap_mib(size: str) -> int:
    """Swap for a droplet, by its size's slug: as much as its memory where that is small or unknown, otherwise 0."""
    match = _MEMORY.search(size)
    mib = int(match["count"]) * (1024 if match["unit"] == "gb" else 1) if match else SMALL_MIB
    return max(mib, 1024) if mib <= SMALL_MIB else 0
