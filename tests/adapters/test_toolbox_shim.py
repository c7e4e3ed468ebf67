"""What a droplet answers within the contract, and what is nevertheless not believed: times and names that are none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from functions.adapters.toolbox_shim import ToolboxShim, to_container
from functions.domain.errors import ToolboxRefused
from shim.contract import messages

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TIME = "2026-01-01T00:00:00.000000001Z"
STATUS: dict[str, Any] = {"version": "1.2.3", "contract": 1, "engine_id": "e", "complete": True, "containers": []}


class Transport:
    """Answers every command with `message`."""

    def __init__(self, message: Any) -> None:
        self.message = message

    def command(self, *_: Any, **__: Any) -> Any:
        return self.message

    def status(self, **_: Any) -> tuple[Any, str]:
        return self.message, "etag"

    def pull(self, *_: Any, **__: Any) -> Any:
        return self.message

    def follow(self, *_: Any, **__: Any) -> Any:
        return iter([messages.FollowLine(self.message)])


def shim(message: Any) -> ToolboxShim:
    return ToolboxShim(Transport(message))


def container(**times: str) -> messages.Container:
    known: dict[str, Any] = {"started_at": TIME, "finished_at": "", **times}
    return messages.Container(
        id="c", name="n", instance_id="i", spec_generation=1, state="running", health=None, exit_code=0,
        oom_killed=False, error="", restart_count=0, image="i:1", image_digest="", ports=[], environment_names=[],
        limits=messages.Limits(1, 1, 1), endpoint_id="", **known,
    )  # fmt: skip


@pytest.mark.parametrize(
    "time", ["yesterday", "2026-02-30T00:00:00Z", "2026-01-01T00:00:00", "0000-01-01T00:00:00Z", "9" * 10_000]
)
@pytest.mark.parametrize("field", ["started_at", "finished_at"])
def test_a_containers_time_that_is_none_is_refused(field: str, time: str) -> None:
    assert to_container(container()).started_at == TIME
    with pytest.raises(ToolboxRefused, match="not an RFC 3339 time"):
        to_container(container(**{field: time}))


@pytest.mark.parametrize("end", ["\n", "\r", "\n\ndata: forged\n\n"])
def test_a_log_lines_time_that_would_forge_an_event_is_refused(end: str) -> None:
    line = messages.LogLine(f"{TIME}{end}", "stdout", "text")
    with pytest.raises(ToolboxRefused, match="not an RFC 3339 time"):
        shim(messages.Logs([line], truncated=False)).logs("c", tail=1, start_by=NOW)
    with pytest.raises(ToolboxRefused, match="not an RFC 3339 time"):
        next(shim(line).follow_logs("c", tail=1, since=None, start_by=NOW))


@pytest.mark.parametrize("field", ["version", "engine_id"])
@pytest.mark.parametrize("text", ["x" * 257, "line\nend", "nul\0"], ids=["long", "line", "nul"])
def test_a_version_or_id_that_is_none_is_refused(field: str, text: str) -> None:
    assert shim(messages.Status(**STATUS)).status(start_by=NOW, timeout=1.0).version == "1.2.3"
    with pytest.raises(ToolboxRefused, match="printable characters"):
        shim(messages.Status(**{**STATUS, field: text})).status(start_by=NOW, timeout=1.0)
