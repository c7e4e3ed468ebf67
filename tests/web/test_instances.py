"""`toolbox-tools`, as its callers see it."""

import json

import pytest

from shim.contract import errors, names
from tests.fakes.droplet import IMAGE, Fault
from tests.fakes.world import TOOLBOX, World
from tests.web.conftest import Caller

TOOLS = f"/{TOOLBOX}/tools"
NAME = "Context7 MCP Server-1750278276605"
BODY = {"instanceNameOnToolbox": NAME, "dockerImage": IMAGE, "portMappings": [{"containerPort": 3001}]}
FIELDS = """
    id account_tool_environment_id user_id tool_catalog_id instance_name_on_toolbox status_on_toolbox
    status_reason instance_error_message desired_state generation observed_generation observed_at
    last_heartbeat_from_dtma reachable spec base_config_override_json image image_digest version container_id
    container_name ports health mcp mcp_server_type mcp_transport_type mcp_endpoint_path mcp_server_capabilities
    exit restart_count started_at progress created_at updated_at
""".split()


def test_a_deploy_answers_201_with_the_whole_record(call: Caller) -> None:
    answer = call("POST", "toolbox-tools", TOOLS, json=BODY)
    record = answer.json
    assert answer.status_code == 201
    assert list(record) == FIELDS
    assert (record["status_on_toolbox"], record["instance_name_on_toolbox"]) == ("running", NAME)
    assert record["ports"] == [
        {"container_port": 3001, "host_ip": "0.0.0.0", "host_port": record["ports"][0]["host_port"], "protocol": "tcp"}
    ]
    assert record["observed_at"] == record["last_heartbeat_from_dtma"] != None  # noqa: E711
    assert record["container_name"] == f"tool-{record['id']}-g1"


def test_a_deploy_whose_image_must_be_pulled_answers_202(call: Caller) -> None:
    answer = call("POST", "toolbox-tools", TOOLS, json={**BODY, "dockerImage": "registry.test/other:2"})
    assert (answer.status_code, answer.json["status_on_toolbox"]) == (202, "deploying")


def test_the_frontends_nested_fields_are_read_as_those_of_the_body(call: Caller) -> None:
    nested = {
        "dockerImage": IMAGE,
        "environmentVariables": {"A": "b"},
        "portMappings": [{"containerPort": 1, "hostPort": 30000}],
        "mcpTransport": "sse",
        "mcpEndpoint": "/mcp",
        "mcpPort": 1,
        "mcpCapabilities": {"tools": [[1], [2**70]], "": {"__x__": None}},
        "templateId": "t-1",
    }
    body = {"instanceNameOnToolbox": NAME, "toolCatalogId": "c-1", "baseConfigOverrideJson": nested}
    record = call("POST", "toolbox-tools", TOOLS, json=body).json
    assert record["spec"]["environmentVariables"] == {"A": "b"}
    assert record["spec"]["mcp"] == {"port": 1, "path": "/mcp"}
    assert record["ports"][0]["host_port"] in names.HOST_PORTS
    assert record["base_config_override_json"] == nested
    assert (record["tool_catalog_id"], record["mcp_transport_type"]) == ("c-1", "sse")
    assert record["mcp_server_capabilities"] == nested["mcpCapabilities"]


def test_a_spec_can_be_sent_again_as_the_record_shows_it(call: Caller) -> None:
    spec = call("POST", "toolbox-tools", TOOLS, json=BODY).json["spec"]
    spec["portMappings"][0]["hostPort"] = 20_001
    again = call("POST", "toolbox-tools", TOOLS, json={"instanceNameOnToolbox": "second", **spec})
    assert (again.status_code, again.json["spec"]) == (201, spec)


@pytest.mark.parametrize("key", ["id", "instance_name_on_toolbox"])
def test_an_instance_is_started_stopped_restarted_read_and_deleted_by_id_or_name(call: Caller, key: str) -> None:
    instance = call("POST", "toolbox-tools", TOOLS, json=BODY).json[key].replace(" ", "%20")
    path = f"{TOOLS}/{instance}"
    assert call("POST", "toolbox-tools", f"{path}/stop").json["status_on_toolbox"] == "stopped"
    assert call("POST", "toolbox-tools", f"{path}/start", json={}).json["status_on_toolbox"] == "running"
    assert call("POST", "toolbox-tools", f"{path}/restart").json["status_on_toolbox"] == "running"
    assert call("GET", "toolbox-tools", path).json["status_on_toolbox"] == "running"
    deleted = call("DELETE", "toolbox-tools", path)
    assert (deleted.status_code, deleted.json["status_on_toolbox"]) == (200, "deleting")
    assert call("GET", "toolbox-tools", path).status_code == 404
    assert call("GET", "toolbox-tools", TOOLS).json == []


def test_the_list_is_a_bare_array_newest_first_and_links_to_its_next_page(call: Caller, world: World) -> None:
    for number in range(5):
        world.pass_time(1)
        call("POST", "toolbox-tools", TOOLS, json={**BODY, "instanceNameOnToolbox": f"n{number}"})
    names, path = [], "?limit=2"
    while path:
        answer = call("GET", "toolbox-tools", TOOLS + path)
        names += [record["instance_name_on_toolbox"] for record in answer.json]
        path = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert names == ["n4", "n3", "n2", "n1", "n0"]


def test_logs_are_what_docker_kept(call: Caller) -> None:
    call("POST", "toolbox-tools", TOOLS, json=BODY)
    answer = call("GET", "toolbox-tools", f"{TOOLS}/{NAME}/logs?tail=10&since=2025-06-18T20:31:16Z").json
    assert answer["logs"] == ["2026-01-01T00:00:00.000000001Z ready"]
    assert answer["success"] is True


def test_logs_that_cannot_be_had_are_an_error_and_never_made_up(call: Caller, world: World) -> None:
    call("POST", "toolbox-tools", TOOLS, json=BODY)
    world.droplet.reachable = False
    answer = call("GET", "toolbox-tools", f"{TOOLS}/{NAME}/logs")
    assert (answer.status_code, answer.json["type"]) == (503, "urn:toolboxes:problem:toolbox-unreachable")
    world.droplet.reachable = True
    world.droplet.containers.clear()
    answer = call("GET", "toolbox-tools", f"{TOOLS}/{NAME}/logs")
    assert (answer.status_code, answer.json["type"]) == (409, "urn:toolboxes:problem:not-allowed-now")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.OutcomeUnknown("no answer"), 504, "outcome-unknown"),
        (errors.EngineUnavailable("no engine"), 503, "engine-unavailable"),
        (errors.UnknownRoute("what?"), 502, "unknown-route"),
        (errors.ShimError("oops"), 502, "internal-error"),
    ],
)
def test_the_shims_errors_keep_their_codes(
    call: Caller, world: World, error: errors.ShimError, status: int, code: str
) -> None:
    call("POST", "toolbox-tools", TOOLS, json=BODY)
    world.droplet.faults.append(Fault(error))
    answer = call("GET", "toolbox-tools", f"{TOOLS}/{NAME}/logs")
    assert (answer.status_code, answer.json["type"]) == (status, f"urn:toolboxes:problem:{code}")


WRONG = [
    ("{", "JSON"),
    ("[]", "object"),
    ("nul", "JSON"),
    ({}, "instanceNameOnToolbox"),
    ({"instanceNameOnToolbox": "n"}, "dockerImage"),
    ({**BODY, "privileged": True}, "privileged"),
    ({**BODY, "baseConfigOverrideJson": {"hostConfig": {}}}, "hostConfig"),
    ({**BODY, "baseConfigOverrideJson": {"dockerImage": "another"}}, "differs"),
    ({**BODY, "instanceNameOnToolbox": "n" * 129}, "128"),
    ({**BODY, "instanceNameOnToolbox": ""}, "1 to 128"),
    ({**BODY, "instanceNameOnToolbox": "a/b"}, "slash"),
    ({**BODY, "instanceNameOnToolbox": "a\\b"}, "backslash"),
    ({**BODY, "instanceNameOnToolbox": "a\nb"}, "control"),
    ({**BODY, "instanceNameOnToolbox": ".."}, ".."),
    ({**BODY, "instanceNameOnToolbox": TOOLBOX.upper()}, "form of a UUID"),
    ({**BODY, "dockerImage": "Not An Image"}, "image reference"),
    ({**BODY, "dockerImage": "image:tag;rm -rf"}, "image reference"),
    ({**BODY, "portMappings": [{"containerPort": 0}]}, "containerPort"),
    ({**BODY, "portMappings": [{"containerPort": 65536}]}, "containerPort"),
    ({**BODY, "portMappings": [{"containerPort": "80"}]}, "containerPort"),
    ({**BODY, "portMappings": [{"containerPort": 80, "hostPort": 80}]}, "20000 to 29999"),
    ({**BODY, "portMappings": [{"containerPort": 80}, {"containerPort": 80}]}, "twice"),
    ({**BODY, "resourceLimits": {"memory": "1m"}}, "memory"),
    ({**BODY, "resourceLimits": {"cpu": "lots"}}, "cpu"),
    ({**BODY, "volumes": [{"name": "../x", "path": "/data"}]}, "volume name"),
    ({**BODY, "volumes": [{"name": "x", "path": "/data/../etc"}]}, "absolute path"),
    ({**BODY, "environmentVariables": {"A=B": "c"}}, "A=B"),
    ({**BODY, "environmentVariables": {"A": 1}}, "environmentVariables.A"),
    ({**BODY, "environmentVariables": {"__A__": "b"}}, "reserved"),
    ({**BODY, "environmentVariables": {f"A{n}": "x" * 30_000 for n in range(5)}}, "131072"),
    ({**BODY, "command": ["a\0b"]}, "NUL"),
    ({**BODY, "restartPolicy": "always"}, "restartPolicy"),
]


@pytest.mark.parametrize(("body", "message"), WRONG, ids=[message for _, message in WRONG])
def test_bad_input_is_a_problem_that_helps_and_nothing_is_written_or_started(
    call: Caller, world: World, body: object, message: str
) -> None:
    answer = call("POST", "toolbox-tools", TOOLS, data=body if isinstance(body, str) else json.dumps(body))
    assert answer.status_code == 400
    assert answer.mimetype == "application/problem+json"
    assert answer.json["message"] == answer.json["detail"]
    assert message in answer.json["detail"]
    assert not world.documents() and not world.droplet.calls


def test_a_body_over_a_megabyte_is_refused(call: Caller, world: World) -> None:
    answer = call("POST", "toolbox-tools", TOOLS, data=b'{"a": "' + b"x" * 1_000_000 + b'"}')
    assert (answer.status_code, answer.json["type"]) == (413, "urn:toolboxes:problem:payload-too-large")
    assert world.documents() == []


@pytest.mark.parametrize("path", [f"/{TOOLBOX}", f"/{TOOLBOX}/things", f"{TOOLS}/a/b", f"{TOOLS}/a/explode"])
def test_an_unknown_route_is_told_from_an_unknown_instance(call: Caller, path: str) -> None:
    assert call("GET", "toolbox-tools", path).json["type"] == "urn:toolboxes:problem:unknown-route"
    assert call("GET", "toolbox-tools", f"{TOOLS}/nobody").json["type"] == "urn:toolboxes:problem:not-found"


def test_a_bug_shows_its_caller_nothing_but_an_id(call: Caller, world: World) -> None:
    call("POST", "toolbox-tools", TOOLS, json=BODY)
    world.droplet.faults.append(Fault(RuntimeError("secret detail")))
    answer = call("GET", "toolbox-tools", f"{TOOLS}/{NAME}/logs")
    assert (answer.status_code, answer.json["detail"]) == (500, "Internal error. Report the request_id.")
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
