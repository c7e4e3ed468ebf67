"""The local DigitalOcean answers as the real one's published description says, and its droplets are what it tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import requests
from openapi_core import OpenAPI
from openapi_core.contrib.requests import RequestsOpenAPIRequest, RequestsOpenAPIResponse

from infra.local import command, world
from infra.local.steps import listens, wait_until
from tests.infra.conftest import Cloud

pytestmark = pytest.mark.docker
DESCRIPTION = world.CHECKOUT.parent / "shared/digitalocean-openapi.json"
MACHINE = f"{world.NETWORK_GATEWAY}/32"
ANYWHERE = {"addresses": ["0.0.0.0/0", "::/0"]}
OUTBOUND = [{"protocol": kind, "ports": "all", "destinations": ANYWHERE} for kind in ("tcp", "udp", "icmp")]
USER_DATA = """#cloud-config
write_files: [{path: /marker, content: it booted with this}]
"""


@pytest.fixture(autouse=True)
def fine_weather(cloud: Cloud) -> Iterator[None]:
    yield
    cloud.account.weather()


@pytest.fixture(scope="module")
def booted(cloud: Cloud) -> int:
    """A droplet's number, once cloud-init is through."""
    key: int = cloud.create("booted", user_data=USER_DATA, tags=["one", "two"])["id"]
    cloud.until(key, "active")
    cloud.machine(key).run("cloud-init", "status", "--wait")
    return key


@pytest.fixture(scope="module")
def ask(cloud: Cloud) -> Callable[..., requests.Response]:
    """A call whose answer is held against DigitalOcean's own description of it."""
    if not DESCRIPTION.exists():
        pytest.skip(f"{DESCRIPTION} is not there to hold answers against")
    described = OpenAPI.from_file_path(str(DESCRIPTION))

    def asked(method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {options.pop('token', cloud.account.token)}"}
        sent = requests.Request(method, cloud.account.url + path, headers=headers, **options)
        answer = requests.Session().send(sent.prepare(), timeout=60)
        # The description knows the API under its own name only.
        sent.url = "https://api.digitalocean.com" + path
        described.validate_response(RequestsOpenAPIRequest(sent), RequestsOpenAPIResponse(answer))
        return answer

    return asked


def firewall(name: str, *ports: str, **more: Any) -> dict[str, Any]:
    inbound = [{"protocol": "tcp", "ports": port, "sources": {"addresses": [MACHINE]}} for port in ports]
    return {"name": name, "inbound_rules": inbound, "outbound_rules": OUTBOUND, **more}


def test_every_answer_is_as_described(cloud: Cloud, ask: Callable[..., requests.Response]) -> None:
    asked = {
        "name": "described", "region": "fra1", "size": "s-1vcpu-1gb", "image": "debian-12-x64", "tags": ["described"],
        "user_data": USER_DATA, "ssh_keys": [289794],
    }  # fmt: skip
    assert ask("POST", "/v2/tags", json={"name": "described"}).status_code == 201
    made = ask("POST", "/v2/droplets", json=asked)
    assert (made.status_code, made.json()["droplet"]["status"]) == (202, "new")
    key = made.json()["droplet"]["id"]
    cloud.until(key, "active")
    for path in ("", "?page=1&per_page=1", "?page=2&per_page=1", "?tag_name=described", "?name=described", f"/{key}"):
        assert ask("GET", f"/v2/droplets{path}").status_code == 200
    wall = ask("POST", "/v2/firewalls", json=firewall("described", "30000", tags=["described"]))
    assert wall.status_code == 202
    for path in (
        "firewalls",
        f"firewalls/{wall.json()['firewall']['id']}",
        "tags",
        "account",
        "sizes",
        "regions",
        "images",
    ):
        assert ask("GET", f"/v2/{path}").status_code == 200
    assert ask("DELETE", f"/v2/firewalls/{wall.json()['firewall']['id']}").status_code == 204
    assert ask("POST", f"/v2/droplets/{key}/actions", json={"type": "power_off"}).status_code == 201
    assert ask("GET", f"/v2/droplets/{key}/actions").json()["actions"][0]["type"] == "power_off"
    cloud.until(key, "off")
    assert ask("DELETE", f"/v2/droplets/{key}").status_code == 204
    wait_until(lambda: ask("GET", f"/v2/droplets/{key}").status_code == 404, 60, "gone")
    assert ask("GET", "/v2/droplets", token="another").status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [{"region": "mars1"}, {"size": "s-0"}, {"image": "plan9"}, {"name": "a_b"}, {"user_data": "x" * 65_537},
     {"ssh_keys": ["7"]}],
)  # fmt: skip
def test_what_the_real_one_would_not_make_is_not_made(
    cloud: Cloud, ask: Callable[..., requests.Response], wrong: dict[str, Any]
) -> None:
    asked = {"name": "wrong", "region": "fra1", "size": "s-1vcpu-1gb", "image": "debian-12-x64"}
    assert ask("POST", "/v2/droplets", json=asked | wrong).status_code == 422
    assert "wrong" not in [one["name"] for one in cloud.account.droplets()]


def test_a_droplet_boots_with_what_the_create_call_carried_and_finds_itself_told_of(cloud: Cloud, booted: int) -> None:
    machine = cloud.machine(booted)
    assert machine.run("cat", "/marker") == "it booted with this"
    assert machine.run("cloud-init", "query", "instance_id") == str(booted)
    assert machine.run("python3", "-c", metadata("id")) == str(booted)
    assert machine.run("python3", "-c", metadata("user-data")) == USER_DATA.strip()
    assert cloud.get(booted)["networks"]["v4"][0]["ip_address"] == str(machine.address)


def metadata(path: str) -> str:
    url = f"http://169.254.169.254/metadata/v1/{path}"
    return f"import urllib.request as r; print(r.urlopen({url!r}, timeout=5).read().decode())"


def test_droplets_are_found_by_name_and_by_tag(cloud: Cloud, booted: int) -> None:
    for query in ("name=BOOTED", "tag_name=one", "tag_name=two"):
        [found] = cloud.account("GET", f"/v2/droplets?{query}").json()["droplets"]
        assert (found["id"], found["tags"]) == (booted, ["one", "two"])
    assert cloud.account("GET", "/v2/droplets?tag_name=three").json()["droplets"] == []


def test_a_reboot_keeps_the_disk_and_does_not_run_user_data_again(cloud: Cloud, booted: int) -> None:
    machine = cloud.machine(booted)
    machine.run("sh", "-c", "rm /marker; touch /kept")
    cloud.account.act(booted, "reboot")
    machine.run("cloud-init", "status", "--wait")
    assert machine.run("sh", "-c", "ls /marker /kept 2>/dev/null || true") == "/kept"


def test_a_firewall_holds_what_it_does_not_let_through_over_reboots_and_changes(cloud: Cloud, booted: int) -> None:
    machine = cloud.machine(booted)
    for port in ("8001", "8002"):
        machine.run("sh", "-c", f"setsid python3 -m http.server {port} >/dev/null 2>&1 &")
    reached = partial(listens, str(machine.address))
    for port in (8001, 8002):
        wait_until(partial(reached, port), 20, f"something at {port}")
    made = cloud.account("POST", "/v2/firewalls", json=firewall("wall", "8001", tags=["two"])).json()["firewall"]
    assert (reached(8001), reached(8002)) == (True, False)
    assert machine.run("python3", "-c", metadata("id")) == str(booted)
    cloud.account.act(booted, "power_cycle")
    assert not reached(8002)
    for port in ("8001", "8002"):
        machine.run("sh", "-c", f"setsid python3 -m http.server {port} >/dev/null 2>&1 &")
    wait_until(partial(reached, 8001), 20, "something at 8001")
    assert not reached(8002)
    changed = firewall("wall", "8000-8002", droplet_ids=[booted])
    cloud.account("PUT", f"/v2/firewalls/{made['id']}", json=changed)
    assert reached(8002)
    cloud.account("PUT", f"/v2/firewalls/{made['id']}", json=changed | {"outbound_rules": []})
    with pytest.raises(command.Failed, match="timed out"):
        machine.run("python3", "-c", f"import socket; socket.create_connection(('{world.NETWORK_GATEWAY}', 5000), 1)")
    cloud.account("DELETE", f"/v2/firewalls/{made['id']}")
    assert reached(8002)


def test_a_firewall_for_a_tag_that_nobody_made_is_refused(cloud: Cloud) -> None:
    with pytest.raises(requests.HTTPError, match="422"):
        cloud.account("POST", "/v2/firewalls", json=firewall("early", "1", tags=["never-made"]))


def test_it_fails_as_it_is_told_and_only_so_often(cloud: Cloud, ask: Callable[..., requests.Response]) -> None:
    meets = {"method": "GET", "path": "/v2/regions"}
    cloud.account.weather({"kind": "failing", **meets, "times": 2}, {"kind": "limited", **meets, "seconds": 7})
    assert [ask("GET", "/v2/regions").status_code for _ in range(2)] == [500, 500]
    limited = ask("GET", "/v2/regions")
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "7")
    cloud.account.weather({"kind": "slow", **meets, "seconds": 0.5})
    began = time.monotonic()
    assert ask("GET", "/v2/regions").status_code == 200
    assert time.monotonic() - began >= 0.5


def test_an_answer_is_lost_after_the_act_was_done(cloud: Cloud) -> None:
    cloud.account.weather({"kind": "lost", "method": "POST", "path": "/v2/droplets"})
    with pytest.raises(requests.ConnectionError):
        cloud.create("lost")
    [made] = cloud.account("GET", "/v2/droplets?name=lost").json()["droplets"]
    cloud.account("DELETE", f"/v2/droplets/{made['id']}")


def test_tags_come_late(cloud: Cloud) -> None:
    cloud.account.weather(tags_late_seconds=1.5)
    key = cloud.create("late", tags=["late"])["id"]
    path = "/v2/droplets?tag_name=late"
    assert (cloud.get(key)["tags"], cloud.account("GET", path).json()["droplets"]) == ([], [])
    [found] = wait_until(lambda: cloud.account("GET", path).json()["droplets"], 10, "the tag")
    assert (found["id"], found["tags"]) == (key, ["late"])
    cloud.account("DELETE", f"/v2/droplets/{key}")


def test_all_of_it_is_there_again_when_the_service_was_ended(cloud: Cloud, booted: int) -> None:
    cloud.account.act(booted, "shutdown")
    leaving = cloud.create("leaving")["id"]
    cloud.account("DELETE", f"/v2/droplets/{leaving}")
    before = cloud.get(booted)
    cloud.end()
    cloud.begin()
    assert cloud.get(booted) == before
    wait_until(lambda: leaving not in [one["id"] for one in cloud.account.droplets()], 60, "gone")
    assert cloud.create("next")["id"] > leaving
    cloud.account.act(booted, "power_on")
    assert cloud.get(booted)["status"] == "active"
