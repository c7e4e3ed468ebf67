"""The local DigitalOcean answers according to the published description of the real API, and its droplets work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import requests
from openapi_core import OpenAPI
from openapi_core.contrib.requests import RequestsOpenAPIRequest, RequestsOpenAPIResponse

from infra.local import command
from infra.local.digitalocean import droplets
from infra.local.steps import listens, wait_until
from infra.local.world import CHECKOUT, NETWORK_GATEWAY
from tests.infra.conftest import Cloud

pytestmark = pytest.mark.docker
DESCRIPTION = CHECKOUT.parent / "shared/digitalocean-openapi.json"
MACHINE = f"{NETWORK_GATEWAY}/32"
ANYWHERE = {"addresses": ["0.0.0.0/0", "::/0"]}
OUTBOUND = [{"protocol": kind, "ports": "all", "destinations": ANYWHERE} for kind in ("tcp", "udp", "icmp")]
USER_DATA = """#cloud-config
write_files: [{path: /marker, content: it booted with this}]
"""


@pytest.fixture(autouse=True)
def no_faults(cloud: Cloud) -> Iterator[None]:
    """No injected fault outlives its test."""
    yield
    cloud.account.inject()


@pytest.fixture(scope="module")
def booted(cloud: Cloud) -> int:
    """The id of a droplet on which cloud-init has finished."""
    key: int = cloud.create("booted", user_data=USER_DATA, tags=["one", "two"])["id"]
    cloud.wait_for(key, "active")
    cloud.machine(key).run("cloud-init", "status", "--wait")
    return key


@pytest.fixture(scope="module")
def validated(cloud: Cloud) -> Callable[..., requests.Response]:
    """A call whose answer is validated against DigitalOcean's published description."""
    if not DESCRIPTION.exists():
        pytest.skip(f"{DESCRIPTION} is missing")
    description = OpenAPI.from_file_path(str(DESCRIPTION))

    def call(method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {options.pop('token', cloud.account.token)}"}
        sent = requests.Request(method, cloud.account.url + path, headers=headers, **options)
        answer = requests.Session().send(sent.prepare(), timeout=60)
        # The description knows the API under its public address only.
        sent.url = "https://api.digitalocean.com" + path
        description.validate_response(RequestsOpenAPIRequest(sent), RequestsOpenAPIResponse(answer))
        return answer

    return call


def firewall(name: str, *ports: str, **fields: Any) -> dict[str, Any]:
    inbound = [{"protocol": "tcp", "ports": port, "sources": {"addresses": [MACHINE]}} for port in ports]
    return {"name": name, "inbound_rules": inbound, "outbound_rules": OUTBOUND, **fields}


def metadata(path: str) -> str:
    """A Python program that prints the metadata service's answer."""
    url = f"http://169.254.169.254/metadata/v1/{path}"
    return f"import urllib.request as r; print(r.urlopen({url!r}, timeout=5).read().decode())"


def test_every_answer_matches_the_published_description(
    cloud: Cloud, validated: Callable[..., requests.Response]
) -> None:
    body = {
        "name": "described", "region": "fra1", "size": "s-1vcpu-1gb", "image": "debian-12-x64", "tags": ["described"],
        "user_data": USER_DATA, "ssh_keys": [289794],
    }  # fmt: skip
    assert validated("POST", "/v2/tags", json={"name": "described"}).status_code == 201
    created = validated("POST", "/v2/droplets", json=body)
    assert (created.status_code, created.json()["droplet"]["status"]) == (202, "new")
    key = created.json()["droplet"]["id"]
    cloud.wait_for(key, "active")
    for path in ("", "?page=1&per_page=1", "?page=2&per_page=1", "?tag_name=described", "?name=described", f"/{key}"):
        assert validated("GET", f"/v2/droplets{path}").status_code == 200
    answer = validated("POST", "/v2/firewalls", json=firewall("described", "30000", tags=["described"]))
    assert answer.status_code == 202
    firewall_path = f"/v2/firewalls/{answer.json()['firewall']['id']}"
    lists = [f"/v2/{name}" for name in ("firewalls", "tags", "account", "sizes", "regions", "images")]
    for path in (firewall_path, *lists):
        assert validated("GET", path).status_code == 200
    assert validated("DELETE", firewall_path).status_code == 204
    assert validated("POST", f"/v2/droplets/{key}/actions", json={"type": "power_off"}).status_code == 201
    assert validated("GET", f"/v2/droplets/{key}/actions").json()["actions"][0]["type"] == "power_off"
    cloud.wait_for(key, "off")
    assert validated("DELETE", f"/v2/droplets/{key}").status_code == 204
    wait_until(lambda: validated("GET", f"/v2/droplets/{key}").status_code == 404, 60, "the removal")
    assert validated("GET", "/v2/droplets", token="another").status_code == 401


@pytest.mark.parametrize(
    "fields",
    [{"region": "mars1"}, {"size": "s-0"}, {"image": "plan9"}, {"name": "a_b"}, {"user_data": "x" * 65_537},
     {"ssh_keys": ["7"]}],
)  # fmt: skip
def test_invalid_droplet_returns_422_and_is_not_created(
    cloud: Cloud, validated: Callable[..., requests.Response], fields: dict[str, Any]
) -> None:
    body = {"name": "wrong", "region": "fra1", "size": "s-1vcpu-1gb", "image": "debian-12-x64"}
    assert validated("POST", "/v2/droplets", json=body | fields).status_code == 422
    assert "wrong" not in [droplet["name"] for droplet in cloud.account.droplets()]


def test_droplet_boots_with_its_user_data_and_metadata(cloud: Cloud, booted: int) -> None:
    machine = cloud.machine(booted)
    assert machine.run("cat", "/marker") == "it booted with this"
    assert machine.run("cloud-init", "query", "instance_id") == str(booted)
    assert machine.run("python3", "-c", metadata("id")) == str(booted)
    assert machine.run("python3", "-c", metadata("user-data")) == USER_DATA.strip()
    assert cloud.get(booted)["networks"]["v4"][0]["ip_address"] == str(machine.address)


def test_droplets_are_found_by_name_and_by_tag(cloud: Cloud, booted: int) -> None:
    for query in ("name=BOOTED", "tag_name=one", "tag_name=two"):
        [found] = cloud.account("GET", f"/v2/droplets?{query}").json()["droplets"]
        assert (found["id"], found["tags"]) == (booted, ["one", "two"])
    assert cloud.account("GET", "/v2/droplets?tag_name=three").json()["droplets"] == []


def test_reboot_preserves_the_disk_and_does_not_repeat_user_data(cloud: Cloud, booted: int) -> None:
    machine = cloud.machine(booted)
    machine.run("sh", "-c", "rm /marker; touch /preserved")
    cloud.account.act(booted, "reboot")
    machine.run("cloud-init", "status", "--wait")
    assert machine.run("sh", "-c", "ls /marker /preserved 2>/dev/null || true") == "/preserved"


def test_firewall_is_enforced_across_reboots_and_changes(cloud: Cloud, booted: int) -> None:
    machine = cloud.machine(booted)

    def serve() -> None:
        for port in (8001, 8002):
            machine.run("sh", "-c", f"setsid python3 -m http.server {port} >/dev/null 2>&1 &")

    reachable = partial(listens, str(machine.address))
    serve()
    for port in (8001, 8002):
        wait_until(partial(reachable, port), 20, f"a server at port {port}")
    created = cloud.account("POST", "/v2/firewalls", json=firewall("wall", "8001", tags=["two"])).json()["firewall"]
    assert (reachable(8001), reachable(8002)) == (True, False)
    assert machine.run("python3", "-c", metadata("id")) == str(booted)
    cloud.account.act(booted, "power_cycle")
    assert not reachable(8002)
    serve()
    wait_until(partial(reachable, 8001), 20, "a server at port 8001")
    assert not reachable(8002)
    changed = firewall("wall", "8000-8002", droplet_ids=[booted])
    cloud.account("PUT", f"/v2/firewalls/{created['id']}", json=changed)
    assert reachable(8002)
    cloud.account("PUT", f"/v2/firewalls/{created['id']}", json=changed | {"outbound_rules": []})
    with pytest.raises(command.Failed, match="timed out"):
        machine.run("python3", "-c", f"import socket; socket.create_connection(('{NETWORK_GATEWAY}', 5000), 1)")
    cloud.account("DELETE", f"/v2/firewalls/{created['id']}")
    assert reachable(8002)


def test_firewall_for_an_unknown_tag_returns_422(cloud: Cloud) -> None:
    with pytest.raises(requests.HTTPError, match="422"):
        cloud.account("POST", "/v2/firewalls", json=firewall("early", "1", tags=["never-made"]))


def test_injected_faults_apply_to_the_given_number_of_calls(
    cloud: Cloud, validated: Callable[..., requests.Response]
) -> None:
    call = {"method": "GET", "path": "/v2/regions"}
    cloud.account.inject({"kind": "failing", **call, "times": 2}, {"kind": "limited", **call, "seconds": 7})
    assert [validated("GET", "/v2/regions").status_code for _ in range(2)] == [500, 500]
    limited = validated("GET", "/v2/regions")
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "7")
    cloud.account.inject({"kind": "slow", **call, "seconds": 0.5})
    started_at = time.monotonic()
    assert validated("GET", "/v2/regions").status_code == 200
    assert time.monotonic() - started_at >= 0.5


def test_lost_answer_is_lost_after_the_droplet_was_created(cloud: Cloud) -> None:
    cloud.account.inject({"kind": "lost", "method": "POST", "path": "/v2/droplets"})
    with pytest.raises(requests.ConnectionError):
        cloud.create("lost")
    [created] = cloud.account("GET", "/v2/droplets?name=lost").json()["droplets"]
    cloud.account("DELETE", f"/v2/droplets/{created['id']}")


def test_late_tags_are_invisible_at_first(cloud: Cloud) -> None:
    cloud.account.inject(tags_late_seconds=1.5)
    key = cloud.create("late", tags=["late"])["id"]
    path = "/v2/droplets?tag_name=late"
    assert (cloud.get(key)["tags"], cloud.account("GET", path).json()["droplets"]) == ([], [])
    [found] = wait_until(lambda: cloud.account("GET", path).json()["droplets"], 10, "the tag")
    assert (found["id"], found["tags"]) == (key, ["late"])
    cloud.account("DELETE", f"/v2/droplets/{key}")


def test_droplets_and_interrupted_work_survive_a_restart_of_the_service(cloud: Cloud, booted: int) -> None:
    cloud.account.act(booted, "shutdown")
    leaving = cloud.create("leaving")["id"]
    cloud.account("DELETE", f"/v2/droplets/{leaving}")
    before = cloud.get(booted)
    cloud.stop()
    cloud.start()
    assert cloud.get(booted) == before
    wait_until(lambda: leaving not in [droplet["id"] for droplet in cloud.account.droplets()], 60, "the removal")
    assert cloud.create("next")["id"] > leaving
    cloud.account.act(booted, "power_on")
    assert cloud.get(booted)["status"] == "active"


def test_only_powered_droplets_boot_again_when_the_engine_restarts(
    cloud: Cloud, booted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = cloud.create("off")["id"]
    cloud.wait_for(off, "active")
    cloud.account.act(off, "power_off")
    rules = firewall("restarted", "8001", droplet_ids=[booted])
    created = cloud.account("POST", "/v2/firewalls", json=rules).json()["firewall"]
    # A stop of the engine ends every container, without a call of this service.
    cloud.machine(booted).cut_power()
    monkeypatch.setattr(droplets, "ENGINE_POLL_SECONDS", 0.1)
    engine_ids = iter(["1", "2"])
    arguments = (cloud.droplets, lambda: next(engine_ids, "2"), lambda: True)
    threading.Thread(target=droplets.restart_after_engine, args=arguments, daemon=True).start()
    cloud.wait_for(booted, "active")
    wait_until(lambda: "dport 8001" in cloud.machine(booted).run("iptables-save", "-t", "mangle"), 20, "its firewall")
    assert cloud.get(off)["status"] == "off"
    cloud.account("DELETE", f"/v2/firewalls/{created['id']}")
