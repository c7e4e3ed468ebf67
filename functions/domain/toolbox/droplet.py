"""A droplet as DigitalOcean's API tells of it, and the names by which a toolbox finds its own again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

# Every droplet of every toolbox carries it.
TAG = "toolboxes"
IMAGE = "debian-12-x64"
# Creating knows no idempotency key, and a droplet may show late in lists and under its tags (half a minute was seen):
# only after this long is a create whose answer was not heard known to have made none.
CREATE_SETTLES_WITHIN = timedelta(seconds=90)
SMALL_MIB = 2048
TOKEN_LIFE = timedelta(minutes=60)
# Letters, digits, dashes: what DigitalOcean's slugs are made of.
SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
# In a size's slug the memory comes first, and a disk of another size than usual after it.
_MEMORY = re.compile(r"-(?P<count>[0-9]{1,4})(?P<unit>mb|gb)\b")


@dataclass(frozen=True, slots=True)
class Droplet:
    """`state` is the API's own word: new, active, off or archive. `address` is the public IPv4 one, once it has one."""

    id: str
    name: str
    state: str
    created_at: datetime
    address: str | None = None
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class NewDroplet:
    """What one create call asks for, of what differs between toolboxes. `token` lets its shim enrol, once."""

    toolbox_id: str
    name: str
    region: str
    size: str
    image: str
    token: str = field(repr=False)

    @property
    def tags(self) -> list[str]:
        return [TAG, toolbox_tag(self.toolbox_id)]


def toolbox_tag(toolbox_id: str) -> str:
    """The toolbox's own tag, which is also its firewall's name."""
    return f"toolbox-{toolbox_id}"


def droplet_name(toolbox_id: str, attempt: int) -> str:
    """Each create call asks for a name of its own, so that what it has made can be told from what others have."""
    return f"toolbox-{toolbox_id}-{attempt}"


def swap_mib(size: str) -> int:
    """Swap for a droplet of this size, by its slug: as much as its memory where that is small or unknown; else none."""
    match = _MEMORY.search(size)
    mib = int(match["count"]) * (1024 if match["unit"] == "gb" else 1) if match else SMALL_MIB
    return max(mib, 1024) if mib <= SMALL_MIB else 0
