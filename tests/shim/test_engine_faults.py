"""Faults of the engine become errors of the contract, and no fault changes a container that is not managed."""

from __future__ import annotations

import json
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from shim.contract import errors, messages, names, routes
from shim.docker import Engine
from tests.shim.caller import Caller
from tests.shim.droplet import create
from tests.shim.fake_engine import IMAGE, FakeEngine, Handler, hang_up


def inspection(name: str, toolbox_id: str, state: str = "running", **labels: str) -> dict[str, Any]:
    """The engine's answer to an inspect of the container."""
    match = names.CONTAINER_NAME.fullmatch(name)
    own_labels = {
        names.LABEL_TOOLBOX: toolbox_id,
        names.LABEL_INSTANCE: match["instance"] if match else "",
        names.LABEL_SPEC_GENERATION: match["generation"] if match else "",
    }
    return {
        "Id": "c1",
        "Name": f"/{name}",
        "RestartCount": 0,
        "State": {
            "Status": state,
            "ExitCode": 0,
            "OOMKilled": False,
            "Error": "",
            "StartedAt": "2026-01-01T00:00:00.1Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
        },
        "Config": {"Image": "probe:1", "Labels": own_labels | labels, "Env": ["A=s3cret"]},
        "HostConfig": {"Memory": 1, "NanoCpus": 2, "PidsLimit": 3, "PortBindings": None},
        "NetworkSettings": {"Networks": {"bridge": {"EndpointID": "e1"}}},
    }


def list_entry(name: str, toolbox_id: str, status: str = "Up 5 minutes", **labels: str) -> dict[str, Any]:
    """The container's entry in the engine's list of containers."""
    full = inspection(name, toolbox_id, **labels)
    return {
        "Id": "c1",
        "Names": [f"/{name}"],
        "Labels": full["Config"]["Labels"],
        "State": "running",
        "Status": status,
        "NetworkSettings": full["NetworkSettings"],
    }


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        (500, "driver failed: Bind for 0.0.0.0:20001 failed: port is already allocated", "port-taken"),
        (500, "error starting userland proxy: listen tcp4 0.0.0.0:20001: bind: address already in use", "port-taken"),
        (400, 'OCI runtime create failed: exec: "x": executable file not found in $PATH', "start-failed"),
        (404, "OCI runtime create failed: no such file or directory: unknown", "start-failed"),
        (500, "write /var/lib/docker/x: no space left on device", "disk-full"),
        (500, "connection error: dial unix /run/containerd/containerd.sock: connection refused", "engine-unavailable"),
        (409, "container is marked for removal and cannot be started", "try-again"),
        (404, "No such container: c1", "no-such-container"),
    ],
)
def test_failed_start_has_the_error_of_its_cause(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str, status: int, words: str, code: str
) -> None:
    fake_engine.on("GET /containers/", (200, inspection(name, toolbox_id, "created")))
    fake_engine.on("POST /containers/c1/start", (status, {"message": words}))
    answer = caller.call(routes.START, name)
    assert (answer.status, answer.code) == (errors.ERRORS[code].status, code)
    assert words in answer.json["error"]["message"]


def test_closed_engine_connection_is_outcome_unknown(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str
) -> None:
    fake_engine.on("GET /containers/", (200, inspection(name, toolbox_id, "created")))
    fake_engine.on("POST /containers/c1/start", hang_up)
    assert caller.call(routes.START, name).code == "outcome-unknown"


def test_act_without_readable_result_is_outcome_unknown(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str
) -> None:
    def start(handler: Handler) -> None:
        fake_engine.on("GET /containers/", (500, {"message": "no space left on device"}))
        handler.say(204, None)

    fake_engine.on("GET /containers/", (200, inspection(name, toolbox_id, "created")))
    fake_engine.on("POST /containers/c1/start", start)
    assert caller.call(routes.START, name).code == "outcome-unknown"


def test_engine_may_start_after_the_shim(tmp_path: Path) -> None:
    engine = Engine(f"unix://{tmp_path}/late.sock")
    with pytest.raises(errors.EngineUnavailable):
        engine.data_id()
    late = FakeEngine(tmp_path / "late.sock")
    assert engine.data_id() == "engine-1"
    late.shutdown()
    late.server_close()


@pytest.mark.parametrize(
    "labels",
    [
        {names.LABEL_TOOLBOX: "another"},
        {names.LABEL_INSTANCE: "another"},
        {names.LABEL_SPEC_GENERATION: "2"},
    ],
)
def test_container_with_labels_of_another_is_not_managed(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str, labels: dict[str, str]
) -> None:
    fake_engine.on("GET /containers/", (200, inspection(name, toolbox_id, **labels)))
    fake_engine.on("GET /containers/json", (200, [list_entry(name, toolbox_id, **labels)]))
    for route in (routes.INSPECT, routes.START, routes.LOGS):
        assert caller.call(route, name).code == "no-such-container"
    assert caller.call(routes.STOP, name, messages.Stop()).code == "no-such-container"
    assert caller.perform(routes.REMOVE, name) == messages.ActionResult(None, False)
    assert caller.call(routes.STATUS).json["containers"] == []
    assert fake_engine.acts() == []


def test_inspect_shows_names_of_the_environment_and_no_values(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str
) -> None:
    fake_engine.on("GET /containers/", (200, inspection(name, toolbox_id)))
    answer = caller.call(routes.INSPECT, name)
    assert answer.json["container"]["environment_names"] == ["A"] and b"s3cret" not in answer.body


@pytest.mark.parametrize(
    ("status", "health"),
    [
        ("Up 5 minutes", None),
        ("Up 5 minutes (healthy)", "healthy"),
        ("Up 1 second (health: starting)", "starting"),
        ("Up 2 hours (unhealthy)", "unhealthy"),
        ("Exited (0) 2 hours ago", None),
        ("Up 2 hours (Paused)", None),
    ],
)
def test_status_reads_health_from_the_lists_text(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str, status: str, health: str | None
) -> None:
    fake_engine.on("GET /containers/json", (200, [list_entry(name, toolbox_id, status)]))
    found = messages.read(messages.Status, caller.call(routes.STATUS).body)
    [container] = found.containers
    assert (container.name, container.health, container.endpoint_id) == (name, health, "e1")
    assert (found.engine_id, found.complete) == ("engine-1", True)


def test_create_from_an_older_spec_is_refused(caller: Caller, fake_engine: FakeEngine, toolbox_id: str) -> None:
    instance = str(uuid.uuid4())
    fake_engine.on("GET /containers/json", (200, [list_entry(names.container_name(instance, 2), toolbox_id)]))
    answer = caller.call(routes.CREATE, message=create("probe:1", instance_id=instance, spec_generation=1))
    assert (answer.status, answer.code) == (409, "older-spec")
    assert fake_engine.acts() == []


def test_name_of_a_foreign_container_is_name_taken(caller: Caller, fake_engine: FakeEngine, toolbox_id: str) -> None:
    requested = create("probe:1")
    name = names.container_name(requested.instance_id, 1)
    fake_engine.on("POST /containers/create", (409, {"message": f'The container name "/{name}" is already in use'}))
    fake_engine.on("GET /containers/tool", (200, inspection(name, "another")))
    assert caller.call(routes.CREATE, message=requested).code == "name-taken"
    fake_engine.on("GET /containers/tool", (200, inspection(name, toolbox_id)))
    assert caller.perform(routes.CREATE, message=requested).changed is False
    fake_engine.on("GET /containers/tool", (200, inspection(name, toolbox_id, "removing")))
    assert caller.call(routes.CREATE, message=requested).code == "try-again"


def test_missing_image_and_wrong_platform_differ(caller: Caller, fake_engine: FakeEngine) -> None:
    fake_engine.on("GET /images/", (404, {"message": "No such image: probe:1"}))
    assert caller.call(routes.CREATE, message=create("probe:1")).code == "no-such-image"
    fake_engine.on("GET /images/", (200, IMAGE | {"Architecture": "arm64"}))
    answer = caller.call(routes.CREATE, message=create("probe:1"))
    assert (answer.code, "linux/arm64" in answer.json["error"]["message"]) == ("wrong-platform", True)
    assert fake_engine.acts() == []


@pytest.mark.parametrize(
    ("image", "repo_digests", "digest"),
    [
        ("nginx:1", ["other@sha256:2", "nginx@sha256:3"], "sha256:3"),
        ("docker.io/library/nginx", ["nginx@sha256:3"], "sha256:3"),
        ("127.0.0.1:5000/a/b:1", ["b@sha256:2", "127.0.0.1:5000/a/b@sha256:3"], "sha256:3"),
        # The engine lists two digests for an image that two manifest lists contain.
        (f"nginx@sha256:{'3' * 64}", ["nginx@sha256:2", f"nginx@sha256:{'3' * 64}"], f"sha256:{'3' * 64}"),
        ("nginx:1", ["other@sha256:2"], IMAGE["Id"]),
        ("nginx:1", None, IMAGE["Id"]),
    ],
)
def test_digest_label_is_of_the_references_repository(
    caller: Caller, fake_engine: FakeEngine, toolbox_id: str, image: str, repo_digests: list[str] | None, digest: str
) -> None:
    requested = create(image)
    fake_engine.on("GET /images/", (200, IMAGE | {"RepoDigests": repo_digests}))
    fake_engine.on("POST /containers/create", (201, {"Id": "c1"}))
    fake_engine.on("GET /containers/c1", (200, inspection(names.container_name(requested.instance_id, 1), toolbox_id)))
    caller.perform(routes.CREATE, message=requested)
    sent = json.loads(fake_engine.bodies[fake_engine.calls.index("POST /containers/create")])
    assert sent["Labels"][names.LABEL_IMAGE_DIGEST] == digest


def test_command_that_expires_behind_another_does_nothing(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str
) -> None:
    held, release = threading.Event(), threading.Event()

    def slow(handler: Handler) -> None:
        held.set()
        release.wait(5)
        handler.say(204, None)

    fake_engine.on("GET /containers/", (200, inspection(name, toolbox_id)))
    fake_engine.on("POST /containers/c1/stop", slow)
    first = threading.Thread(target=caller.call, args=(routes.STOP, name, messages.Stop()))
    first.start()
    assert held.wait(5)
    now = time.time()
    answer = caller.call(routes.REMOVE, name, now=now, expires=now + 0.5)
    assert time.time() - now < 2
    release.set()
    first.join()
    assert (answer.status, answer.code) == (401, "token-stale")
    assert fake_engine.acts() == ["POST /containers/c1/stop"]


def test_command_that_expires_during_inspect_does_nothing(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str
) -> None:
    def slow(handler: Handler) -> None:
        time.sleep(0.6)
        handler.say(200, inspection(name, toolbox_id))

    fake_engine.on("GET /containers/", slow)
    now = time.time()
    for route, message in ((routes.STOP, messages.Stop()), (routes.REMOVE, None)):
        assert caller.call(route, name, message, now=now, expires=now + 0.5).code == "token-stale"
        now = time.time()
    assert fake_engine.acts() == []


def test_removal_that_is_under_way_is_waited_for(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str
) -> None:
    def remove(handler: Handler) -> None:
        handler.say(409, {"message": "removal of container c1 is already in progress"})
        gone = (404, {"message": "No such container: c1"})
        threading.Timer(0.3, lambda: fake_engine.on("GET /containers/", gone)).start()

    fake_engine.on("GET /containers/", (200, inspection(name, toolbox_id, "removing")))
    fake_engine.on("DELETE /containers/c1", remove)
    began = time.monotonic()
    assert caller.perform(routes.REMOVE, name) == messages.ActionResult(None, True)
    assert time.monotonic() - began > 0.25
