"""A container's life through the real shim, over TLS, in a real Docker Engine."""

from __future__ import annotations

import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shim.contract import messages, names, routes
from shim.contract.messages import ActionResult, Limits, Port, Restart, Stop, Volume
from tests.shim.droplet import Droplet, create

pytestmark = pytest.mark.docker


def listing(droplet: Droplet) -> messages.Status:
    return messages.read(messages.Status, droplet.caller.call(routes.STATUS).body)


def logs(droplet: Droplet, name: str, query: str = "") -> messages.Logs:
    answer = droplet.caller.call(routes.LOGS, name, query=query)
    assert answer.status == 200, answer.body
    return messages.read(messages.Logs, answer.body)


def test_life_of_a_container_from_create_to_remove(droplet: Droplet, busybox: str) -> None:
    requested = create(busybox, "sleep", "600", environment={"KEY": "s3cret"}, ports=[Port(80, 20_500)])
    made = droplet.caller.perform(routes.CREATE, message=requested)
    assert made.changed and made.container and made.container.state == "created" and made.container.started_at == ""
    assert made.container.image == busybox and made.container.image_digest.startswith("sha256:")
    assert made.container.limits == requested.limits and made.container.ports == requested.ports
    assert "KEY" in made.container.environment_names
    name = made.container.name
    assert droplet.caller.perform(routes.CREATE, message=requested) == ActionResult(made.container, False)

    started = droplet.caller.perform(routes.START, name)
    assert started.changed and started.container and started.container.state == "running"
    assert droplet.caller.perform(routes.START, name) == ActionResult(started.container, False)
    [listed] = listing(droplet).containers
    assert (listed.id, listed.state) == (started.container.id, "running")
    assert listed.endpoint_id == started.container.endpoint_id != ""

    stopped = droplet.caller.perform(routes.STOP, name, Stop(5))
    assert stopped.changed and stopped.container and stopped.container.state == "exited"
    assert droplet.caller.perform(routes.STOP, name, Stop(5)) == ActionResult(stopped.container, False)

    assert droplet.caller.perform(routes.REMOVE, name) == ActionResult(None, True)
    assert droplet.caller.perform(routes.REMOVE, name) == ActionResult(None, False)
    assert droplet.caller.call(routes.INSPECT, name).code == "no-such-container"
    assert listing(droplet).containers == []


def test_running_container_is_stopped_and_removed(droplet: Droplet, busybox: str) -> None:
    made = droplet.make(busybox, "sleep", "600")
    assert droplet.caller.perform(routes.REMOVE, made.name) == ActionResult(None, True)


def test_repeated_restart_happens_once(droplet: Droplet, busybox: str) -> None:
    made = droplet.make(busybox, "sleep", "600")
    requested = Restart(made.started_at, 5)
    first = droplet.caller.perform(routes.RESTART, made.name, requested)
    assert first.changed and first.container and first.container.started_at != made.started_at
    assert first.container.endpoint_id != made.endpoint_id
    assert droplet.caller.perform(routes.RESTART, made.name, requested) == ActionResult(first.container, False)


def test_taken_port_leaves_the_container_created(droplet: Droplet, busybox: str) -> None:
    droplet.make(busybox, "sleep", "600", ports=[Port(80, 20_501)])
    second = droplet.make(busybox, "sleep", "600", ports=[Port(80, 20_501)], start=False)
    answer = droplet.caller.call(routes.START, second.name)
    assert (answer.status, answer.code) == (422, "port-taken")
    assert state(droplet, second.name) == "created"


def state(droplet: Droplet, name: str) -> str:
    found = droplet.caller.perform(routes.INSPECT, name).container
    return found.state if found else "gone"


def test_missing_command_is_start_failed(droplet: Droplet, busybox: str) -> None:
    made = droplet.make(busybox, "no-such-command", start=False, init=False)
    answer = droplet.caller.call(routes.START, made.name)
    assert (answer.status, answer.code) == (422, "start-failed")
    assert "no-such-command" in answer.json["error"]["message"]
    assert state(droplet, made.name) == "created"


def test_engine_has_the_limits_and_no_privileges(droplet: Droplet, busybox: str) -> None:
    made = droplet.make(busybox, "sleep", "600", limits=Limits(64 << 20, 250_000_000, 32))
    host = droplet.docker.inspect_container(made.id)["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
        64 << 20,
        64 << 20,
        250_000_000,
        32,
    )
    assert (host["Privileged"], host["CapDrop"], host["SecurityOpt"]) == (False, ["ALL"], ["no-new-privileges"])
    assert (host["PidMode"], host["IpcMode"], host["UTSMode"], host["Devices"] or []) == ("", "private", "", [])
    assert (host["Binds"], host["LogConfig"]["Config"]) == (None, {"max-size": "10m", "max-file": "3"})


def test_labels_of_an_image_do_not_override_ours(droplet: Droplet, busybox: str) -> None:
    made = droplet.make(busybox, "sleep", "600")
    labels = droplet.docker.inspect_container(made.id)["Config"]["Labels"]
    assert labels["kept"] == "1"
    assert (labels[names.LABEL_TOOLBOX], labels[names.LABEL_INSTANCE]) == (droplet.toolbox_id, made.instance_id)


def test_foreign_container_is_neither_listed_nor_changed(droplet: Droplet, busybox: str) -> None:
    instance = str(uuid.uuid4())
    name = names.container_name(instance, 1)
    theirs = droplet.docker.create_container_from_config(  # type: ignore[no-untyped-call]
        {"Image": busybox, "Cmd": ["sleep", "600"], "Labels": {names.LABEL_INSTANCE: instance}}, name
    )["Id"]
    try:
        assert listing(droplet).containers == []
        assert droplet.caller.call(routes.START, name).code == "no-such-container"
        assert droplet.caller.perform(routes.REMOVE, name).changed is False
        assert (
            droplet.caller.call(routes.CREATE, message=create(busybox, "true", instance_id=instance)).code
            == "name-taken"
        )
        assert droplet.docker.inspect_container(theirs)["State"]["Status"] == "created"
    finally:
        droplet.docker.remove_container(theirs)


def test_named_volumes_outlive_their_container(droplet: Droplet, busybox: str) -> None:
    requested: dict[str, Any] = {"instance_id": str(uuid.uuid4()), "volumes": [Volume("data", "/data")]}
    first = droplet.make(busybox, "sh", "-c", "echo kept > /data/file; sleep 600", **requested)
    time.sleep(0.3)
    droplet.caller.perform(routes.REMOVE, first.name)
    second = droplet.make(busybox, "cat", "/data/file", spec_generation=2, restart_policy="no", **requested)
    assert [line.text for line in eventually(lambda: logs(droplet, second.name).lines)] == ["kept"]
    mounts = {mount["Destination"]: mount["Name"] for mount in droplet.docker.inspect_container(second.id)["Mounts"]}
    assert mounts["/data"] == f"{requested['instance_id']}-data"
    droplet.caller.perform(routes.REMOVE, second.name)
    left = {volume["Name"] for volume in droplet.docker.volumes()["Volumes"] or []}
    assert mounts["/data"] in left and mounts["/anonymous"] not in left


def eventually(look: Any) -> Any:
    for _ in range(50):
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("never seen")


def test_logs_have_streams_and_bounds(droplet: Droplet, busybox: str) -> None:
    made = droplet.make(busybox, "sh", "-c", "seq 1 20; echo bad >&2; false", restart_policy="no")
    eventually(lambda: state(droplet, made.name) == "exited")
    found = logs(droplet, made.name)
    assert [line.text for line in found.lines if line.stream == "stdout"] == [str(n) for n in range(1, 21)]
    assert [line.text for line in found.lines if line.stream == "stderr"] == ["bad"] and not found.truncated
    last = logs(droplet, made.name, "tail=3")
    assert len(last.lines) == 3 and last.truncated
    since = found.lines[-1].time
    assert [line.time >= since for line in logs(droplet, made.name, f"since={since}").lines].count(False) == 0
    assert not logs(droplet, made.name, f"since={int(time.time()) + 100}").lines


def test_long_line_is_one_line(droplet: Droplet, busybox: str) -> None:
    made = droplet.make(busybox, "sh", "-c", "seq -s x 1 9000", restart_policy="no")
    eventually(lambda: state(droplet, made.name) == "exited")
    assert [line.text for line in logs(droplet, made.name).lines] == ["x".join(str(n) for n in range(1, 9001))]


def test_health_agrees_between_list_and_inspect(droplet: Droplet, busybox: str) -> None:
    made = droplet.make(busybox, "sleep", "600", health_check=messages.HealthCheck(["true"], interval=1))
    eventually(lambda: droplet.caller.perform(routes.INSPECT, made.name).container.health == "healthy")  # type: ignore
    assert [container.health for container in listing(droplet).containers] == ["healthy"]


def test_twenty_creates_at_once_make_one_container(droplet: Droplet, busybox: str) -> None:
    requested = create(busybox, "sleep", "600")
    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(lambda _: droplet.caller.perform(routes.CREATE, message=requested), range(20)))
    assert sorted(answer.changed for answer in made) == [False] * 19 + [True]
    assert len(listing(droplet).containers) == 1


def test_twenty_removes_at_once_all_find_it_gone(droplet: Droplet, busybox: str) -> None:
    made = droplet.make(busybox, "sleep", "600")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: droplet.caller.perform(routes.REMOVE, made.name), range(20)))
    assert sum(answer.changed for answer in answers) == 1 and all(answer.container is None for answer in answers)


def test_create_of_an_older_spec_is_refused(droplet: Droplet, busybox: str) -> None:
    made = droplet.make(busybox, "sleep", "600", spec_generation=2, start=False)
    older = create(busybox, "true", instance_id=made.instance_id, spec_generation=1)
    assert droplet.caller.call(routes.CREATE, message=older).code == "older-spec"


def test_create_without_the_image_is_no_such_image(droplet: Droplet) -> None:
    assert droplet.caller.call(routes.CREATE, message=create("never-pulled:1")).code == "no-such-image"


def test_metrics_are_those_of_the_machine(droplet: Droplet) -> None:
    answer = messages.read(messages.Status, droplet.caller.call(routes.STATUS, query="metrics=1").body)
    assert answer.metrics and answer.metrics.engine_version == droplet.docker.version()["Version"]
    assert 0 < answer.metrics.memory.free_bytes < answer.metrics.memory.total_bytes
    assert 0 < answer.metrics.disk.used_bytes < answer.metrics.disk.total_bytes
    assert answer.metrics.disk.mount == droplet.docker.info()["DockerRootDir"]


def test_commands_for_other_containers_do_not_wait(droplet: Droplet, busybox: str) -> None:
    stubborn = droplet.make(busybox, "sh", "-c", "trap '' TERM; while true; do sleep 1; done", init=False)
    other = droplet.make(busybox, "sleep", "600")
    waiting = threading.Thread(target=droplet.caller.perform, args=(routes.STOP, stubborn.name, Stop(4)))
    began = time.monotonic()
    waiting.start()
    time.sleep(0.2)
    droplet.caller.perform(routes.STOP, other.name, Stop(5))
    assert time.monotonic() - began < 3
    waiting.join()
    assert time.monotonic() - began >= 3.5
    assert state(droplet, stubborn.name) == "exited"


def test_health_has_the_contracts_version(droplet: Droplet) -> None:
    answer = droplet.caller.send("GET", "/health", {}, b"")
    assert json.loads(answer.body)["contract"] == routes.CONTRACT == int(answer.headers[routes.CONTRACT_HEADER])
