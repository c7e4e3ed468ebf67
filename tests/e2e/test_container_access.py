"""Access to real containers: exec, followed logs, stats, and secrets that appear nowhere but in the container."""

from __future__ import annotations

import itertools
import time
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import requests

from infra.local.droplet import Droplet
from infra.local.world import PROJECT, World
from shim.contract import routes
from shim.server import IDLE_SECONDS
from tests.e2e.conftest import Tools

pytestmark = pytest.mark.world
PLANTED = "planted-3f9c"
SECRETS = {"API_TOKEN": f"{PLANTED}-token", "PEM": f"-----BEGIN KEY-----\n{PLANTED}-line-of-a-key\n"}
# Logs its secrets at its start, and then a line each half second.
LOG_SECRETS = (
    'process.stdout.write(Object.values(process.env).join("\\n") + "\\n"); setInterval(() => console.log("tick"), 500)'
)
COMMENT_SECONDS = 15
FOLLOWERS = 4


@pytest.fixture
def instance(tools: Tools, image: str, name: str) -> dict[str, Any]:
    answer = tools.deploy(image, name, command=["node", "-e", LOG_SECRETS], secretVariables=SECRETS)
    assert answer.status_code in (201, 202), answer.text
    record = tools.wait_for(name, "running")
    deadline = time.monotonic() + 30
    while "tick" not in tools("GET", name, "/logs?tail=1").text:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return record


def run(tools: Tools, name: str, *command: str, key: str = "", **body: Any) -> requests.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return tools("POST", name, "/exec", json={"command": list(command), **body}, headers=headers)


def test_exec_uses_its_own_environment_and_runs_once_under_its_key(
    tools: Tools, name: str, instance: dict[str, Any]
) -> None:
    variables = {"MINE": f"{PLANTED}-mine"}
    body: dict[str, Any] = {"environmentVariables": variables, "stdin": "typed", "workingDirectory": "/tmp"}
    answer = run(tools, name, "sh", "-c", 'pwd; cat; echo "$MINE $API_TOKEN" >&2; exit 3', **body).json()
    assert (answer["exit_code"], answer["stdout"]) == (3, "/tmp\ntyped")
    assert answer["stderr"] == f"{PLANTED}-mine {SECRETS['API_TOKEN']}\n"
    counting = ("sh", "-c", "echo x >> /tmp/count; wc -l < /tmp/count")
    twice = [run(tools, name, *counting, key=instance["id"]).json() for _ in range(2)]
    assert [answer["stdout"].strip() for answer in twice] == ["1", "1"]
    slow = run(tools, name, "sleep", "30", timeout=1).json()
    assert (slow["exit_code"], slow["timed_out"], slow["container_state"]) == (None, True, "running")
    missing = run(tools, name, "no-such-program")
    assert (missing.status_code, missing.json()["type"]) == (422, "urn:toolboxes:problem:start-failed")


def open_connections(droplet: Droplet) -> int:
    """The number of connections from this machine's processes to the droplet's shim."""
    shim = (str(droplet.address), routes.PORT)
    connections = psutil.net_connections("tcp")
    return sum(each.raddr == shim and each.status == psutil.CONN_ESTABLISHED for each in connections)


def test_followed_log_streams_lines_and_is_closed_when_the_client_leaves(
    tools: Tools, name: str, instance: dict[str, Any], droplet: Droplet
) -> None:
    path, started_at = f"{tools.path}/{quote(name)}/logs?follow=1&tail=1", time.monotonic()
    with ExitStack() as stack:
        answers = [stack.enter_context(tools.api("GET", path, stream=True)) for _ in range(FOLLOWERS)]
        for answer in answers:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            lines = (line for line in answer.iter_lines(decode_unicode=True) if line)
            ticks = (line.split(" ")[-1] for line in lines if line.startswith("data:"))
            assert list(itertools.islice(ticks, 3)) == ["tick"] * 3
        assert open_connections(droplet) >= FOLLOWERS
        assert next(line for line in lines if line == ": ") and time.monotonic() - started_at < COMMENT_SECONDS + 5
    # The functions keep connections open for their next calls; the shim closes them after IDLE_SECONDS without a call.
    deadline = time.monotonic() + COMMENT_SECONDS + IDLE_SECONDS + 5
    while open_connections(droplet) > 1:
        assert time.monotonic() < deadline, "connections to the shim are still open without a client"
        time.sleep(0.2)


def test_followed_log_ends_when_its_container_stops(tools: Tools, name: str, instance: dict[str, Any]) -> None:
    with tools.api("GET", f"{tools.path}/{quote(name)}/logs?follow=1&tail=1", stream=True) as answer:
        lines = answer.iter_lines(decode_unicode=True)
        assert next(line for line in lines if line.startswith("data:"))
        tools("POST", name, "/stop")
        assert "event: end" in list(lines)


def test_stats_report_memory_and_processes(tools: Tools, name: str, instance: dict[str, Any]) -> None:
    answer = tools("GET", name, "/stats")
    # The engine cannot measure on every machine; then the answer is a problem document.
    if answer.status_code == 200:
        assert answer.json()["memory_used_bytes"] > 0 and answer.json()["pids"] >= 1
    else:
        assert answer.json()["type"].startswith("urn:toolboxes:problem:"), answer.text


def stored_and_logged(local_world: World, droplet: Droplet) -> dict[str, str]:
    """Everything stored or logged outside the container: the text by the name of its place."""
    files = [path for path in local_world.directory.rglob("*") if path.is_file() and path.suffix != ".pem"]
    found = {str(path): path.read_bytes().decode("latin-1") for path in files}
    found["the shim's log"] = droplet.run("sh", "-c", "docker logs toolboxes-shim 2>&1")
    emulator = (
        f"http://127.0.0.1:{local_world.firestore_port}/v1/projects/{PROJECT}/databases/(default)/documents:runQuery"
    )
    query = {"structuredQuery": {"from": [{"allDescendants": True}]}}
    try:
        found["the store"] = requests.post(emulator, json=query, headers={"Authorization": "Bearer owner"}).text
    except requests.ConnectionError:
        assert any(path.name == "store.sqlite" for path in files), "neither an emulator nor a file holds the store"
    return found


def test_secrets_appear_in_their_container_and_nowhere_else(
    tools: Tools, name: str, instance: dict[str, Any], local_world: World, droplet: Droplet
) -> None:
    assert run(tools, name, "printenv", "API_TOKEN").json()["stdout"] == f"{SECRETS['API_TOKEN']}\n"
    answers = [tools("GET", name).text, tools("GET", name, "/logs?tail=500").text]
    assert "***" in answers[-1] and "tick" in answers[-1]
    run(tools, name, "sh", "-c", "cat", stdin=f"{PLANTED}-typed", key=f"k{time.time_ns()}")
    patched = tools("PATCH", name, json={"secretVariables": {**dict.fromkeys(SECRETS), "MORE": f"{PLANTED}-more"}})
    assert patched.status_code in (200, 202), patched.text
    tools.wait_for(name, "running")
    assert run(tools, name, "printenv", "API_TOKEN", "MORE").json()["stdout"] == f"{PLANTED}-token\n{PLANTED}-more\n"
    assert tools("DELETE", name).status_code == 200
    answers += [tools("GET", instance["id"], f"/{kind}").text for kind in ("events", "post-mortems")]
    assert "***" in answers[-1]
    places = stored_and_logged(local_world, droplet)
    assert instance["id"] in places.get("the store", instance["id"])
    for place, text in {**places, **{f"answer {number}": text for number, text in enumerate(answers)}}.items():
        assert PLANTED not in text, place
