"""What an account may ask of a toolbox that it has. Each asking is a new generation."""

from __future__ import annotations

from dataclasses import replace

from functions.domain.errors import NotAllowedNow
from functions.domain.toolbox import LEAVING, Retired, Toolbox, ToolboxStatus, Upgrade, Wanted

BEING_MADE = (ToolboxStatus.PENDING_PROVISION, ToolboxStatus.PROVISIONING)


def want_rebuilt(toolbox: Toolbox) -> Toolbox:
    """Ask for another droplet; the present one goes when that one serves. Raises NotAllowedNow."""
    if toolbox.status in LEAVING or toolbox.status in BEING_MADE:
        raise NotAllowedNow(f"toolbox {toolbox.name!r} is {toolbox.status}")
    retired = toolbox.retired
    if toolbox.droplet_id:
        before = Retired(toolbox.droplet_id, toolbox.droplet_name, toolbox.address, toolbox.fingerprint)
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
        strangers={},
        upgrade=None,
        redeploy=True,
    )
    return _asked(replace(without, status=ToolboxStatus.PENDING_PROVISION, retired=retired))


def want_gone(toolbox: Toolbox) -> Toolbox:
    """Ask for the end of it. Once more is no other wish."""
    if toolbox.wanted is Wanted.DEPROVISIONED:
        return toolbox
    return _asked(replace(toolbox, wanted=Wanted.DEPROVISIONED, status=ToolboxStatus.PENDING_DEPROVISION))


def want_shim(toolbox: Toolbox, image: str) -> Toolbox:
    """Ask for another shim, by digest. Raises NotAllowedNow."""
    if toolbox.status is not ToolboxStatus.ACTIVE or not toolbox.settled:
        told = "not all is as it was asked for" if toolbox.status is ToolboxStatus.ACTIVE else f"it is {toolbox.status}"
        raise NotAllowedNow(f"the shim of toolbox {toolbox.name!r} cannot be upgraded now: {told}")
    return _asked(replace(toolbox, upgrade=Upgrade(image)))


def _asked(toolbox: Toolbox) -> Toolbox:
    return replace(toolbox, generation=toolbox.generation + 1, failure=None, trouble=None, attempts=0)
