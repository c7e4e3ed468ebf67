"""The user-data with which a new droplet boots: infra/cloud-init.yaml with the toolbox's values filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template

from functions.domain.errors import Misconfigured

# DigitalOcean's own limit: https://docs.digitalocean.com/reference/api/digitalocean/#operation/droplets_create
MAX_BYTES = 64 * 1024
# The image becomes an argument of a shell command, so that nothing but a reference by digest may be in it.
IMAGE = re.compile(r"[a-z0-9][a-z0-9.:/_-]{0,254}@sha256:[0-9a-f]{64}")


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
    if not IMAGE.fullmatch(values.shim_image):
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
