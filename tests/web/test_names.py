"""An instance's name in a path: whatever it is made of, percent-encoded, it is that instance and no other's."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

import pytest

from tests.fakes.droplet import IMAGE
from tests.fakes.world import TOOLBOX
from tests.web.conftest import Caller

TOOLS = f"/{TOOLBOX}/tools"
NAMES = [
    "Context7 MCP Server-1750278276605", "a", "名前" * 64, "🦀", "é", "Ελληνικά", "עברית", "\u202etfel", "a%2Fb",
    "100%", "%", "a+b", "a b", " a ", "?status=running", "#1", "a;b", "a&b=c", "'\"<>", "{}", "...", ".hidden", "-",
    "start", "tools", "__proto__", "con", "a:b", "@", "~", "a,b",
]  # fmt: skip


def path(name: str) -> str:
    return f"{TOOLS}/{quote(name, safe='')}"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_any_script_is_found_by_its_percent_encoded_form(call: Caller, name: str) -> None:
    body = {"instanceNameOnToolbox": name, "dockerImage": IMAGE}
    deployed = call("POST", "toolbox-tools", TOOLS, json=body)
    assert (deployed.status_code, deployed.json["instance_name_on_toolbox"]) == (201, name)
    assert call("GET", "toolbox-tools", path(name)).json["id"] == deployed.json["id"]
    assert call("POST", "toolbox-tools", f"{path(name)}/stop").json["status_on_toolbox"] == "stopped"
    assert call("GET", "toolbox-tools", f"{path(name)}/events").status_code == 200
    assert call("DELETE", "toolbox-tools", path(name)).status_code == 200


def test_a_name_is_one_in_whichever_form_its_characters_are_composed(call: Caller) -> None:
    composed, decomposed = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    first = call("POST", "toolbox-tools", TOOLS, json={"instanceNameOnToolbox": decomposed, "dockerImage": IMAGE})
    again = call("POST", "toolbox-tools", TOOLS, json={"instanceNameOnToolbox": composed, "dockerImage": IMAGE})
    assert (first.status_code, again.status_code) == (201, 409)
    assert {call("GET", "toolbox-tools", path(form)).json["id"] for form in (composed, decomposed)} == {
        first.json["id"]
    }


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "/", "\\", "a\\b", "a\nb", "\0", "\x7f", "\x85", "a" * 129, "\ud800",
     "11111111-1111-4111-8111-111111111111", "AAAAAAAA-1111-4111-8111-111111111111"],
)  # fmt: skip
def test_a_name_that_a_path_or_a_line_could_trip_over_is_refused(call: Caller, name: str) -> None:
    body = {"instanceNameOnToolbox": name, "dockerImage": IMAGE}
    assert call("POST", "toolbox-tools", TOOLS, json=body).status_code == 400
    assert call("GET", "toolbox-tools", TOOLS).json == []


@pytest.mark.parametrize(
    "below",
    ["/..", "/%2e%2e", "/.", "/server/..", "/server%2Fstop", "/server/%2e%2e/server", "//server", "/server//stop",
     "/server%00", "/%73erver%0a", "/server;x", "/server%252Fstop", "/SERVER", "/server ", "/%ff%fe"],
)  # fmt: skip
def test_a_path_that_only_looks_like_an_instances_is_a_404_and_reaches_nothing(call: Caller, below: str) -> None:
    body = {"instanceNameOnToolbox": "server", "dockerImage": IMAGE}
    deployed = call("POST", "toolbox-tools", TOOLS, json=body).json
    for method in ("GET", "DELETE"):
        answer = call(method, "toolbox-tools", f"{TOOLS}{below}")
        assert answer.status_code in (404, 405), (method, below, answer.status_code)
    assert call("GET", "toolbox-tools", f"{TOOLS}/server").json == deployed


@pytest.mark.parametrize("box", ["..", "%2e%2e", "x", f"{TOOLBOX}%20", f"%20{TOOLBOX}", f"{TOOLBOX}%00", "é"])
def test_what_is_no_toolboxs_id_is_there_for_nobody(call: Caller, box: str) -> None:
    assert call("GET", "toolbox-tools", f"/{box}/tools").status_code == 404
    assert call("GET", "toolboxes-user", f"/{box}").status_code == 404
