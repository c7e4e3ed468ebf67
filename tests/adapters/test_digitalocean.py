"""The DigitalOcean adapter over HTTP: what it sends, and which error each kind of answer becomes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from functions.adapters.digitalocean import DigitalOcean
from functions.adapters.droplet_settings import DigitalOceanApi, ProvisioningDefaults
from functions.domain.errors import DigitalOceanBusy, DigitalOceanRefused, DigitalOceanUnknown, Misconfigured
from functions.domain.toolbox.droplet import NewDroplet

TOOLBOX = "11111111-1111-4111-8111-111111111111"
NEW = NewDroplet(TOOLBOX, f"toolbox-{TOOLBOX}-1", "fra1", "s-1vcpu-1gb", "debian-12-x64", "a-token-of-this-attempt")
DEFAULTS = ProvisioningDefaults(
    f"registry.test/shim@sha256:{'0' * 64}",
    {"kid": "key"},
    "https://f.test/enrol",
    "https://f.test/notify",
    ("289794",),
    ("192.0.2.0/24",),
)
DROPLET = {
    "id": 500000001, "name": NEW.name, "status": "active", "created_at": "2026-01-01T00:00:00Z", "tags": ["toolboxes"],
    "networks": {"v4": [{"ip_address": "10.0.0.2", "type": "private"}, {"ip_address": "192.0.2.1", "type": "public"}]},
}  # fmt: skip


@dataclass
class Api:
    """A server that gives prepared answers in their order, and records the requests."""

    url: str = ""
    answers: list[tuple[int, dict[str, str], Any]] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, list[str]], Any]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def answers_with(self, status: int, body: Any = None, **headers: str) -> None:
        self.answers.append((status, headers, body))


@pytest.fixture
def api() -> Iterator[Api]:
    fake = Api()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            url, length = urlsplit(self.path), int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            fake.requests.append((self.command, url.path, parse_qs(url.query), body))
            fake.tokens.add(self.headers["Authorization"])
            status, headers, answer_body = fake.answers.pop(0)
            content = json.dumps(answer_body).encode() if answer_body is not None else b""
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing: a line per request would hide the test's own output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    yield fake
    server.shutdown()
    server.server_close()


@pytest.fixture
def client(api: Api) -> DigitalOcean:
    return DigitalOcean(DigitalOceanApi("dop_v1_token", api.url), DEFAULTS)


def test_create_sends_name_tags_ssh_keys_and_user_data(api: Api, client: DigitalOcean) -> None:
    api.answers_with(202, {"droplet": {**DROPLET, "status": "new", "networks": {"v4": [], "v6": []}}, "links": {}})
    created = client.create(NEW)
    assert (created.id, created.name, created.state, created.address) == ("500000001", NEW.name, "new", None)
    [(method, path, _, body)] = api.requests
    assert (method, path) == ("POST", "/v2/droplets")
    user_data = body.pop("user_data")
    assert body == {
        "name": NEW.name, "region": "fra1", "size": "s-1vcpu-1gb", "image": "debian-12-x64", "ssh_keys": ["289794"],
        "tags": ["toolboxes", f"toolbox-{TOOLBOX}"], "monitoring": False, "ipv6": False,
    }  # fmt: skip
    assert user_data.startswith("#cloud-config\n")
    assert NEW.token in user_data
    assert "dop_v1_token" not in user_data
    assert api.tokens == {"Bearer dop_v1_token"}


def test_firewall_opens_the_ports_to_the_configured_networks(api: Api, client: DigitalOcean) -> None:
    api.answers_with(200, {"firewalls": [{"id": "f-1", "name": "another"}], "links": {}})
    api.answers_with(201, {"tag": {"name": "toolbox-1"}})
    api.answers_with(202, {"firewall": {"id": "f-2"}})
    client.open_firewall("toolbox-1")
    assert [request[:2] for request in api.requests] == [
        ("GET", "/v2/firewalls"), ("POST", "/v2/tags"), ("POST", "/v2/firewalls"),
    ]  # fmt: skip
    body = api.requests[-1][3]
    assert (body["name"], body["tags"]) == ("toolbox-1", ["toolbox-1"])
    assert [(rule["protocol"], rule["ports"], rule["sources"]) for rule in body["inbound_rules"]] == [
        ("tcp", "30000", {"addresses": ["192.0.2.0/24"]}),
        ("tcp", "20000-29999", {"addresses": ["192.0.2.0/24"]}),
        ("udp", "20000-29999", {"addresses": ["192.0.2.0/24"]}),
    ]


def test_existing_firewall_is_not_created_again_and_is_removed_by_its_id(api: Api, client: DigitalOcean) -> None:
    for _ in range(2):
        api.answers_with(200, {"firewalls": [{"id": "f-1", "name": "toolbox-1"}, {"id": "f-2", "name": "another"}]})
    api.answers_with(204)
    client.open_firewall("toolbox-1")
    client.remove_firewall("toolbox-1")
    assert [request[:2] for request in api.requests] == [
        ("GET", "/v2/firewalls"), ("GET", "/v2/firewalls"), ("DELETE", "/v2/firewalls/f-1"),
    ]  # fmt: skip


def test_all_pages_of_a_list_are_read(api: Api, client: DigitalOcean) -> None:
    api.answers_with(
        200, {"droplets": [DROPLET], "links": {"pages": {"next": "https://elsewhere.test/v2/droplets?page=2"}}}
    )
    api.answers_with(200, {"droplets": [{**DROPLET, "id": 7}], "links": {}})
    assert [box.id for box in client.list_by_tag("toolboxes")] == ["500000001", "7"]
    assert [(request[1], request[2]["tag_name"], request[2]["page"]) for request in api.requests] == [
        ("/v2/droplets", ["toolboxes"], ["1"]), ("/v2/droplets", ["toolboxes"], ["2"]),
    ]  # fmt: skip


def test_droplet_is_found_by_name_and_id_and_destroyed_by_id(api: Api, client: DigitalOcean) -> None:
    api.answers_with(200, {"droplets": [DROPLET], "links": {}})
    api.answers_with(200, {"droplet": DROPLET})
    api.answers_with(404, {"id": "not_found", "message": "gone"})
    api.answers_with(204)
    api.answers_with(404, {"id": "not_found", "message": "gone"})
    assert [box.address for box in client.list_by_name(NEW.name)] == ["192.0.2.1"]
    found = client.get("500000001")
    assert found
    assert found.tags == ["toolboxes"]
    assert client.get("500000001") is None
    assert (client.destroy("500000001"), client.destroy("500000001")) == (True, False)
    assert api.requests[0][2]["name"] == [NEW.name]
    assert {request[:2] for request in api.requests[3:]} == {("DELETE", "/v2/droplets/500000001")}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, DigitalOceanBusy),
        (403, DigitalOceanBusy),
        (409, DigitalOceanRefused),
        (422, DigitalOceanRefused),
        (429, DigitalOceanBusy),
        (500, DigitalOceanUnknown),
        (503, DigitalOceanUnknown),
        (302, DigitalOceanUnknown),
    ],
)
def test_each_status_becomes_its_kind_of_error(
    api: Api, client: DigitalOcean, status: int, kind: type[Exception]
) -> None:
    api.answers_with(status, {"id": "x", "message": "said why"}, Retry_After="42", Location="/v2/elsewhere")
    with pytest.raises(kind) as caught:
        client.create(NEW)
    assert len(api.requests) == 1, "neither repeated nor redirected"
    if isinstance(caught.value, DigitalOceanBusy):
        assert caught.value.retry_after == 42
    if status != 302:
        assert "said why" in str(caught.value)


@pytest.mark.parametrize("body", [None, [], {"droplet": {}}, {"droplet": {**DROPLET, "networks": None}}, {"other": 1}])
def test_answer_of_an_unexpected_form_is_an_unknown_outcome(api: Api, client: DigitalOcean, body: object) -> None:
    api.answers_with(202, body)
    with pytest.raises(DigitalOceanUnknown):
        client.create(NEW)


def test_outcome_is_unknown_where_no_server_answers() -> None:
    silent = DigitalOcean(DigitalOceanApi("dop_v1_token", "http://127.0.0.1:9"), DEFAULTS)
    with pytest.raises(DigitalOceanUnknown):
        silent.get("1")


def test_create_without_provisioning_settings_is_refused(api: Api) -> None:
    with pytest.raises(Misconfigured):
        DigitalOcean(DigitalOceanApi("dop_v1_token", api.url), None).create(NEW)


def test_only_available_regions_and_sizes_are_listed(api: Api, client: DigitalOcean) -> None:
    api.answers_with(200, {"regions": [{"slug": "fra1", "available": True}, {"slug": "nyc2", "available": False}]})
    api.answers_with(200, {"sizes": [{"slug": "s-1vcpu-1gb", "available": True}, {"slug": "old", "available": False}]})
    assert [region["slug"] for region in client.regions()] == ["fra1"]
    assert [size["slug"] for size in client.sizes()] == ["s-1vcpu-1gb"]
