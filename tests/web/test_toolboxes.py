"""`toolboxes-user`, as its callers see it."""

from functions.domain.errors import ShimIncompatible
from tests.fakes.droplet import Fault
from tests.fakes.world import TOOLBOX, World
from tests.web.conftest import Caller

FIELDS = """
    id user_id name description status region_slug size_slug image_slug do_droplet_id do_droplet_name
    public_ip_address provisioning_error_message last_heartbeat_at dtma_last_known_version
    dtma_health_details_json dtma_bearer_token generation observed_generation created_at updated_at
""".split()


def test_a_toolbox_is_shown_with_exactly_its_fields(call: Caller) -> None:
    record = call("GET", "toolboxes-user", f"/{TOOLBOX}").json
    assert list(record) == FIELDS
    assert (record["id"], record["status"], record["last_heartbeat_at"]) == (TOOLBOX, "active", None)


def test_a_refresh_records_that_the_shim_was_heard_and_what_it_said(call: Caller, world: World) -> None:
    record = call("POST", "toolboxes-user", f"/{TOOLBOX}/refresh-status").json
    assert record["last_heartbeat_at"] == world.time.isoformat()
    assert record["dtma_last_known_version"] == "1.0.0"
    assert record["dtma_health_details_json"] == {
        "system_metrics": {
            "cpu_load_percent": 12.5,
            "memory": {"total_bytes": 8 << 30, "active_bytes": 1, "free_bytes": 5, "used_bytes": 3},
            "disk": {"mount": "/", "total_bytes": 50 << 30, "used_bytes": 20 << 30, "free_bytes": 30 << 30},
        },
        "engine_version": "20.10.24",
        "contract": 2,
    }
    assert call("GET", "toolboxes-user", f"/{TOOLBOX}").json == record


def test_refreshing_an_unreachable_toolbox_is_a_record_with_the_old_heartbeat(call: Caller, world: World) -> None:
    last_heartbeat_at = call("GET", "toolboxes-user", f"/{TOOLBOX}/refresh-status").json["last_heartbeat_at"]
    world.pass_time(60)
    world.droplet.reachable = False
    answer = call("GET", "toolboxes-user", f"/{TOOLBOX}/refresh-status")
    assert (answer.status_code, answer.json["status"]) == (200, "unresponsive")
    assert answer.json["last_heartbeat_at"] == last_heartbeat_at
    world.droplet.reachable = True
    assert call("GET", "toolboxes-user", f"/{TOOLBOX}/refresh-status").json["status"] == "active"


def test_a_shim_of_another_contract_is_a_409_that_names_both_versions(call: Caller, world: World) -> None:
    message = "the toolbox's shim speaks contract 2 and this service 1"
    world.droplet.faults.append(Fault(ShimIncompatible(message)))
    answer = call("GET", "toolboxes-user", f"/{TOOLBOX}/refresh-status")
    assert (answer.status_code, answer.json["type"]) == (409, "urn:toolboxes:problem:shim-incompatible")
    assert answer.json["message"] == message
