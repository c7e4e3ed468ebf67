"""What an operation has come to, in words that two runs of it can be compared by; and what must hold in any case."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from functions.domain.instance.model import Instance
from functions.lifecycle.dependencies import Query
from functions.lifecycle.repository import INSTANCES, NAME_RESERVATIONS, PORT_RESERVATIONS, decode, reservations
from tests.faults.place import Place


@dataclass(frozen=True)
class Outcome:
    """Nothing in here names an id or a time: those differ from run to run."""

    instances: list[tuple[Any, ...]]
    containers: list[tuple[Any, ...]]
    reservations: list[str]
    ends: list[tuple[int, str, str]]
    told: list[tuple[int, str]]
    post_mortems: int
    images: list[str]
    acts: list[str]


def outcome(place: Place) -> Outcome:
    instances = all_instances(place)
    events = [
        event for instance in instances for event in documents(place, f"{INSTANCES}/{instance.id}/events", "time")
    ]
    kept = [one for instance in instances for one in documents(place, f"{INSTANCES}/{instance.id}/post_mortems")]
    last = {e["generation"]: e for e in events if e["type"] in ("status_changed", "deleted")}
    return Outcome(
        [_told(instance) for instance in instances],
        sorted((c.spec_generation, c.state, c.image) for c in place.droplet.containers.values()),
        sorted(c["name"] for kind in (NAME_RESERVATIONS, PORT_RESERVATIONS) for c in documents(place, kind)),
        sorted((generation, event["type"], event["after"]) for generation, event in last.items()),
        sorted((e["generation"], e["type"]) for e in events if e["type"] not in ("status_changed", "deleted")),
        len(kept),
        sorted(place.droplet.images),
        list(place.droplet.acts),
    )


def check(place: Place) -> None:
    """Nothing is left to do, nothing is held by nobody, and nothing was told twice."""
    known: set[str] = set()
    held = set()
    for instance in all_instances(place):
        assert instance.settled and instance.lease is None and instance.due_at is None, instance
        if not instance.deleted_at:
            assert instance.previous_version is None and instance.observed.previous is None, instance
            known.add(instance.container_name)
            held |= set(reservations(instance))
        events = documents(place, f"{INSTANCES}/{instance.id}/events")
        told = Counter((e["generation"], e["type"], e["before"], e["after"], e["detail"]) for e in events)
        assert max(told.values()) == 1, [event for event, times in told.items() if times > 1]
        asked = [event["generation"] for event in events if event["type"].endswith("_requested")]
        assert sorted(asked) == list(range(1, instance.desired.generation + 1)), "one request a generation"
    assert set(place.droplet.containers) <= known, "a container of nobody"
    found = {
        snapshot.ref for kind in (NAME_RESERVATIONS, PORT_RESERVATIONS) for snapshot in place.store.query(Query(kind))
    }
    assert found == held, "a claim of nobody, or one that is missing"


def documents(place: Place, collection: str, order_by: str | None = None) -> list[dict[str, Any]]:
    return [snapshot.data for snapshot in place.store.query(Query(collection, order_by=order_by))]


def all_instances(place: Place) -> list[Instance]:
    found = [decode(Instance, snapshot) for snapshot in place.store.query(Query(INSTANCES))]
    return [loaded.value for loaded in found if loaded]


def _told(instance: Instance) -> tuple[Any, ...]:
    desired, trouble = instance.desired, instance.observed.obstacle
    return (
        instance.name,
        instance.status.value,
        (desired.state.value, desired.generation, desired.spec_generation),
        (instance.spec.image, [(p.container_port, p.host_port) for p in instance.spec.ports if p.host_port < 20_010]),
        instance.failure.code if instance.failure else trouble.code if trouble else None,
        instance.deleted_at is not None,
    )
