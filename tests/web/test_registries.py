"""Private registries: an account's own, write-only passwords, used for its pulls and nobody else's."""

from __future__ import annotations

import pytest
from flask import Flask

from shim.contract import messages
from tests.fakes.issuer import Issuer
from tests.fakes.world import TOOLBOX, World
from tests.web.conftest import Caller

PATH = "/registries/registry.test"
CREDENTIALS = {"username": "robot", "password": "p4ssw0rd-of-the-registry"}


def put(call: Caller, path: str = PATH, **more: str) -> None:
    assert call("PUT", "toolboxes-user", path, json={**CREDENTIALS, **more}).status_code == 200


def deploy(call: Caller, image: str, toolbox: str = TOOLBOX) -> None:
    body = {"instanceNameOnToolbox": "server", "dockerImage": image}
    assert call("POST", "toolbox-tools", f"/{toolbox}/tools", json=body).status_code == 202


def test_a_registry_is_kept_shown_without_its_password_replaced_and_forgotten(call: Caller, world: World) -> None:
    put(call)
    first = call("GET", "toolboxes-user", PATH).json
    assert first == {"host": "registry.test", "username": "robot", "created_at": world.time.isoformat(),
                     "updated_at": world.time.isoformat()}  # fmt: skip
    world.pass_time(1)
    put(call, username="other")
    assert call("GET", "toolboxes-user", PATH).json == {
        **first, "username": "other", "updated_at": world.time.isoformat()
    }  # fmt: skip
    world.pass_time(1)
    put(call, "/registries/172.30.0.1:5000")
    listed = call("GET", "toolboxes-user", "/registries").json
    assert [registry["host"] for registry in listed] == ["172.30.0.1:5000", "registry.test"]
    assert call("DELETE", "toolboxes-user", PATH).status_code == 204
    assert call("DELETE", "toolboxes-user", PATH).status_code == 204
    assert call("GET", "toolboxes-user", PATH).status_code == 404


@pytest.mark.parametrize(
    ("host", "image"),
    [
        ("registry.test", "registry.test/team/server:2"),
        ("registry.test:5000", "registry.test:5000/server"),
        ("REGISTRY.test", "registry.test/server:2"),
        ("docker.io", "team/server:2"),
        ("docker.io", "server"),
        ("localhost", "localhost/server"),
        ("docker.io", "index.docker.io/team/server"),
    ],
)
def test_a_pull_is_made_with_the_credentials_of_the_images_own_host(
    call: Caller, world: World, host: str, image: str
) -> None:
    put(call, f"/registries/{host}")
    put(call, "/registries/other.test", password="another")
    world.droplet.registry[image] = None
    deploy(call, image)
    world.deliver()
    assert world.droplet.pulled_as == [messages.Credentials("robot", CREDENTIALS["password"])]
    assert call("GET", "toolbox-tools", f"/{TOOLBOX}/tools/server").json["status_on_toolbox"] == "running"


def test_nobody_pulls_with_anothers_credentials_or_sees_them(
    call: Caller, world: World, apps: dict[str, Flask], issuer: Issuer
) -> None:
    put(call)
    other_account = Caller(apps, issuer.token("account-b"))
    assert other_account("GET", "toolboxes-user", "/registries").json == []
    assert other_account("GET", "toolboxes-user", PATH).status_code == 404
    assert other_account("DELETE", "toolboxes-user", PATH).status_code == 204
    assert call("GET", "toolboxes-user", PATH).status_code == 200
    theirs = "33333333-3333-4333-8333-333333333333"
    world.add_toolbox(theirs, "account-b")
    world.droplet.registry["registry.test/server:2"] = None
    deploy(other_account, "registry.test/server:2", theirs)
    world.deliver()
    assert world.droplet.pulled_as == [None]


@pytest.mark.parametrize(
    "host",
    ["registry", "-a.test", "a..test", "a.test:0", "a.test:65536", "a.test:x", "a.test%2Fpath", "a_b.test", "ü.test",
     "user@a.test", "a.test%00", "%20a.test", "a" * 64 + ".test", ".".join(["a" * 60] * 5)],
)  # fmt: skip
def test_what_is_no_host_has_no_credentials(call: Caller, world: World, host: str) -> None:
    for method, options in (("PUT", {"json": CREDENTIALS}), ("GET", {}), ("DELETE", {})):
        assert call(method, "toolboxes-user", f"/registries/{host}", **options).status_code == 404
    assert world.documents("registries") == []


@pytest.mark.parametrize(
    "body",
    [{}, {"username": "a"}, {**CREDENTIALS, "username": "a:b"}, {**CREDENTIALS, "password": ""},
     {**CREDENTIALS, "token": "x"},
     {**CREDENTIALS, "username": "a\nb"}, {**CREDENTIALS, "password": 1}],
)  # fmt: skip
def test_credentials_that_cannot_be_are_refused_without_being_quoted(
    call: Caller, world: World, body: dict[str, object]
) -> None:
    answer = call("PUT", "toolboxes-user", PATH, json=body)
    assert answer.status_code == 400
    assert CREDENTIALS["password"] not in answer.text
    assert world.documents("registries") == []


def test_an_account_keeps_a_bounded_number_of_registries(call: Caller) -> None:
    for number in range(50):
        put(call, f"/registries/r{number}.test")
    assert call("PUT", "toolboxes-user", PATH, json=CREDENTIALS).status_code == 409
    put(call, "/registries/r0.test", username="changed")
