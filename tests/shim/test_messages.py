"""The reader is strict: it accepts only what the dataclasses and their bounds allow."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

import pytest

from shim.contract import messages
from shim.contract.messages import (
    Copied,
    Listed,
    LogLine,
    Malformed,
    Metrics,
    Nothing,
    PullLine,
    Restart,
    Status,
    Stop,
    read,
)

CREATE = {
    "instance_id": "0a1b2c3d-0000-4000-8000-000000000001",
    "spec_generation": 1,
    "image": "nginx:1",
    "limits": {"memory_bytes": 1 << 30, "nano_cpus": 10**9, "pids": 64},
}


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (Stop, b"{", "not JSON"),
        (Stop, b"\xff\xfe{", "not JSON"),
        (Stop, b"[" * 100_000, "not JSON"),
        (Stop, b'{"timeout":' * 100_000, "not JSON"),
        (Stop, b'{"timeout": ' + b"1" * 5_000 + b"}", "not JSON"),
        (Stop, b"[]", "Stop must be an object"),
        (Stop, b'{"timeout": 1, "timeout": 2}', "'timeout' occurs twice"),
        (Stop, b'{"Timeout": 1}', "Stop has no field 'Timeout'"),
        (Stop, b'{"timeout": "1"}', r"Stop\.timeout must be a whole number"),
        (Stop, b'{"timeout": 1.0}', "whole number"),
        (Stop, b'{"timeout": true}', "whole number"),
        (Stop, b'{"timeout": 121}', "between 0 and 120"),
        (Stop, b'{"timeout": null}', "whole number"),
        (Restart, b"{}", "lacks the field 'started_at'"),
        (Restart, b'{"started_at": "\\ud800"}', "Unicode"),
        (Restart, b'{"started_at": "\\u0000"}', "without NUL"),
        (Restart, json.dumps({"started_at": "x" * 65}).encode(), "at most 64 characters"),
        (Nothing, b'{"a": 1}', "no field"),
        (Copied, b'{"size_bytes": 9223372036854775808, "sha256": ""}', "size_bytes must be a whole number"),
        (Copied, b'{"size_bytes": 1, "sha256": "", "etags": [1]}', r"etags\[0\] must be a string"),
        (LogLine, json.dumps({"time": "", "stream": "", "text": "x" * 131_073}).encode(), "131072 characters"),
        (Status, b'{"version":"","contract":1,"engine_id":"","complete":1,"containers":[]}', "true or false"),
    ],
)
def test_malformed_body_is_refused_with_the_path_of_the_field(kind: Any, text: bytes, expected: str) -> None:
    with pytest.raises(Malformed, match=expected):
        read(kind, text)


def test_list_longer_than_its_bound_is_refused() -> None:
    with pytest.raises(Malformed, match="ports must be a list of at most 64 items"):
        read(messages.Create, json.dumps(CREATE | {"ports": [{}] * 65}).encode())
    with pytest.raises(Malformed, match="environment must be an object of at most 1000 keys"):
        read(messages.Create, json.dumps(CREATE | {"environment": {f"A{n}": "" for n in range(1_001)}}).encode())


def test_int64_bounds_are_accepted() -> None:
    for number in (-(1 << 63), (1 << 63) - 1):
        assert read(Copied, json.dumps({"size_bytes": number, "sha256": ""}).encode()).size_bytes == number


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 400])
def test_float_that_no_machine_reports_is_refused(number: str) -> None:
    disk = {"mount": "", "total_bytes": 1, "used_bytes": 1, "free_bytes": 1}
    memory = {"total_bytes": 1, "active_bytes": 1, "free_bytes": 1, "used_bytes": 1}
    text = json.dumps({"engine_version": "", "cpu_load_percent": 0, "memory": memory, "disk": disk})
    with pytest.raises(Malformed, match="cpu_load_percent"):
        read(Metrics, text.replace(": 0,", f": {number},").encode())


def test_empty_body_is_an_empty_object() -> None:
    assert read(Stop, b"") == Stop()
    assert read(PullLine, b'{"error": null}') == PullLine()


def test_many_unknown_keys_are_refused_as_fast_as_few() -> None:
    text = json.dumps({str(key): 1 for key in range(60_000)}).encode()
    began = time.perf_counter()
    with pytest.raises(Malformed):
        read(Nothing, text)
    assert time.perf_counter() - began < 2


def test_written_message_reads_back_equal() -> None:
    line = PullLine(layer=messages.LayerProgress("a", "Downloading", 1, 2))
    assert read(PullLine, json.dumps(asdict(line)).encode()) == line
    listed = Listed("é\u2028", "", "", 1, "running", None, "", 5, messages.Limits(1, 2, 3))
    assert read(Listed, messages.dump(listed)) == listed


def test_list_of_a_hundred_containers_is_read_in_milliseconds() -> None:
    listed = Listed("a" * 64, "tool", "i", 1, "running", None, "e" * 64)
    body = messages.dump(Status("1", 2, "e", True, [listed] * 100))
    began = time.perf_counter()
    for _ in range(20):
        read(Status, body)
    assert (time.perf_counter() - began) / 20 < 0.02
