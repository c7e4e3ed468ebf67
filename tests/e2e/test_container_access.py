"""Into real containers: commands, logs that are followed, what is used, and secrets that are found nowhere else."""

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
# Says its secrets as it begins, and then a line each half second.
LOUD = (
    'process.stdout.write(Object.values(process.env).join("\\n") + "\\n"); setInterval(() => console.log("tick"), 500)'
)
COMMENT_SECONDS = 15
AT_ONCE = 4


@pytest.fixture
def loud(tools: Tools, image: str, name: str) -> dict[str, Any]:
    answer = tools.deploy(image, name, command=["node", "-e", LOUD], secretVariables=SECRETS)
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


def test_a_command_is_run_with_its_own_environment_and_once_under_its_key(
    tools: Tools, name: str, loud: dict[str, Any]
) -> None:
    given = {"environmentVariables": {"MINE": f"{PLANTED}-mine"}, "stdin": "typed", "workingDirectory": "/tmp"}
    said = run(tools, name, "sh", "-c", 'pwd; cat; echo "$MINE $API_TOKEN" >&2; exit 3', **given).json()
    assert (said["exit_code"], said["stdout"]) == (3, "/tmp\ntyped")
    assert said["stderr"] == f"{PLANTED}-mine {SECRETS['API_TOKEN']}\n"
    counting = ("sh", "-c", "echo x >> /tmp/count; wc -l < /tmp/count")
    twice = [run(tools, name, *counting, key=loud["id"]).json() for _ in range(2)]
    assert [one["stdout"].strip() for one in twice] == ["1", "1"]
    slow = run(tools, name, "sleep", "30", timeout=1).json()
    assert (slow["exit_code"], slow["timed_out"], slow["container_state"]) == (None, True, "running")
    missing = run(tools, name, "no-such-program")
    assert (missing.status_code, missing.json()["type"]) == (422, "urn:toolboxes:problem:start-failed")


def followers(droplet: Droplet) -> int:
    """Connections of this machine's processes to the droplet's shim."""
    open_ones = [one for one in psutil.net_connections("tcp") if one.raddr and one.raddr.port == routes.PORT]
    return sum(one.raddr.ip == str(droplet.address) and one.status == psutil.CONN_ESTABLISHED for one in open_ones)


def test_a_log_is_followed_line_by_line_and_let_go_when_nobody_listens(
    tools: Tools, name: str, loud: dict[str, Any], droplet: Droplet
) -> None:
    path, began = f"{tools.path}/{quote(name)}/logs?follow=1&tail=1", time.monotonic()
    with ExitStack() as left:
        answers = [left.enter_context(tools.api("GET", path, stream=True)) for _ in range(AT_ONCE)]
        for answer in answers:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            lines = (line for line in answer.iter_lines(decode_unicode=True) if line)
            ticks = (line.split(" ")[-1] for line in lines if line.startswith("data:"))
            assert list(itertools.islice(ticks, 3)) == ["tick"] * 3
        assert followers(droplet) >= AT_ONCE
        assert next(line for line in lines if line == ": ") and time.monotonic() - began < COMMENT_SECONDS + 5
    # Connections that functions keep for their next calls are let go by the shim when they have been idle for so long.
    deadline = time.monotonic() + COMMENT_SECONDS + IDLE_SECONDS + 5
    while followers(droplet) > 1:
        assert time.monotonic() < deadline, "the shim is still asked, and nobody listens"
        time.sleep(0.2)


def test_a_log_that_is_followed_ends_with_its_container(tools: Tools, name: str, loud: dict[str, Any]) -> None:
    with tools.api("GET", f"{tools.path}/{quote(name)}/logs?follow=1&tail=1", stream=True) as answer:
        lines = answer.iter_lines(decode_unicode=True)
        assert next(line for line in lines if line.startswith("data:"))
        tools("POST", name, "/stop")
        assert "event: end" in list(lines)


def test_what_an_instance_uses_is_measured(tools: Tools, name: str, loud: dict[str, Any]) -> None:
    answer = tools("GET", name, "/stats")
    # Not every machine lets its engine measure; then that is what is said.
    if answer.status_code == 200:
        assert answer.json()["memory_used_bytes"] > 0 and answer.json()["pids"] >= 1
    else:
        assert answer.json()["type"].startswith("urn:toolboxes:problem:"), answer.text


def written(local_world: World, droplet: Droplet) -> dict[str, str]:
    """All that is on record or logged anywhere, but the container itself."""
    files = [path for path in local_world.directory.rglob("*") if path.is_file() and path.suffix != ".pem"]
    found = {str(path): path.read_bytes().decode("latin-1") for path in files}
    found["the shim's log"] = droplet.run("sh", "-c", "docker logs toolboxes-shim 2>&1")
    emulator = (
        f"http://127.0.0.1:{local_world.firestore_port}/v1/projects/{PROJECT}/databases/(default)/documents:runQuery"
    )
    everything = {"structuredQuery": {"from": [{"allDescendants": True}]}}
    try:
        found["the store"] = requests.post(emulator, json=everything, headers={"Authorization": "Bearer owner"}).text
    except requests.ConnectionError:
        assert any(path.name == "store.sqlite" for path in files), "neither an emulator nor a file holds the store"
    return found


def test_secrets_are_in_their_container_and_nowhere_else(
    tools: Tools, name: str, loud: dict[str, Any], local_world: World, droplet: Droplet
) -> None:
    assert run(tools, name, "printenv", "API_TOKEN").json()["stdout"] == f"{SECRETS['API_TOKEN']}\n"
    told = [tools("GET", name).text, tools("GET", name, "/logs?tail=500").text]
    assert "***" in told[-1] and "tick" in told[-1]
    run(tools, name, "sh", "-c", "cat", stdin=f"{PLANTED}-typed", key=f"k{time.time_ns()}")
    patched = tools("PATCH", name, json={"secretVariables": {**dict.fromkeys(SECRETS), "MORE": f"{PLANTED}-more"}})
    assert patched.status_code in (200, 202), patched.text
    tools.wait_for(name, "running")
    assert run(tools, name, "printenv", "API_TOKEN", "MORE").json()["stdout"] == f"{PLANTED}-token\n{PLANTED}-more\n"
    assert tools("DELETE", name).status_code == 200
    told += [tools("GET", loud["id"], f"/{kind}").text for kind in ("events", "post-mortems")]
    assert "***" in told[-1]
    places = written(local_world, droplet)
    assert loud["id"] in places.get("the store", loud["id"])
    for place, text in {**places, **{f"answer {number}": text for number, text in enumerate(told)}}.items():
        assert PLANTED not in text, place
