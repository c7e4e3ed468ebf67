"""Host ports: which are allocated, which of them an engine has refused, and what a reallocation leaves alone."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from functions.domain.instance.container import Port
from functions.domain.instance.host_port import (
    allocate,
    ports_to_reallocate,
    reallocate,
    refused_ports,
    with_reallocated_ports,
)
from functions.domain.instance.model import Desired, DesiredState, Instance, Observed
from functions.domain.instance.request import request_spec
from functions.domain.instance.spec import Spec

REQUESTED, FIRST, SECOND = Port(1, 20_001), Port(2, 25_000), Port(3, 25_001, "udp")
SPEC = Spec("nginx", ports=[REQUESTED, FIRST, SECOND], allocated=[FIRST, SECOND])
AT = datetime(2026, 1, 1, tzinfo=UTC)


def instance(**observed: Any) -> Instance:
    return Instance(
        id="i",
        toolbox_id="t",
        account="a",
        name="n",
        spec=SPEC,
        desired=Desired(DesiredState.RUNNING),
        created_at=AT,
        updated_at=AT,
        observed=Observed(**observed),
    )


def draws(*host_ports: int) -> Callable[[], float]:
    """Draw these host ports in turn."""
    numbers = iter(host_ports)
    return lambda: (next(numbers) - 20_000 + 0.5) / 10_000


def test_port_without_a_host_port_keeps_its_present_one_or_gets_a_random_one() -> None:
    requested = [Port(1, 20_001), Port(2, 0), Port(3, 30_000, "udp")]
    spec = allocate(Spec("nginx"), requested, [FIRST], draws(26_000))
    assert spec.ports == [REQUESTED, FIRST, Port(3, 26_000, "udp")]
    assert spec.allocated == spec.ports[1:]


def test_allocation_uses_no_host_port_twice() -> None:
    requested = [Port(1, 20_001), Port(2, 0), Port(3, 0)]
    spec = allocate(Spec("nginx"), requested, [], draws(20_001, 26_000, 26_000, 26_001))
    assert [port.host_port for port in spec.ports] == [20_001, 26_000, 26_001]


def test_reallocation_avoids_every_port_that_was_refused() -> None:
    after = reallocate(instance(refused_ports=[FIRST, Port(2, 26_000)]), [FIRST], draws(25_000, 26_000, 26_001))
    assert after.spec.ports == [REQUESTED, Port(2, 26_001), SECOND]


@pytest.mark.parametrize(
    ("message", "again", "ports"),
    [
        ("Bind for 0.0.0.0:25000 failed: port is already allocated", False, [FIRST]),
        ("Bind for 0.0.0.0:25000 failed: port is already allocated", True, [FIRST, SECOND]),
        ("error starting userland proxy: listen udp4 0.0.0.0:25001: bind: address already in use", False, [SECOND]),
        ("listen tcp6 [::]:25000: bind: address already in use", False, [FIRST]),
        ("Bind for 0.0.0.0:20001 failed: port is already allocated", False, []),
        ("Bind for 0.0.0.0:20001 failed: port is already allocated", True, []),
        ("address already in use", False, [FIRST, SECOND]),
        ("endpoint n (12:250001ab): address already in use", False, [FIRST, SECOND]),
    ],
)
def test_refusal_is_about_the_allocated_ports_that_it_names(message: str, again: bool, ports: list[Port]) -> None:
    assert refused_ports(SPEC, message, again=again) == ports


def test_reallocation_is_a_new_spec_generation_of_the_same_generation() -> None:
    other = Port(2, 26_000)
    after = with_reallocated_ports(instance(refused_ports=[FIRST], absent=True), [REQUESTED, other, SECOND])
    assert (after.spec.ports, after.spec.allocated) == ([REQUESTED, other, SECOND], [other, SECOND])
    assert (after.desired.generation, after.desired.spec_generation) == (1, 2)
    assert ports_to_reallocate(after.spec, after.observed) == []


def test_no_spec_generation_is_used_twice() -> None:
    first = with_reallocated_ports(instance(), SPEC.ports)
    second = with_reallocated_ports(first, SPEC.ports)
    updated = request_spec(second, SPEC)
    # A rollback brings the previous spec generation back; the next update must not reuse that of the failed one.
    rolled_back = replace(updated, desired=replace(updated.desired, spec_generation=second.desired.spec_generation))
    last = request_spec(rolled_back, SPEC)
    assert [each.desired.spec_generation for each in (first, second, updated, last)] == [2, 3, 4, 5]
