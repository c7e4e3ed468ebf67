"""The status of a droplet: its containers, its engine's id, and 304 for a list that the caller has already."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from shim.contract import messages, names, routes
from shim.contract.messages import Limits
from tests.shim.caller import Answer, Caller
from tests.shim.droplet import Droplet, create
from tests.shim.fake_engine import FakeEngine
from tests.shim.test_engine_faults import list_entry


def status(caller: Caller, known: str = "", query: str = "") -> Answer:
    return caller.call(routes.STATUS, query=query, headers={"If-None-Match": known} if known else {})


def containers(answer: Answer) -> messages.Status:
    assert answer.status == 200, answer.body
    return messages.read(messages.Status, answer.body)


def limits_of(answer: Answer) -> dict[str, Limits | None]:
    """The limits of each listed container, by its id."""
    return {container.id: container.limits for container in containers(answer).containers}


def test_known_list_returns_304(caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str) -> None:
    fake_engine.on("GET /containers/json", (200, [list_entry(name, toolbox_id, "Up 5 minutes")]))
    first = status(caller)
    tag = first.headers["ETag"]
    assert tag[0] == tag[-1] == '"' and int(tag.strip('"'), 16)
    fake_engine.on("GET /containers/json", (200, [list_entry(name, toolbox_id, "Up 6 minutes")]))
    again = status(caller, tag)
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    assert again.headers[routes.CONTRACT_HEADER] == str(routes.CONTRACT)


@pytest.mark.parametrize("changed", ["health", "endpoint", "gone", "engine"])
def test_changed_list_is_answered_in_full(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str, changed: str
) -> None:
    entry = list_entry(name, toolbox_id, "Up 5 minutes (healthy)")
    fake_engine.on("GET /containers/json", (200, [entry]))
    tag = status(caller).headers["ETag"]
    later: dict[str, list[dict[str, Any]]] = {
        "health": [entry | {"Status": "Up 5 minutes (unhealthy)"}],
        "endpoint": [entry | {"NetworkSettings": {"Networks": {"bridge": {"EndpointID": "e2"}}}}],
        "gone": [],
        "engine": [entry],
    }
    fake_engine.on("GET /containers/json", (200, later[changed]))
    fake_engine.on("GET /networks/none", (200, {"Id": "engine-2" if changed == "engine" else "engine-1"}))
    answer = status(caller, tag)
    assert (answer.status, answer.headers["ETag"] != tag) == (200, True)


def test_metrics_are_never_answered_304(caller: Caller, fake_engine: FakeEngine) -> None:
    fake_engine.on("GET /info", (200, {"ServerVersion": "20.10.24", "DockerRootDir": "/var/lib/docker"}))
    tag = status(caller).headers["ETag"]
    answer = status(caller, tag, "metrics=1")
    assert answer.status == 200 and "ETag" not in answer.headers and containers(answer).metrics
    assert status(caller, tag, "metrics=0").status == 304


def test_status_needs_one_list_where_a_label_names_the_engine(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str
) -> None:
    entry = list_entry(name, toolbox_id, **{names.LABEL_ENGINE: "engine-7", names.LABEL_MEMORY: "64"})
    fake_engine.on("GET /containers/json", (200, [entry]))
    found = containers(status(caller))
    assert (found.engine_id, found.containers[0].memory_bytes) == ("engine-7", 64)
    assert [call for call in fake_engine.calls if call != "GET /version"] == ["GET /containers/json", "GET /events"]


def test_engine_label_of_an_unmanaged_container_is_ignored(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str
) -> None:
    entry = list_entry("by-hand", toolbox_id, **{names.LABEL_ENGINE: "engine-7"})
    fake_engine.on("GET /containers/json", (200, [entry]))
    assert containers(status(caller)).engine_id == "engine-1"


def test_engine_id_is_read_where_labels_differ(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str
) -> None:
    other = names.container_name(names.CONTAINER_NAME.fullmatch(name)["instance"], 2)  # type: ignore[index]
    entries = [list_entry(name, toolbox_id, **{names.LABEL_ENGINE: "engine-7"}), list_entry(other, toolbox_id)]
    fake_engine.on("GET /containers/json", (200, entries))
    assert containers(status(caller)).engine_id == "engine-1"


@pytest.mark.docker
def test_status_of_a_real_engine(droplet: Droplet, busybox: str) -> None:
    empty = containers(status(droplet.caller))
    made = droplet.make(busybox, "sleep", "600", limits=Limits(48 << 20, 500_000_000, 64))
    answer = status(droplet.caller)
    [container] = containers(answer).containers
    assert (container.memory_bytes, container.endpoint_id, container.state) == (48 << 20, made.endpoint_id, "running")
    assert containers(answer).engine_id == empty.engine_id == droplet.docker.inspect_network("none")["Id"]
    assert status(droplet.caller, answer.headers["ETag"]).status == 304
    droplet.docker.restart(made.id, timeout=0)
    assert status(droplet.caller, answer.headers["ETag"]).status == 200


@pytest.mark.docker
def test_limits_of_updated_or_of_all_containers_are_listed(droplet: Droplet, busybox: str) -> None:
    requested = Limits(48 << 20, 500_000_000, 64)
    edited, other = (droplet.make(busybox, "sleep", "600", limits=requested) for _ in range(2))
    before = status(droplet.caller)
    assert [container.limits for container in containers(before).containers] == [None, None]
    droplet.docker.update_container(edited.id, mem_limit=64 << 20, memswap_limit=64 << 20)
    # The engine reports events up to the second before this one.
    time.sleep(1)
    now = limits_of(status(droplet.caller, before.headers["ETag"]))
    assert now == {edited.id: replace(requested, memory_bytes=64 << 20), other.id: None}
    assert limits_of(status(droplet.caller, query="limits=1")) == now | {other.id: requested}


@pytest.mark.docker
def test_container_renamed_by_hand_gets_its_name_back(droplet: Droplet, busybox: str) -> None:
    requested = create(busybox, "sleep", "600")
    made = droplet.caller.perform(routes.CREATE, message=requested).container
    assert made
    droplet.docker.rename(made.id, "something-else")
    assert containers(status(droplet.caller)).containers == []
    again = droplet.caller.perform(routes.CREATE, message=requested)
    assert again == messages.ActionResult(made, changed=True)
    assert (
        len(droplet.docker.containers(all=True, filters={"label": f"{names.LABEL_TOOLBOX}={droplet.toolbox_id}"})) == 1
    )


@pytest.mark.docker
def test_container_with_the_name_wins_over_one_with_its_labels(droplet: Droplet, busybox: str) -> None:
    requested = create(busybox, "sleep", "600")
    made = droplet.caller.perform(routes.CREATE, message=requested).container
    assert made
    labels = droplet.docker.inspect_container(made.id)["Config"]["Labels"]
    config = {"Image": busybox, "Labels": labels, "Cmd": ["true"]}
    theirs = droplet.docker.create_container_from_config(config, f"x-{made.id[:9]}")  # type: ignore[no-untyped-call]
    assert droplet.caller.perform(routes.CREATE, message=requested) == messages.ActionResult(made, changed=False)
    droplet.docker.remove_container(theirs["Id"])
