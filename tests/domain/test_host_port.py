"""Which host ports an engine has refused, by its words; and that what the account asked for stays the same."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from functions.domain.host_port import redrawn, refused, to_redraw
from functions.domain.instance import Desired, DesiredState, Instance, Observed
from functions.domain.spec import Spec
from functions.domain.want import want_spec
from shim.contract import messages

ASKED, FIRST, SECOND = messages.Port(1, 20_001), messages.Port(2, 25_000), messages.Port(3, 25_001, "udp")
SPEC = Spec("nginx", ports=[ASKED, FIRST, SECOND], drawn=[FIRST, SECOND])
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
def test_a_refusal_is_about_the_ports_that_it_names(said: str, again: bool, ports: list[messages.Port]) -> None:
    assert refused(SPEC, said, again=again) == ports


def test_a_redraw_is_a_spec_generation_and_no_generation() -> None:
    other = messages.Port(2, 26_000)
    after = redrawn(instance(taken=[FIRST], gone=True), [ASKED, other, SECOND])
    assert (after.spec.ports, after.spec.drawn) == ([ASKED, other, SECOND], [other, SECOND])
    assert (after.desired.generation, after.desired.spec_generation, to_redraw(after.spec, after.observed)) == (
        1,
        2,
        [],
    )


def test_no_spec_generation_is_used_twice() -> None:
    once = redrawn(instance(), SPEC.ports)
    twice = redrawn(once, SPEC.ports)
    asked = want_spec(twice, SPEC)
    # As after an update that was given up: the next one is not named as that was.
    back = replace(asked, desired=replace(asked.desired, spec_generation=twice.desired.spec_generation))
    last = want_spec(back, SPEC)
    assert [one.desired.spec_generation for one in (once, twice, asked, last)] == [2, 3, 4, 5]
