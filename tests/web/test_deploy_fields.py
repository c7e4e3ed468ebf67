"""Each field of a deploy body reaches the stored spec, the container and the record: none is forgotten on the way."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic.alias_generators import to_camel

from functions.domain.instance.model import Instance
from functions.web.instance_bodies import Configuration
from shim.contract import messages
from tests.fakes.droplet import IMAGE
from tests.fakes.world import TOOLBOX, World
from tests.web.conftest import Caller

# Every field of the configuration, with another value than its default.
BODY: dict[str, Any] = {
    "dockerImage": IMAGE,
    "command": ["serve"],
    "environmentVariables": {"A": "b"},
    "secretVariables": {"TOKEN": "secret"},
    "portMappings": [{"containerPort": 3000}],
    "volumes": [{"name": "data", "path": "/data"}],
    "resourceLimits": {"memory": "64m", "cpu": "1", "pids": 64},
    "restartPolicy": "on-failure",
    "healthCheck": {"command": ["true"], "interval": 31},
    "mcp": {"port": 3000, "path": "/mcp"},
    "init": False,
}


def defaults(value: object) -> list[str]:
    """The fields of a dataclass that have their default."""
    found = []
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if getattr(value, field.name) == default:
            found.append(field.name)
    return found


@pytest.fixture
def created(world: World, monkeypatch: pytest.MonkeyPatch) -> list[messages.Create]:
    """The create messages that the droplet got."""
    got: list[messages.Create] = []
    create = world.droplet._create

    def record(name: str, body: messages.Create) -> messages.ActionResult:
        got.append(body)
        return create(name, body)

    monkeypatch.setattr(world.droplet, "_create", record)
    return got


def test_body_of_this_test_has_every_field_of_the_configuration() -> None:
    assert BODY.keys() == set(map(to_camel, Configuration.model_fields))


def test_every_deployed_field_reaches_spec_container_and_record(
    call: Caller, world: World, created: list[messages.Create]
) -> None:
    answer = call("POST", "toolbox-tools", f"/{TOOLBOX}/tools", json={"instanceNameOnToolbox": "server", **BODY})
    assert answer.status_code in (201, 202)
    instance: Instance = world.stored_at(answer.json["id"])
    assert defaults(instance.spec) == []
    assert [defaults(message) for message in created] == [[]]
    assert answer.json["spec"].keys() == BODY.keys()
