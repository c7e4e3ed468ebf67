"""What an operation has come to, in a form in which two runs can be compared, and what must hold after any run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from functions.domain.instance.model import Instance
from functions.lifecycle.dependencies import Query
from functions.lifecycle.repository import INSTANCES, NAME_RESERVATIONS, PORT_RESERVATIONS, reservations
from tests.fakes.stored import decode
from tests.faults.environment import Environment

# The last status and the deletion are compared by themselves: how a run got there may differ.
STATUS_EVENTS = ("status_changed", "deleted")


@dataclass(frozen=True)
class Outcome:
    """Without ids and times, which differ between runs. `changes` are those made on the droplet."""

    instances: list[tuple[Any, ...]]
    containers: list[tuple[Any, ...]]
    reservations: list[str]
    last_statuses: list[tuple[int, str, str]]
    events: list[tuple[int, str]]
    post_mortems: int
    images: list[str]
    changes: list[str]


def outcome(env: Environment) -> Outcome:
    """Read the outcome from the store and the droplet."""
    instances = all_instances(env)
    events = [event for instance in instances for event in documents(env, f"{INSTANCES}/{instance.id}/events", "time")]
    post_mortems = [
        entry for instance in instances for entry in documents(env, f"{INSTANCES}/{instance.id}/post_mortems")
    ]
    last = {event["generation"]: event for event in events if event["type"] in STATUS_EVENTS}
    return Outcome(
        [_comparable(instance) for instance in instances],
        sorted((c.spec_generation, c.state, c.image) for c in env.droplet.containers.values()),
        sorted(c["name"] for kind in (NAME_RESERVATIONS, PORT_RESERVATIONS) for c in documents(env, kind)),
        sorted((generation, event["type"], event["after"]) for generation, event in last.items()),
        sorted((event["generation"], event["type"]) for event in events if event["type"] not in STATUS_EVENTS),
        len(post_mortems),
        sorted(env.droplet.images),
        list(env.droplet.changes),
    )


def check(env: Environment) -> None:
    """Assert that nothing is left to do, that nothing is orphaned, and that no event was recorded twice."""
    expected_containers: set[str] = set()
    expected_reservations = set()
    for instance in all_instances(env):
        assert instance.settled and instance.lease is None and instance.due_at is None, instance
        if not instance.deleted_at:
            assert instance.previous_version is None and instance.observed.previous is None, instance
            expected_containers.add(instance.container_name)
            expected_reservations |= set(reservations(instance))
        events = documents(env, f"{INSTANCES}/{instance.id}/events")
        counts = Counter((e["generation"], e["type"], e["before"], e["after"], e["detail"]) for e in events)
        assert max(counts.values()) == 1, [event for event, count in counts.items() if count > 1]
        requested = [event["generation"] for event in events if event["type"].endswith("_requested")]
        assert sorted(requested) == list(range(1, instance.desired.generation + 1)), "one request a generation"
    assert set(env.droplet.containers) <= expected_containers, "an orphan container"
    kinds = (NAME_RESERVATIONS, PORT_RESERVATIONS)
    found = {snapshot.ref for kind in kinds for snapshot in env.store.query(Query(kind))}
    assert found == expected_reservations, "a reservation without an instance, or one that is missing"


def documents(env: Environment, collection: str, order_by: str | None = None) -> list[dict[str, Any]]:
    return [snapshot.data for snapshot in env.store.query(Query(collection, order_by=order_by))]


def all_instances(env: Environment) -> list[Instance]:
    found = [decode(Instance, snapshot) for snapshot in env.store.query(Query(INSTANCES))]
    return [loaded.value for loaded in found if loaded]


def _comparable(instance: Instance) -> tuple[Any, ...]:
    desired, obstacle = instance.desired, instance.observed.obstacle
    # Allocated host ports differ between runs; requested ones lie below.
    ports = [(p.container_port, p.host_port) for p in instance.spec.ports if p.host_port < 20_010]
    return (
        instance.name,
        instance.status.value,
        (desired.state.value, desired.generation, desired.spec_generation),
        (instance.spec.image, ports),
        instance.failure.code if instance.failure else obstacle.code if obstacle else None,
        instance.deleted_at is not None,
    )
