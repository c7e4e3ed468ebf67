"""The resource usage of a container: the engine's statistics as a message of the contract."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from shim.contract import messages, routes
from shim.contract.messages import Stats
from tests.shim.caller import Caller
from tests.shim.droplet import Droplet
from tests.shim.fake_engine import FakeEngine
from tests.shim.test_engine_faults import inspection

# The answer of an engine on cgroup 2, without the fields that the shim does not read.
MEASURED: dict[str, Any] = {
    "read": "2026-01-01T00:00:01.5Z",
    "pids_stats": {"current": 3},
    "blkio_stats": {
        "io_service_bytes_recursive": [
            {"major": 8, "minor": 0, "op": "read", "value": 100},
            {"major": 8, "minor": 0, "op": "write", "value": 7},
            {"major": 8, "minor": 1, "op": "read", "value": 10},
        ]
    },
    "cpu_stats": {"cpu_usage": {"total_usage": 3_000_000_000}, "system_cpu_usage": 12_000_000_000, "online_cpus": 2},
    "precpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}, "system_cpu_usage": 10_000_000_000},
    "memory_stats": {"usage": 5_000, "limit": 64 << 20, "stats": {"inactive_file": 1_000}},
    "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
}


def stats(caller: Caller, engine: FakeEngine, name: str, toolbox_id: str, answer: dict[str, Any]) -> Any:
    engine.on(f"GET /containers/{name}/json", (200, inspection(name, toolbox_id)))
    engine.on("GET /containers/c1/stats", (200, answer))
    return caller.call(routes.STATS, name)


def test_stats_are_converted(caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str) -> None:
    answer = stats(caller, fake_engine, name, toolbox_id, MEASURED)
    assert messages.read(Stats, answer.body) == Stats(
        time="2026-01-01T00:00:01.5Z",
        cpu_percent=50.0,
        cpu_seconds=3.0,
        memory_used_bytes=4_000,
        memory_limit_bytes=64 << 20,
        pids=3,
        network_received_bytes=11,
        network_sent_bytes=22,
        disk_read_bytes=110,
        disk_written_bytes=7,
    )


def test_stats_of_cgroup_1_and_without_network_are_read(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str
) -> None:
    old = copy.deepcopy(MEASURED)
    del old["networks"]
    old["memory_stats"]["stats"] = {"total_inactive_file": 2_000, "inactive_file": 1}
    old["blkio_stats"] = {"io_service_bytes_recursive": None}
    found = messages.read(Stats, stats(caller, fake_engine, name, toolbox_id, old).body)
    assert (found.memory_used_bytes, found.network_sent_bytes, found.disk_read_bytes) == (3_000, 0, 0)


def test_missing_measurement_is_an_error_and_not_zero(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str
) -> None:
    nothing = {"read": "0001-01-01T00:00:00Z", "memory_stats": {}, "pids_stats": {}}
    answer = stats(caller, fake_engine, name, toolbox_id, nothing)
    assert (answer.status, answer.code) == (503, "try-again")


@pytest.mark.docker
def test_stats_need_a_running_container(droplet: Droplet, busybox: str) -> None:
    made = droplet.make(busybox, "sleep", "600")
    answer = droplet.caller.call(routes.STATS, made.name)
    if answer.status == 200:
        found = messages.read(Stats, answer.body)
        assert 0 < found.memory_used_bytes < found.memory_limit_bytes == 64 << 20 and found.pids > 0
    else:
        # The control groups of some machines do not let the engine measure. The answer is then that error.
        assert (answer.code, "measured nothing" in answer.json["error"]["message"]) == ("try-again", True)
    droplet.caller.perform(routes.STOP, made.name, messages.Stop(0))
    assert droplet.caller.call(routes.STATS, made.name).code == "not-running"
