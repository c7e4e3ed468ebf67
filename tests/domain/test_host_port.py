"""Which host ports an engine has refused, by its words; and that what the account asked for stays the same."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from functions.domain.instance.container import Port
from functions.domain.instance.host_port import ports_to_reallocate, refused_ports, with_reallocated_ports
from functions.domain.instance.model import Desired, DesiredState, Instance, Observed
from functions.domain.instance.request import request_spec
from functions.domain.instance.spec import Spec

ASKED, FIRST, SECOND = Port(1, 20_001), Port(2, 25_000), Port(3, 25_001, "udp")
SPEC = Spec("nginx", ports=[ASKED, FIRST, SECOND], allocated=[FIRST, SECOND])
AT = datetime(2026, 1, 1, tzinfo=UTC)


def instance(**observed: object) -> Instance:
    return Instance(
        id="i", toolbox_id="t", account="a", name="n", spec=SPEC, desired=Desired(DesiredState.RUNNING),
        created_at=AT, updated_at=AT, observed=Observed(**observed),  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "again", "ports"),
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
def test_a_refusal_is_about_the_ports_that_it_names(said: str, again: bool, ports: list[Port]) -> None:
    assert refused_ports(SPEC, said, again=again) == ports


def test_a_redraw_is_a_spec_generation_and_no_generation() -> None:
    other = Port(2, 26_000)
    after = with_reallocated_ports(instance(refused_ports=[FIRST], absent=True), [ASKED, other, SECOND])
    assert (after.spec.ports, after.spec.allocated) == ([ASKED, other, SECOND], [other, SECOND])
    assert (
        after.desired.generation,
        after.desired.spec_generation,
        ports_to_reallocate(after.spec, after.observed),
    ) == (
        1,
        2,
        [],
    )


def test_no_spec_generation_is_used_twice() -> None:
    once = with_reallocated_ports(instance(), SPEC.ports)
    twice = with_reallocated_ports(once, SPEC.ports)
    asked = request_spec(twice, SPEC)
    # As after an update that was given up: the next one is not named as that was.
    back = replace(asked, desired=replace(asked.desired, spec_generation=twice.desired.spec_generation))
    last = request_spec(back, SPEC)
    assert [one.desired.spec_generation for one in (once, twice, asked, last)] == [2, 3, 4, 5]
