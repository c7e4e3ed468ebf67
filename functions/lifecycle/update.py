"""Another spec for an instance: the keys that are sent replace what stood there, the rest stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from functions.domain.errors import Contended, NotAllowedNow
from functions.domain.instance import Instance
from functions.domain.spec import Spec
from functions.domain.want import want_spec
from functions.lifecycle import host_ports, secrets
from functions.lifecycle.change import Answer, Asked, change
from functions.lifecycle.documents import claiming
from functions.lifecycle.instances import find
from functions.lifecycle.ports import Ports
from functions.lifecycle.quota import require_quota
from shim.contract import messages


@dataclass(frozen=True, slots=True)
class Changes:
    """`respec` makes the new spec of the old one; `ports`, where sent, may hold 0 or 30000: to be chosen.

    `secrets`, where sent, are all secret variables that there are to be; of None the value that is kept.
    """

    respec: Callable[[Spec], Spec]
    ports: Sequence[messages.Port] | None = None
    secrets: Mapping[str, str | None] | None = field(default=None, repr=False)


def update(ports: Ports, asked: Asked, changes: Changes, verb: str = "update") -> Answer:
    """Raises PortTaken where a host port that was asked for is another instance's, NotAllowedNow during an update."""

    def ask(instance: Instance) -> Instance:
        if instance.replacing:
            raise NotAllowedNow(f"instance {instance.name!r} is being updated; wait until that has ended")
        spec = changes.respec(instance.spec)
        if changes.ports is not None:
            spec = host_ports.mapped(ports, spec, changes.ports, instance.spec.ports)
        if changes.secrets is not None:
            spec = secrets.set_secrets(ports.vault, instance, spec, changes.secrets)
        require_quota(ports, instance.account, spec, instead_of=instance.spec)
        secrets.require_fit(ports.vault, instance, spec)
        return want_spec(instance, spec)

    try:
        return change(ports, asked, verb, ask, lambda before, after: claiming(after, before))
    except Contended:
        _, found = find(ports, asked.caller, asked.toolbox_id, asked.key)
        host_ports.refuse_taken(ports, found.value.toolbox_id, changes.ports or [], but=found.value.id)
        raise


def replace_secrets(ports: Ports, asked: Asked, values: Mapping[str, str]) -> Answer:
    """The secret variables named in `values` get these, the others stay; the container is made anew and proven."""

    def merged(instance: Instance) -> dict[str, str | None]:
        kept = instance.spec.secrets.names if instance.spec.secrets else []
        return {**dict.fromkeys(kept), **values}

    _, found = find(ports, asked.caller, asked.toolbox_id, asked.key)
    return update(ports, asked, Changes(lambda spec: spec, secrets=merged(found.value)), "rotate")
