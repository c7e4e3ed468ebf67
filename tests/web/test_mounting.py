"""Where a function answers, and how browsers may call it."""

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from functions.web import app
from functions.web.requests import path_below
from tests.fakes.world import TOOLBOX
from tests.web.conftest import Caller


@pytest.mark.parametrize("prefix", ["", "/toolbox-tools", "/api/toolbox-tools", "/functions/v1/toolbox-tools"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_function_answers_below_its_name_with_any_prefix_and_slash(prefix: str, slash: str) -> None:
    assert path_below("toolbox-tools", f"{prefix}/a/tools{slash}") == "/a/tools"
    assert path_below("toolbox-tools", prefix + slash) == "/"


def test_a_name_that_only_begins_like_the_functions_is_a_path_of_its_own() -> None:
    assert path_below("toolbox-tools", "/toolbox-tools-x/a") == "/toolbox-tools-x/a"


def test_a_mounted_request_reaches_its_route(apps: dict[str, Flask], call: Caller) -> None:
    path = f"/functions/v1/toolboxes-user/{TOOLBOX}/"
    outer = EnvironBuilder(path=path, headers=[("Authorization", f"Bearer {call.token}")]).get_environ()
    answer = app.serve(apps["toolboxes-user"], "toolboxes-user", Request(outer))
    assert answer.status_code == 200
    assert answer.json["id"] == TOOLBOX  # type: ignore[index]


def test_a_browsers_preflight_is_answered_without_a_token(apps: dict[str, Flask]) -> None:
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, x-client-info, apikey, content-type, idempotency-key",
    }
    answer = Caller(apps, None)("OPTIONS", "toolbox-tools", f"/{TOOLBOX}/tools", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] in ("*", "https://app.example")
    allowed = answer.headers["Access-Control-Allow-Headers"].replace(" ", "").split(",")
    assert {"authorization", "x-client-info", "apikey", "content-type", "idempotency-key"} <= set(allowed)
    assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]


def test_an_error_can_be_read_across_origins_too(call: Caller) -> None:
    answer = call("GET", "toolbox-tools", f"/{TOOLBOX}/tools/none", headers={"Origin": "https://app.example"})
    assert answer.status_code == 404
    assert "Access-Control-Allow-Origin" in answer.headers
