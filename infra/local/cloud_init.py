"""The user-data of a world's droplet."""

from __future__ import annotations

from collections.abc import Mapping

from functions.domain import user_data
from functions.domain.user_data import UserData
from infra.local import world


def render(toolbox_id: str, control_keys: Mapping[str, str], shim_image: str) -> str:
    """`control_keys` are base64url raw Ed25519 public keys by their kid; `shim_image` is a reference by digest."""
    nobody = f"https://{world.NETWORK_GATEWAY}:1"
    values = UserData(toolbox_id, f"{nobody}/enrol", f"{nobody}/notify", "none", control_keys, shim_image, swap_mib=0)
    return user_data.render((world.CHECKOUT / "infra/cloud-init.yaml").read_text(), values)
