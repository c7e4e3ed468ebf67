"""What an instance's container uses, measured as it is asked."""

from __future__ import annotations

from functions.domain.caller import Caller
from functions.lifecycle import container
from functions.lifecycle.instances import find
from functions.lifecycle.ports import Ports
from shim.contract import messages, routes


def read(ports: Ports, caller: Caller, toolbox_id: str, key: str) -> messages.Stats:
    """Takes two seconds. Raises NotAllowedNow where it does not run."""
    toolbox, found = find(ports, caller, toolbox_id, key)
    answer = container.ask(ports, toolbox, found.value, routes.STATS)
    assert isinstance(answer, messages.Stats)
    return answer
