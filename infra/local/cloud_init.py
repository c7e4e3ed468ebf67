"""The user-data that makes a droplet a toolbox: infra/cloud-init.yaml, filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from string import Template

from infra.local import world


def render(toolbox_id: str, control_keys: Mapping[str, str], shim_image: str) -> str:
    """`control_keys` are base64url raw Ed25519 public keys by their kid; `shim_image` is a reference by digest."""
    template = Template((world.CHECKOUT / "infra/cloud-init.yaml").read_text())
    return template.substitute(
        toolbox_id=toolbox_id, control_keys=json.dumps(dict(control_keys)), shim_image=shim_image
    )
