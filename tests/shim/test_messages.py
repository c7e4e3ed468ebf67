"""The reader is strict: what it lets through is exactly what the dataclasses say."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

import pytest

from shim.contract import messages
from shim.contract.messages import Malformed, Metrics, Nothing, PullLine, Restart, Status, Stop, read


@pytest.mark.parametrize(
    ("kind", "text", "named"),
    [
        (Stop, b"{", "not JSON"),
        (Stop, b"\xff\xfe{", "not JSON"),
        (Stop, b"[" * 100_000, "not JSON"),
        (Stop, b"[]", "must be an object"),
        (Stop, b'{"timeout": 1, "timeout": 2}', "stands twice"),
        (Stop, b'{"Timeout": 1}', "no field 'Timeout'"),
        (Stop, b'{"timeout": "1"}', "whole number"),
        (Stop, b'{"timeout": 1.0}', "whole number"),
        (Stop, b'{"timeout": true}', "whole number"),
        (Restart, b"{}", "lacks the field 'started_at'"),
        (Restart, b'{"started_at": "\\ud800"}', "must be a string"),
        (Restart, b'{"started_at": "\\u0000"}', "must be a string"),
        (Nothing, b'{"a": 1}', "no field"),
        (Status, b'{"version":"","contract":1,"engine_id":"","complete":1,"containers":[]}', "true or false"),
    ],
)
def test_what_is_not_of_the_form_is_refused_by_its_field(kind: Any, text: bytes, named: str) -> None:
    with pytest.raises(Malformed, match=named):
        read(kind, text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 400])
def test_numbers_that_no_machine_reports_are_refused(number: str) -> None:
    disk = {"mount": "", "total_bytes": 1, "used_bytes": 1, "free_bytes": 1}
    memory = {"total_bytes": 1, "active_bytes": 1, "free_bytes": 1, "used_bytes": 1}
    text = json.dumps({"engine_version": "", "cpu_load_percent": 0, "memory": memory, "disk": disk})
    with pytest.raises(Malformed, match="cpu_load_percent"):
        read(Metrics, text.replace(": 0,", f": {number},").encode())


def test_an_empty_body_is_an_empty_object() -> None:
    assert read(Stop, b"") == Stop()
    assert read(PullLine, b'{"error": null}') == PullLine()


def test_many_keys_are_refused_as_fast_as_few() -> None:
    text = json.dumps({str(key): 1 for key in range(60_000)}).encode()
    began = time.perf_counter()
    with pytest.raises(Malformed):
        read(Nothing, text)
    assert time.perf_counter() - began < 2


def test_what_is_written_is_read_again() -> None:
    line = PullLine(progress=messages.Progress(1, 2, 3, 4))
    assert read(PullLine, json.dumps(asdict(line)).encode()) == line
