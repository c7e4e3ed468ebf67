"""A toolbox's shim replaced by the configured one: asked for as any upgrade, and seen to its end where that is soon."""

from __future__ import annotations

from datetime import timedelta

from functions.domain.errors import ShimNotReplaced
from functions.domain.toolbox import Toolbox
from functions.lifecycle.ports import Ports
from functions.lifecycle.provision import Answer
from functions.lifecycle.toolbox_change import AskedOfToolbox, upgrade_shim
from functions.lifecycle.toolboxes import get

SEEN_WITHIN = timedelta(seconds=25)
LOOK_EVERY_SECONDS = 0.5


def redeploy(ports: Ports, asked: AskedOfToolbox, image: str) -> Answer:
    """The toolbox once that shim has answered, or as it stands. Raises NotAllowedNow, ShimNotReplaced."""
    answer = upgrade_shim(ports, asked, image)
    if not isinstance(answer, Toolbox):
        return answer
    until, toolbox = ports.now() + SEEN_WITHIN, answer
    while not toolbox.settled and ports.now() < until:
        ports.pause(LOOK_EVERY_SECONDS)
        toolbox = get(ports, asked.caller, asked.toolbox_id)
    if toolbox.settled and toolbox.shim_image != image:
        why = toolbox.given_up
        raise ShimNotReplaced(f"the shim was not replaced: {why.message if why else 'another one answers'}")
    if toolbox.settled and asked.replay:
        ports.store.commit([asked.replay.answered(toolbox)])
    return toolbox
