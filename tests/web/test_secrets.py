"""Secret values go in and never come out: answers, logs, events, post-mortems and the whole store are searched."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from functions.adapters.vault import KeyVault
from functions.domain.errors import SecretsUnreadable
from functions.domain.instance.model import Instance
from functions.domain.instance.spec import Spec
from functions.lifecycle.dependencies import Query
from functions.lifecycle.instance import change
from functions.lifecycle.instance.change import InstanceRequest
from functions.web.app import log_formatter
from shim.contract import errors as shim_errors
from shim.contract import routes
from tests.fakes.droplet import IMAGE, Fault
from tests.fakes.issuer import Issuer
from tests.fakes.world import CALLER, TOOLBOX, VAULT, World
from tests.web.conftest import Caller, built

TOOLS = f"/{TOOLBOX}/tools"
PEM = "-----BEGIN PRIVATE KEY-----\nplanted-line-one-of-a-key\nplanted-line-two-of-a-key\n"
PLANTED = {"TOKEN": "planted-token-value", "QUOTED": 'planted "quoted" välue', "KEY": PEM}
TELLTALE = "planted"
SENT = {"instanceNameOnToolbox": "server", "dockerImage": IMAGE, "environmentVariables": {"OPEN": "shown"}}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(f"{tmp_path}/store.db")
    made.add_toolbox()
    return made


class Witness:
    """Keeps all that anybody is message or that is written down."""

    def __init__(self, call: Caller, world: World, caplog: pytest.LogCaptureFixture, folder: Path) -> None:
        self.call, self.world, self.caplog, self.folder = call, world, caplog, folder
        self.texts: list[str] = []
        caplog.set_level(logging.DEBUG)

    def __call__(self, method: str, path: str = "", **options: Any) -> Any:
        answer = self.call(method, "toolbox-tools", TOOLS + path, **options)
        self.texts.append(f"{answer.headers}\n{answer.text}")
        return answer.json

    def everything(self) -> Iterator[str]:
        yield from self.texts
        yield from (log_formatter().format(record) for record in self.caplog.records)
        yield repr(self.world.queue.tasks)
        yield from (path.read_bytes().decode("latin-1") for path in self.folder.iterdir())

    def search(self) -> None:
        for text in self.everything():
            assert TELLTALE not in text


@pytest.fixture
def witness(call: Caller, world: World, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> Witness:
    return Witness(call, world, caplog, tmp_path)


def environment(world: World, record: dict[str, Any]) -> dict[str, str]:
    return world.droplet.environments[record["container_name"]]


def test_a_secret_reaches_its_container_and_is_shown_by_name_alone(witness: Witness, world: World) -> None:
    record = witness("POST", json={**SENT, "secretVariables": PLANTED}, headers={"Idempotency-Key": "k"})
    assert record["status_on_toolbox"] == "running"
    assert environment(world, record) == {"OPEN": "shown", **PLANTED}
    assert record["spec"]["secretVariables"] == {"KEY": None, "QUOTED": None, "TOKEN": None}
    assert witness("POST", json={**SENT, "secretVariables": PLANTED}, headers={"Idempotency-Key": "k"}) == record
    witness.search()


def test_a_secret_in_the_frontends_nested_place_is_one_too(witness: Witness, world: World) -> None:
    nested = {"dockerImage": IMAGE, "secretVariables": PLANTED}
    record = witness("POST", json={"instanceNameOnToolbox": "server", "baseConfigOverrideJson": nested})
    assert environment(world, record) == PLANTED
    assert record["base_config_override_json"] == {**nested, "secretVariables": dict.fromkeys(PLANTED)}
    witness.search()


def test_secrets_in_a_containers_output_are_redacted_wherever_it_is_shown_or_stored(
    witness: Witness, world: World
) -> None:
    record = witness("POST", json={**SENT, "secretVariables": PLANTED, "mcp": {"port": 1, "path": "/"}})
    name = record["container_name"]
    spoken = ["planted-line-two-of-a-key", json.dumps(PLANTED), PLANTED["QUOTED"], f"a {PLANTED['TOKEN']} in a line"]
    world.droplet.log_text = " ".join(spoken)
    assert witness("GET", "/server/logs")["logs"][0].endswith("*** in a line")
    refusal = shim_errors.StartFailed(f"the engine says: {PLANTED['TOKEN']}")
    world.droplet.faults.append(Fault(refusal, route=routes.RESTART))
    witness("POST", "/server/restart")
    world.droplet.die(name)
    world.sweep()
    witness("GET", "/server/events")
    witness("PATCH", "/server", json={"environmentVariables": {}})
    witness("DELETE", "/server")
    post_mortems = witness("GET", f"/{record['id']}/post-mortems")
    assert post_mortems and all("***" in "".join(found["logs"]) for found in post_mortems)
    witness("GET", f"/{record['id']}/events")
    witness.search()


def test_an_update_keeps_replaces_and_drops_secrets(witness: Witness, world: World) -> None:
    record = witness("POST", json={**SENT, "secretVariables": PLANTED})
    unchanged = witness("PATCH", "/server", json={"environmentVariables": {"OPEN": "changed"}})
    assert environment(world, unchanged) == {"OPEN": "changed", **PLANTED}
    wanted = {"TOKEN": None, "QUOTED": "planted-later"}
    changed = witness("PATCH", "/server", json={"secretVariables": wanted})
    assert environment(world, changed) == {"OPEN": "changed", "TOKEN": PLANTED["TOKEN"], "QUOTED": "planted-later"}
    again = witness("PATCH", "/server", json=changed["spec"])
    assert environment(world, again) == environment(world, changed)
    dropped = witness("PATCH", "/server", json={"secretVariables": {}})
    assert (dropped["spec"]["secretVariables"], environment(world, dropped)) == ({}, {"OPEN": "changed"})
    assert record["id"] == dropped["id"]
    witness.search()


def test_secrets_replaced_from_outside_leave_the_others_and_make_the_container_anew(
    witness: Witness, world: World
) -> None:
    record = witness("POST", json={**SENT, "secretVariables": PLANTED})
    change.replace_secrets(world.deps, InstanceRequest(CALLER, TOOLBOX, "server"), {"TOKEN": "planted-later"})
    record = witness("GET", "/server")
    assert record["container_name"].endswith("-g2")
    assert environment(world, record) == {"OPEN": "shown", **PLANTED, "TOKEN": "planted-later"}
    witness.search()


BAD = [
    ({"OPEN": "planted"}, "both in"),
    ({"A=B": "planted"}, "not the name of an environment variable"),
    ({"__A__": "planted"}, "reserved"),
    ({"A": "planted\0"}, "NUL"),
    ({"A": 1}, "secretVariables.A"),
    ({f"A{n}": "planted" + "x" * 30_000 for n in range(5)}, "131072"),
]


@pytest.mark.parametrize(("secrets", "message"), BAD, ids=[message for _, message in BAD])
def test_secrets_that_cannot_be_are_refused_without_being_quoted(
    witness: Witness, world: World, secrets: dict[str, Any], message: str
) -> None:
    answer = witness("POST", json={**SENT, "secretVariables": secrets})
    assert (answer["status"], message in answer["detail"]) == (400, True)
    assert not world.documents() and not world.droplet.calls
    witness.search()


def test_a_secret_without_a_value_is_refused_where_none_is_stored(witness: Witness, world: World) -> None:
    answer = witness("POST", json={**SENT, "secretVariables": {"TOKEN": None}})
    assert (answer["status"], "no value of it is stored" in answer["detail"], world.documents()) == (409, True, [])


def test_an_open_variable_cannot_take_a_secrets_name(witness: Witness) -> None:
    before = witness("POST", json={**SENT, "secretVariables": PLANTED})
    answer = witness("PATCH", "/server", json={"environmentVariables": {"TOKEN": "x"}})
    assert (answer["status"], "both in" in answer["detail"]) == (400, True)
    assert witness("GET", "/server") == before


def test_a_plan_and_its_spec_can_be_printed(witness: Witness, world: World) -> None:
    witness("POST", json={**SENT, "secretVariables": PLANTED})
    [snapshot] = world.store.query(Query("account_tool_instances"))
    assert TELLTALE not in repr(snapshot.data)
    spec: Spec = world.stored_at(snapshot.ref.id).spec
    assert TELLTALE not in repr(spec)


def test_secrets_of_one_instance_do_not_decrypt_for_another(world: World, witness: Witness) -> None:
    first, second = (
        world.stored_at(witness("POST", json={**SENT, "instanceNameOnToolbox": name, "secretVariables": PLANTED})["id"])
        for name in ("first", "second")
    )
    assert first.spec.secrets and second.spec.secrets
    assert VAULT.open(first.spec.secrets, bound(first)) == PLANTED
    with pytest.raises(SecretsUnreadable):
        VAULT.open(first.spec.secrets, bound(second))


def bound(instance: Instance) -> str:
    return f"instance\n{instance.account}\n{instance.id}"


def test_a_new_key_seals_and_the_old_one_still_opens() -> None:
    old, new = {"old": b"o" * 32}, {"new": b"n" * 32}
    sealed = KeyVault(old).seal({"A": "b"}, "x")
    both = KeyVault({**new, **old})
    assert both.open(sealed, "x") == {"A": "b"}
    assert both.seal({"A": "b"}, "x").key == "new"
    with pytest.raises(SecretsUnreadable, match="'old'"):
        KeyVault(new).open(sealed, "x")
    with pytest.raises(SecretsUnreadable):
        KeyVault({"old": b"n" * 32}).open(sealed, "x")


def test_without_the_key_nothing_is_created_and_nothing_unredacted_is_stored(
    witness: Witness, world: World, issuer: Issuer
) -> None:
    record = witness("POST", json={**SENT, "secretVariables": PLANTED})
    world.droplet.log_text = PLANTED["TOKEN"]
    world.deps = replace(world.deps, vault=KeyVault({"other": bytes(32)}))
    witness.call = Caller(built(world, issuer), witness.call.token)
    assert witness("GET", "/server/logs")["type"].endswith("secrets-unreadable")
    world.droplet.die(record["container_name"])
    world.sweep()
    [post_mortem] = witness("GET", "/server/post-mortems")
    assert post_mortem["logs"] == [] and "key-1" in post_mortem["missing"][0]
    world.droplet.containers.clear()
    world.sweep()
    record = witness("GET", "/server")
    assert (record["status_reason"]["code"], world.droplet.containers) == ("secrets-unreadable", {})
    witness.search()
