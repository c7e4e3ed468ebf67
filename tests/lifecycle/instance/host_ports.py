"""Host ports that are taken on the droplet, and those that an instance has and claims."""

from __future__ import annotations

from functions.domain.instance.model import Instance
from functions.lifecycle.dependencies import Query
from functions.lifecycle.repository import INSTANCES, PORT_RESERVATIONS
from shim.contract import routes
from shim.contract.routes import Route
from tests.fakes.world import World

# Host ports that no test asks for by their number.
DRAWN = set(range(20_010, 30_000))


def refusing_the_first(world: World) -> None:
    """The host ports of the next container that is started are kept from it for ever."""

    def keep(route: Route, name: str) -> None:
        if route is routes.START:
            world.droplet.before_command = None
            world.droplet.held_ports |= {port.host_port for port in world.droplet.containers[name].ports} & DRAWN

    world.droplet.before_command = keep


def reallocations(world: World, instance: Instance) -> list[str]:
    events = world.store.query(Query(f"{INSTANCES}/{instance.id}/events", order_by="time"))
    return [event.data["detail"] for event in events if event.data["type"] == "port_redrawn"]


def claimed(world: World) -> list[str]:
    return sorted(snapshot.ref.id.split(":")[1] for snapshot in world.store.query(Query(PORT_RESERVATIONS)))


def host_ports(instance: Instance) -> list[int]:
    return [port.host_port for port in instance.spec.ports]
