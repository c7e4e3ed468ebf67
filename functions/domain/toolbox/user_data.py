"""The user-data that makes a droplet a toolbox: infra/cloud-init.yaml, filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template

from functions.domain.errors import Misconfigured

# DigitalOcean's own limit: https://docs.digitalocean.com/reference/api/digitalocean/#operation/droplets_create
MAX_BYTES = 64 * 1024
# It goes into a shell's words, so it is held to what a reference by digest may be.
IMAGE = re.compile(r"[a-z0-9][a-z0-9.:/_-]{0,254}@sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class UserData:
    """What differs between droplets. `control_keys`: base64url raw Ed25519 public keys by their kid.

    `shim_image` is a reference by digest; `swap_mib` is 0 for none. `enrolment_token` alone is a secret: it enrols one
    droplet of this toolbox, once.
    """

    toolbox_id: str
    enrol_url: str
    notify_url: str
    enrolment_token: str
    control_keys: Mapping[str, str]
    shim_image: str
    swap_mib: int


def render(template: str, values: UserData) -> str:
    """`template` is the text of infra/cloud-init.yaml. Raises Misconfigured where no droplet could boot with it."""
    if not IMAGE.fullmatch(values.shim_image):
        raise Misconfigured(f"the shim's image must be a reference by digest, not {values.shim_image!r}")
    configuration = {
        "toolbox_id": values.toolbox_id,
        "control_keys": dict(values.control_keys),
        "enrol_url": values.enrol_url,
        "notify_url": values.notify_url,
        "enrolment_token": values.enrolment_token,
        "shim_repository": values.shim_image.partition("@")[0],
    }
    # In ASCII and on one line, as JSON is written here, no value can leave its place in the YAML.
    rendered = Template(template).substitute(
        configuration=json.dumps(configuration), shim_image=values.shim_image, swap_mib=values.swap_mib
    )
    if len(rendered) > MAX_BYTES:
        raise Misconfigured(f"user-data of {len(rendered)} bytes is more than the {MAX_BYTES} that a droplet can have")
    return rendered
