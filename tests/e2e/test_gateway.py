"""The gateways for callers and for droplets: which functions each serves, and to whom."""

import pytest
import requests

from infra.local import authority
from infra.local.issuer import Issuer
from infra.local.toolbox import ACCOUNT
from infra.local.world import World
from tests.e2e.conftest import Api, Tools

pytestmark = pytest.mark.world


@pytest.mark.parametrize("prefix", ["", "/functions/v1", "/api"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_gateway_serves_each_function_under_every_prefix(api: Api, prefix: str, slash: str) -> None:
    answer = api("GET", f"{prefix}/toolboxes-user{slash}")
    assert answer.status_code == 200
    assert {toolbox["user_id"] for toolbox in answer.json()} == {ACCOUNT}


@pytest.mark.parametrize("token", ["none", "expired", "other account"])
def test_call_without_a_valid_token_reaches_nothing(local_world: World, tools: Tools, name: str, token: str) -> None:
    issuer = Issuer(local_world)
    tokens = {"none": None, "expired": issuer.token(ACCOUNT, -60), "other account": issuer.token("somebody-else")}
    answer = Tools(Api(local_world.gateway, tokens[token]), tools.path.split("/")[2]).deploy("nginx", name)
    assert answer.status_code == (404 if token == "other account" else 401)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert tools("GET", name).status_code == 404


@pytest.mark.parametrize("function", ["converge", "sweep"])
def test_platform_function_refuses_a_callers_token(api: Api, function: str) -> None:
    assert api("POST", f"/{function}").status_code == 401


def test_body_over_a_megabyte_is_refused_through_the_gateway(tools: Tools, image: str, name: str) -> None:
    answer = tools.deploy(image, name, environmentVariables={"A": "x" * 1_100_000})
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:toolboxes:problem:payload-too-large")


def test_droplets_gateway_serves_only_notify_and_enrol(local_world: World) -> None:
    session = requests.Session()
    session.trust_env = False
    with pytest.raises(requests.exceptions.SSLError):
        session.get(f"{local_world.droplets_gateway}/notify", timeout=10)
    session.verify = str(authority.CERTIFICATE)
    assert session.post(f"{local_world.droplets_gateway}/notify", timeout=10).status_code == 401
    assert session.post(f"{local_world.droplets_gateway}/enrol", timeout=10).status_code == 400
    for function in ("toolboxes-user", "toolbox-tools", "converge", "sweep", "issuer/jwks.json", "functions/v1/notify"):
        assert session.get(f"{local_world.droplets_gateway}/{function}", timeout=10).status_code == 404
