"""Make host ports unavailable on the droplet; read what an instance has allocated and reserved."""

from __future__ import annotations

from functions.domain.instance.model import Instance
from functions.lifecycle.dependencies import Query
from functions.lifecycle.repository import INSTANCES, PORT_RESERVATIONS
from shim.contract import routes
from shim.contract.routes import Route
from tests.fakes.world import World

# Host ports that no test requests by number: the control plane allocated them.
ALLOCATABLE = set(range(20_010, 30_000))


def occupy_ports_at_first_start(world: World) -> None:
    """At the next start of a container, another process holds that container's allocated host ports for good."""

    def occupy(route: Route, name: str) -> None:
        if route is routes.START:
            world.droplet.before_command = None
            world.droplet.held_ports |= {port.host_port for port in world.droplet.containers[name].ports} & ALLOCATABLE

    world.droplet.before_command = occupy


def reallocations(world: World, instance: Instance) -> list[str]:
    events = world.store.query(Query(f"{INSTANCES}/{instance.id}/events", order_by="time"))
    return [event.data["detail"] for event in events if event.data["type"] == "port_reallocated"]


def reserved_ports(world: World) -> list[str]:
    return sorted(snapshot.ref.id.split(":")[1] for snapshot in world.store.query(Query(PORT_RESERVATIONS)))


def host_ports(instance: Instance) -> list[int]:
    return [port.host_port for port in instance.spec.ports]
