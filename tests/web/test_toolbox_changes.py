"""`toolboxes-user`: a toolbox asked for, rebuilt, upgraded and ended, as its callers see it."""

from __future__ import annotations

import pytest
from flask import Flask

from functions.lifecycle.repository import TOOLBOXES
from tests.fakes.issuer import Issuer
from tests.fakes.world import TOOLBOX, World
from tests.web.conftest import SHIM_IMAGE, Caller

BODY = {"name": "box", "regionSlug": "fra1", "sizeSlug": "s-1vcpu-1gb"}


@pytest.fixture
def operator(apps: dict[str, Flask], issuer: Issuer) -> Caller:
    return Caller(apps, issuer.token("operator", app_metadata={"role": "admin"}))


def test_a_toolbox_is_answered_with_its_record_at_once(call: Caller) -> None:
    answer = call("POST", "toolboxes-user", "/", json={**BODY, "description": "for tests"})
    assert answer.status_code == 201
    record = answer.json
    assert (record["status"], record["image_slug"], record["description"]) == (
        "pending_provision", "debian-12-x64", "for tests",
    )  # fmt: skip
    assert call("GET", "toolboxes-user", f"/{record['id']}").json == record
    [event] = call("GET", "toolboxes-user", f"/{record['id']}/events").json
    assert (event["type"], event["actor"], event["to"]) == ("provision_requested", "account-a", "pending_provision")


def test_a_repeat_with_the_same_key_is_the_same_toolbox(call: Caller, world: World) -> None:
    before = len(world.documents(TOOLBOXES))
    answers = [call("POST", "toolboxes-user", "/", json=BODY, headers={"Idempotency-Key": "k"}).json for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(world.documents(TOOLBOXES)) == before + 1
    other = call("POST", "toolboxes-user", "/", json={**BODY, "name": "x"}, headers={"Idempotency-Key": "k"})
    assert other.status_code == 422


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"name": "x" * 129},
        {"regionSlug": "fra1/../x"},
        {"sizeSlug": "S-1"},
        {"imageSlug": ""},
        {"userData": "#cloud-config"},
        {"description": "x" * 1025},
    ],
)
def test_a_body_that_is_not_one_is_refused_and_makes_nothing(call: Caller, world: World, wrong: dict[str, str]) -> None:
    before = world.documents(TOOLBOXES)
    answer = call("POST", "toolboxes-user", "/", json={**BODY, **wrong})
    assert answer.status_code == 400
    assert next(iter(wrong)) in answer.json["message"]
    assert world.documents(TOOLBOXES) == before


def test_an_account_at_its_quota_is_told_so(call: Caller) -> None:
    answers = [call("POST", "toolboxes-user", "/", json=BODY).status_code for _ in range(10)]
    assert answers == [201] * 9 + [403]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("DELETE", "", "pending_deprovision"),
        ("POST", "/rebuild", "pending_provision"),
        ("POST", "/upgrade-shim", "active"),
    ],
)
def test_a_change_is_on_its_way(call: Caller, world: World, method: str, path: str, status: str) -> None:
    world.settled_toolbox()
    answer = call(method, "toolboxes-user", f"/{TOOLBOX}{path}")
    assert (answer.status_code, answer.json["status"]) == (202, status)
    assert [(task.kind, task.id) for task in world.queue.tasks] == [("toolbox", TOOLBOX)]
    again = call(method, "toolboxes-user", f"/{TOOLBOX}{path}")
    assert again.status_code == (202 if method == "DELETE" else 409)


def test_what_a_droplet_uses_is_asked_of_it(call: Caller, world: World) -> None:
    stats = call("GET", "toolboxes-user", f"/{TOOLBOX}/stats")
    assert (stats.status_code, stats.json["engine_version"]) == (200, "20.10.24")
    world.droplet.reachable = False
    assert call("GET", "toolboxes-user", f"/{TOOLBOX}/stats").status_code == 503


def test_an_operator_upgrades_all_and_sees_how_it_stands(operator: Caller, call: Caller) -> None:
    assert operator("GET", "toolboxes-user", "/upgrade-shims").status_code == 404
    started = operator("POST", "toolboxes-user", "/upgrade-shims")
    assert (started.status_code, started.json["stage"], started.json["image"]) == (202, "running", SHIM_IMAGE)
    assert operator("GET", "toolboxes-user", "/upgrade-shims").json == started.json
    assert call("POST", "toolboxes-user", "/upgrade-shims").status_code == 404
    assert call("GET", "toolboxes-user", "/upgrade-shims").status_code == 404


def test_operator_sees_orphan_droplets(operator: Caller, call: Caller, world: World) -> None:
    orphan = world.digitalocean.add("by-hand", ["toolboxes"])
    world.sweep(600)
    [record] = operator("GET", "toolboxes-user", "/orphan-droplets").json
    assert (record["id"], record["name"], record["toolbox_id"]) == (orphan.id, "by-hand", None)
    assert call("GET", "toolboxes-user", "/orphan-droplets").status_code == 404
