"""What is too large, too odd or made up in a request is a 4xx that names it, and no answer is without bounds."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from functions.lifecycle.dependencies import Put, Ref
from tests.fakes.droplet import IMAGE
from tests.fakes.world import TOOLBOX, World
from tests.web.conftest import Caller

TOOLS = f"/{TOOLBOX}/tools"
BODY: dict[str, Any] = {"instanceNameOnToolbox": "server", "dockerImage": IMAGE}
KEY = {"Idempotency-Key": "once"}


def deploy(call: Caller, headers: dict[str, str] | None = None, **more: Any) -> Any:
    return call("POST", "toolbox-tools", TOOLS, json={**BODY, **more}, headers=headers or {})


def test_configuration_over_256_kib_is_a_413_that_says_what_to_do(call: Caller, world: World) -> None:
    answer = deploy(call, baseConfigOverrideJson={"command": ["x" * 8_192] * 60}, start=False)
    assert (answer.status_code, answer.json["type"]) == (413, "urn:toolboxes:problem:payload-too-large")
    assert "at most 262144" in answer.json["detail"] and "Shorten it" in answer.json["detail"]
    assert not world.documents() and not world.droplet.calls
    assert deploy(call).status_code == 201
    patched = call("PATCH", "toolbox-tools", f"{TOOLS}/server", json={"command": ["x" * 8_192] * 60})
    assert patched.status_code == 413
    assert call("DELETE", "toolbox-tools", f"{TOOLS}/server").status_code == 200


ODD: list[Any] = [
    [[1]],
    {"a": [[[]]]},
    2**70,
    {"__name__": 1},
    {"": {"": None}},
    {"k" * 2_000: [-(2**64)]},
]


@pytest.mark.parametrize("capabilities", ODD, ids=lambda value: json.dumps(value)[:20])
def test_any_json_of_the_catalogue_is_stored_and_shown_also_with_a_key(call: Caller, capabilities: Any) -> None:
    answers = [deploy(call, KEY, baseConfigOverrideJson={"mcpCapabilities": capabilities}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json == answers[1].json
    assert answers[0].json["mcp_server_capabilities"] == capabilities


@pytest.mark.parametrize("number", ["1e999", "-1e999", '{"a": [1, {"b": 1e999}]}', "NaN", "[Infinity]"])
@pytest.mark.parametrize("headers", [{}, KEY], ids=["without key", "with key"])
def test_number_that_json_does_not_have_is_a_400_that_names_the_key(
    call: Caller, world: World, number: str, headers: dict[str, str]
) -> None:
    body = json.dumps({**BODY, "baseConfigOverrideJson": {"mcpCapabilities": "?"}}).replace('"?"', number)
    answer = call("POST", "toolbox-tools", TOOLS, data=body, headers=headers)
    assert (answer.status_code, "mcpCapabilities" in answer.json["detail"]) == (400, True)
    assert not world.documents()


def signed_like(place: Any) -> str:
    return base64.urlsafe_b64encode(b"\0" * 16 + json.dumps(place).encode()).decode()


FORGED = [
    *("", "x", "====", "é", "\0", "a" * 4_000, "AAAA-_==", base64.urlsafe_b64encode(b"\xff\xfe").decode()),
    *(signed_like(place) for place in (["2026-01-01T00:00:00+00:00", "1"], [], None, {"a": 1}, ["9999", "a/b"])),
    *(
        base64.urlsafe_b64encode(json.dumps(place).encode()).decode()
        for place in (
            ["2026-01-01T00:00:00+00:00", "1"],
            ["2026-01-01T00:00:00", "1"],
            ["2026-01-01T00:00:00+00:00", "a/b"],
            ["2026-01-01T00:00:00+00:00", ""],
            ["2026-01-01T00:00:00+00:00", "__a__"],
            ["0001-01-01T00:00:00+23:59", "1"],
            ["2026-01-01T00:00:00+00:00", "\ud800"],
            ["2026-01-01", 1],
        )
    ),
]
LISTS = [
    ("toolbox-tools", TOOLS),
    ("toolbox-tools", f"{TOOLS}/server/events"),
    ("toolbox-tools", f"{TOOLS}/server/post-mortems"),
    ("toolboxes-user", "/"),
    ("toolboxes-user", f"/{TOOLBOX}/events"),
]


@pytest.mark.parametrize(("function", "path"), LISTS)
def test_cursor_that_is_made_up_is_a_400(call: Caller, function: str, path: str) -> None:
    deploy(call)
    for cursor in FORGED:
        answer = call("GET", function, path, query_string={"cursor": cursor})
        assert (answer.status_code, answer.json["detail"].partition(" ")[0]) == (400, "cursor"), cursor


def test_cursor_that_was_changed_is_a_400_and_its_own_leads_on(call: Caller) -> None:
    for name in ("first", "second"):
        deploy(call, instanceNameOnToolbox=name)
    link = call("GET", "toolbox-tools", f"{TOOLS}?limit=1").headers["Link"]
    query = link.partition("?")[2].partition(">")[0]
    [following] = call("GET", "toolbox-tools", f"{TOOLS}?{query}").json
    assert following["instance_name_on_toolbox"] == "first"
    _, _, cursor = query.partition("&cursor=")
    other = "A" if cursor[20] != "A" else "B"
    assert call("GET", "toolbox-tools", f"{TOOLS}?cursor={cursor[:20]}{other}{cursor[21:]}").status_code == 400


def names_of_all_pages(call: Caller, path: str) -> list[list[str]]:
    pages, link = [], path
    while True:
        answer = call("GET", "toolbox-tools", link)
        assert len(answer.data) < 2_500_000
        pages.append([record["instance_name_on_toolbox"] for record in answer.json])
        if "Link" not in answer.headers:
            return pages
        link = f"{path}?{answer.headers['Link'].partition('?')[2].partition('>')[0]}"


def test_page_of_large_records_ends_early_and_its_link_leads_to_the_rest(call: Caller) -> None:
    names = [f"server-{n:02}" for n in range(12)]
    for name in names:
        assert deploy(call, instanceNameOnToolbox=name, command=["x" * 8_000] * 30).status_code == 201
    pages = names_of_all_pages(call, TOOLS)
    assert [name for page in pages for name in page] == names[::-1]
    assert [len(page) for page in pages] == [4, 4, 4]


def test_page_of_small_records_is_as_long_as_its_limit(call: Caller) -> None:
    names = [f"server-{n:02}" for n in range(23)]
    for name in names:
        deploy(call, instanceNameOnToolbox=name, start=False)
    assert names_of_all_pages(call, TOOLS) == [names[::-1]]
    assert len(call("GET", "toolbox-tools", f"{TOOLS}?limit=15").json) == 15


def test_page_of_large_post_mortems_ends_early(call: Caller, world: World) -> None:
    instance_id = deploy(call).json["id"]
    for n in range(8):
        document = {
            "container_name": "a",
            "generation": n,
            "cause": "b",
            "container": None,
            "logs": ["x" * 250_000],
            "missing": [],
            "time": world.now(),
        }
        world.store.commit([Put(Ref(f"account_tool_instances/{instance_id}/post_mortems", str(n)), document)])
    answer = call("GET", "toolbox-tools", f"{TOOLS}/server/post-mortems")
    assert len(answer.json) == 4
    assert "Link" in answer.headers


def test_large_answer_is_made_again_of_the_record_and_not_stored(call: Caller, world: World) -> None:
    first = deploy(call, KEY, command=["x" * 8_000] * 10)
    assert (first.status_code, len(first.data) > 80_000) == (201, True)
    [request] = world.documents("requests")
    assert (request["about"], request["answer"]) == (first.json["id"], None)
    calls = len(world.droplet.calls)
    again = deploy(call, KEY, command=["x" * 8_000] * 10)
    assert (again.status_code, again.json) == (201, first.json)
    assert len(world.droplet.calls) == calls and len(world.documents()) == 1
