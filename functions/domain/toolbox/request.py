"""What an account may ask of a toolbox that it has. Each asking is a new generation."""

from __future__ import annotations

from dataclasses import replace

from functions.domain.errors import NotAllowedNow
from functions.domain.toolbox.model import LEAVING, RetiredDroplet, ShimUpgrade, Toolbox, ToolboxState, ToolboxStatus

BEING_MADE = (ToolboxStatus.PENDING_PROVISION, ToolboxStatus.PROVISIONING)


def request_rebuild(toolbox: Toolbox) -> Toolbox:
    """Ask for another droplet; the present one goes when that one serves. Raises NotAllowedNow."""
    if toolbox.status in LEAVING or toolbox.status in BEING_MADE:
        raise NotAllowedNow(f"toolbox {toolbox.name!r} is {toolbox.status}")
    retired = toolbox.retired
    if toolbox.droplet_id:
        before = RetiredDroplet(toolbox.droplet_id, toolbox.droplet_name, toolbox.address, toolbox.fingerprint)
        retired = [*retired, before]
    without = replace(
        toolbox,
        droplet_id=None,
        droplet_name=None,
        droplet_state=None,
        address=None,
        fingerprint=None,
        certificate=None,
        served_at=None,
        shim_image=None,
        metrics=None,
        etag="",
        orphans={},
        upgrade=None,
        needs_redeploy=True,
    )
    return _asked(replace(without, status=ToolboxStatus.PENDING_PROVISION, retired=retired))


def request_deprovision(toolbox: Toolbox) -> Toolbox:
    """Ask for the end of it. Once more is no other wish."""
    if toolbox.desired_state is ToolboxState.DEPROVISIONED:
        return toolbox
    return _asked(replace(toolbox, desired_state=ToolboxState.DEPROVISIONED, status=ToolboxStatus.PENDING_DEPROVISION))


def request_shim_upgrade(toolbox: Toolbox, image: str) -> Toolbox:
    """Ask for another shim, by digest. Raises NotAllowedNow."""
    if toolbox.status is not ToolboxStatus.ACTIVE or not toolbox.settled:
        told = "not all is as it was asked for" if toolbox.status is ToolboxStatus.ACTIVE else f"it is {toolbox.status}"
        raise NotAllowedNow(f"the shim of toolbox {toolbox.name!r} cannot be upgraded now: {told}")
    return _asked(replace(toolbox, upgrade=ShimUpgrade(image)))


def _asked(toolbox: Toolbox) -> Toolbox:
    return replace(toolbox, generation=toolbox.generation + 1, failure=None, obstacle=None, attempts=0)
