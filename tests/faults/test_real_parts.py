"""Real Docker, emulators and processes, killed or disconnected in the middle of every operation.

Afterwards, within two sweeps of the end of the dead workers' leases, every request is fulfilled, with one container for
each instance and no other.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
import requests

from infra.local import deployed, services
from infra.local.droplet import Droplet
from infra.local.issuer import Issuer
from infra.local.world import World
from tests.e2e.conftest import Api, Tools

pytestmark = [pytest.mark.world, pytest.mark.timeout(600)]

# A dead worker's lease ends after 30 s, and no other worker takes over for another 10 s.
SETTLED_WITHIN = 170
EVERY_VARIANT = os.environ.get("TOOLBOXES_EVERY_VARIANT") == "1"
SHIM_PORT_RULE = ("INPUT", "--protocol", "tcp", "--dport", "30000", "--jump", "DROP")


@dataclass
class Case:
    """One operation on one instance, and the state that it leads to; None: the instance is deleted."""

    verb: str
    name: str
    expected: str | None


@pytest.fixture
def sweep(local_world: World) -> Callable[[], None]:
    """Sweep now, as the scheduler does each minute."""
    platform = Api(local_world.gateway, Issuer(local_world).service_token())

    def now() -> None:
        with suppress(requests.RequestException):
            platform("POST", "/sweep")

    return now


@pytest.fixture
def cases(tools: Tools, image: str) -> Iterator[list[Case]]:
    """Prepare an instance for each operation."""
    made = {verb: f"real-{verb}-{uuid.uuid4().hex[:8]}" for verb in ("start", "stop", "restart", "delete", "update")}
    small = {"resourceLimits": {"memory": "128m"}}
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda name: tools.deploy(image, name, **small), made.values()))
    for name in made.values():
        tools.wait_for(name, "running")
    tools("POST", made["start"], "/stop")
    ends = {"start": "running", "stop": "stopped", "restart": "running", "delete": None, "update": "running"}
    found = [Case(verb, name, ends[verb]) for verb, name in made.items()]
    found.append(Case("deploy", f"real-deploy-{uuid.uuid4().hex[:8]}", "running"))
    yield found
    for case in found:
        tools("DELETE", case.name)


def ask(tools: Tools, image: str, case: Case) -> None:
    """The request as a frontend sends it: with a key, so that it may be sent again."""
    headers = {"Idempotency-Key": case.name}
    with suppress(requests.RequestException):
        if case.verb == "deploy":
            body = {"instanceNameOnToolbox": case.name, "dockerImage": image, "resourceLimits": {"memory": "128m"}}
            tools.api("POST", tools.path, json=body, headers=headers)
        elif case.verb == "update":
            tools("PATCH", case.name, json={"environmentVariables": {"UPDATED": "1"}}, headers=headers)
        elif case.verb == "delete":
            tools("DELETE", case.name, headers=headers)
        else:
            tools("POST", case.name, f"/{case.verb}", headers=headers)


def kill_the_functions(local_world: World, droplet: Droplet) -> None:
    ports = [deployed.port(local_world, function) for function in deployed.FUNCTIONS]
    owners = {
        c.pid for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port in ports and c.status == "LISTEN"
    }
    for pid in owners - {None}:
        psutil.Process(pid).kill()


def kill_the_shim(local_world: World, droplet: Droplet) -> None:
    droplet.run("sh", "-c", "kill -9 $(docker inspect --format '{{.State.Pid}}' toolboxes-shim)")


def kill_the_engine(local_world: World, droplet: Droplet) -> None:
    droplet.run("systemctl", "kill", "--signal", "KILL", "docker.service")


@pytest.mark.parametrize("delay", [0.05, 0.3] if EVERY_VARIANT else [0.2])
@pytest.mark.parametrize("kill", [kill_the_functions, kill_the_shim, kill_the_engine])
def test_every_operation_completes_after_a_component_was_killed(
    local_world: World,
    tools: Tools,
    image: str,
    droplet: Droplet,
    sweep: Callable[[], None],
    cases: list[Case],
    kill: Callable[[World, Droplet], None],
    delay: float,
) -> None:
    with ThreadPoolExecutor(len(cases)) as pool:
        futures = [pool.submit(ask, tools, image, case) for case in cases]
        time.sleep(delay)
        kill(local_world, droplet)
        for future in futures:
            future.result()
    require_settled(tools, image, droplet, sweep, cases)


def require_settled(tools: Tools, image: str, droplet: Droplet, sweep: Callable[[], None], cases: list[Case]) -> None:
    """Resend every request under its key, sweep, and wait until each case has its expected state and nothing else."""
    deadline = time.monotonic() + SETTLED_WITHIN
    states: dict[str, Any] = {}
    while time.monotonic() < deadline:
        with ThreadPoolExecutor(len(cases)) as pool:
            list(pool.map(lambda case: ask(tools, image, case), cases))
        sweep()
        with suppress(requests.RequestException, KeyError, ValueError):
            states = {case.name: state(tools, case) for case in cases}
            if all(states[case.name] == case.expected for case in cases):
                break
        time.sleep(5)
    assert states == {case.name: case.expected for case in cases}
    require_one_container_each(tools, droplet)


def state(tools: Tools, case: Case) -> str | None:
    answer = tools("GET", case.name)
    if answer.status_code == 404:
        return None
    record = answer.json()
    settled = record["generation"] == record["observed_generation"]
    return str(record["status_on_toolbox"]) if settled else "unsettled"


def require_one_container_each(tools: Tools, droplet: Droplet) -> None:
    expected = sorted(record["container_name"] for record in tools.api("GET", f"{tools.path}?limit=500").json())
    label = f"label=toolboxes.toolbox-id={tools.path.split('/')[2]}"
    names = droplet.run("docker", "ps", "--all", "--filter", label, "--format", "{{.Names}}").split()
    assert sorted(names) == expected


@contextmanager
def disconnected(droplet: Droplet) -> Iterator[None]:
    droplet.run("iptables", "--insert", *SHIM_PORT_RULE)
    try:
        yield
    finally:
        droplet.run("iptables", "--delete", *SHIM_PORT_RULE)


def test_a_disconnected_droplet_is_unresponsive_and_catches_up_later(
    api: Api, tools: Tools, image: str, droplet: Droplet, sweep: Callable[[], None], cases: list[Case]
) -> None:
    toolbox = f"/toolboxes-user/{tools.path.split('/')[2]}"
    with disconnected(droplet):
        sweep()
        with ThreadPoolExecutor(len(cases)) as pool:
            list(pool.map(lambda case: ask(tools, image, case), cases))
        stopped = next(case for case in cases if case.verb == "stop")
        assert api("POST", f"{toolbox}/refresh-status").json()["status"] == "unresponsive"
        record = tools("GET", stopped.name).json()
        assert (record["reachable"], record["status_on_toolbox"]) == (False, "stopping")
    require_settled(tools, image, droplet, sweep, cases)
    assert api("POST", f"{toolbox}/refresh-status").json()["status"] == "active"


@pytest.mark.emulator
def test_no_write_is_lost_when_the_store_restarts(
    local_world: World, tools: Tools, image: str, droplet: Droplet, sweep: Callable[[], None], cases: list[Case]
) -> None:
    processes = services.of_world(local_world)
    with ThreadPoolExecutor(len(cases)) as pool:
        futures = [pool.submit(ask, tools, image, case) for case in cases]
        processes.restart("firestore")
        for future in futures:
            future.result()
    require_settled(tools, image, droplet, sweep, cases)


def test_twenty_deploys_at_once_with_one_key_are_one_instance(
    tools: Tools, image: str, name: str, droplet: Droplet
) -> None:
    body = {"instanceNameOnToolbox": name, "dockerImage": image, "portMappings": [{"containerPort": 3001}]}
    key = {"Idempotency-Key": uuid.uuid4().hex}
    with ThreadPoolExecutor(20) as pool:
        sent = [pool.submit(tools.api, "POST", tools.path, json=body, headers=key) for _ in range(20)]
        answers = [future.result() for future in sent]
    assert {answer.status_code for answer in answers} <= {201, 202, 503}
    assert len({answer.json()["id"] for answer in answers if answer.ok}) == 1
    tools.wait_for(name, "running")
    require_one_container_each(tools, droplet)


@pytest.mark.parametrize("rival", ["start", "stop", "restart", "update"])
def test_a_delete_wins_against_whatever_races_it(
    tools: Tools, image: str, name: str, droplet: Droplet, sweep: Callable[[], None], rival: str
) -> None:
    tools.deploy(image, name)
    tools.wait_for(name, "running")
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(ask, tools, image, Case(verb, name, None)) for verb in (rival, "delete")]:
            future.result()
    deadline = time.monotonic() + SETTLED_WITHIN
    while tools("DELETE", name).status_code != 404:
        assert time.monotonic() < deadline
        sweep()
        time.sleep(2)
    require_one_container_each(tools, droplet)


def test_three_hundred_containers_removed_during_a_disconnect_all_return(
    tools: Tools, image: str, droplet: Droplet, sweep: Callable[[], None]
) -> None:
    prefix, small = f"many-{uuid.uuid4().hex[:6]}", {"resourceLimits": {"memory": "16m"}, "start": False}
    names = [f"{prefix}-{number}" for number in range(300)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda name: tools.deploy(image, name, **small), names))
    assert {answer.status_code for answer in answers} <= {201, 202}
    sweep()
    with disconnected(droplet):
        label = f"label=toolboxes.toolbox-id={tools.path.split('/')[2]}"
        droplet.run(
            "sh", "-c", f"docker ps -aq --filter {label} --filter status=created | xargs docker rm", seconds=200
        )
    deadline = time.monotonic() + 400
    count = ("sh", "-c", f"docker ps -aq --filter {label} --filter status=created | wc -l")
    sweep()
    while int(droplet.run(*count)) < len(names):
        assert time.monotonic() < deadline
        time.sleep(3)
    require_one_container_each(tools, droplet)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: tools("DELETE", name), names))
