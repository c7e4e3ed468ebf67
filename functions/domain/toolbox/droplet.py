"""A droplet as DigitalOcean's API describes it, the names by which a toolbox finds its own, and its user-data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from string import Template

from functions.domain.errors import Misconfigured

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


# The user-data with which a new droplet boots: infra/cloud-init.yaml with the toolbox's values filled in.

# DigitalOcean's own limit: https://docs.digitalocean.com/reference/api/digitalocean/#operation/droplets_create
MAX_BYTES = 64 * 1024
# The image becomes an argument of a shell command, so that nothing but a reference by digest may be in it.
IMAGE_BY_DIGEST = re.compile(r"[a-z0-9][a-z0-9.:/_-]{0,254}@sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class UserData:
    """The values that differ between droplets.

    `control_keys` are raw Ed25519 public keys in base64url by their key ids. `shim_image` is by digest. `swap_mib` is 0
    for no swap. Only `enrolment_token` is secret: it enrols one droplet of this toolbox, once.
    """

    toolbox_id: str
    enrol_url: str
    notify_url: str
    enrolment_token: str
    control_keys: Mapping[str, str]
    shim_image: str
    swap_mib: int


def render(template: str, values: UserData) -> str:
    """Fill in `template`, the text of infra/cloud-init.yaml.

    Raises Misconfigured where a droplet could not boot with the result.
    """
    if not IMAGE_BY_DIGEST.fullmatch(values.shim_image):
        raise Misconfigured(f"SHIM_IMAGE must be an image by digest, and is {values.shim_image!r}.")
    configuration = {
        "toolbox_id": values.toolbox_id,
        "control_keys": dict(values.control_keys),
        "enrol_url": values.enrol_url,
        "notify_url": values.notify_url,
        "enrolment_token": values.enrolment_token,
        "shim_repository": values.shim_image.partition("@")[0],
    }
    # json.dumps writes ASCII on one line, so no value can end its place in the YAML.
    rendered = Template(template).substitute(
        configuration=json.dumps(configuration), shim_image=values.shim_image, swap_mib=values.swap_mib
    )
    if len(rendered) > MAX_BYTES:
        raise Misconfigured(
            f"The user-data has {len(rendered)} bytes, more than the {MAX_BYTES} that DigitalOcean accepts. "
            "Shorten infra/cloud-init.yaml."
        )
    return rendered
