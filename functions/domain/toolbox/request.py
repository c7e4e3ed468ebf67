"""The changes that a caller can request of an existing toolbox. Each makes a new generation."""

from __future__ import annotations

from dataclasses import replace

from functions.domain.errors import NotAllowedNow
from functions.domain.toolbox.model import LEAVING, RetiredDroplet, ShimUpgrade, Toolbox, ToolboxState, ToolboxStatus

PROVISIONING_STATUSES = (ToolboxStatus.PENDING_PROVISION, ToolboxStatus.PROVISIONING)


def request_rebuild(toolbox: Toolbox) -> Toolbox:
    """Request another droplet. The present one is destroyed once the new one serves. Raises NotAllowedNow."""
    if toolbox.status in LEAVING or toolbox.status in PROVISIONING_STATUSES:
        raise NotAllowedNow(
            f"Toolbox {toolbox.name!r} is {toolbox.status} and cannot be rebuilt now. "
            "Wait until it is active or has failed."
        )
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
    return _new_generation(replace(without, status=ToolboxStatus.PENDING_PROVISION, retired=retired))


def request_deprovision(toolbox: Toolbox) -> Toolbox:
    """Request that the droplet be destroyed. A repeat changes nothing."""
    if toolbox.desired_state is ToolboxState.DEPROVISIONED:
        return toolbox
    return _new_generation(
        replace(toolbox, desired_state=ToolboxState.DEPROVISIONED, status=ToolboxStatus.PENDING_DEPROVISION)
    )


def request_shim_upgrade(toolbox: Toolbox, image: str) -> Toolbox:
    """Request another version of the shim; `image` is by digest. Raises NotAllowedNow."""
    if toolbox.status is not ToolboxStatus.ACTIVE or not toolbox.settled:
        is_active = toolbox.status is ToolboxStatus.ACTIVE
        why = "an earlier request is not finished" if is_active else f"the toolbox is {toolbox.status}"
        raise NotAllowedNow(f"The shim of toolbox {toolbox.name!r} cannot be upgraded now: {why}. Try again later.")
    return _new_generation(replace(toolbox, upgrade=ShimUpgrade(image)))


def _new_generation(toolbox: Toolbox) -> Toolbox:
    return replace(toolbox, generation=toolbox.generation + 1, failure=None, obstacle=None, attempts=0)
