"""The parser of the engine's log stream."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from shim import streams
from shim.contract import errors
from shim.contract.messages import LogLine, Logs


def frame(text: bytes, stream: int = 1, second: int = 1) -> bytes:
    message = f"2026-01-01T00:00:{second:02d}.000000000Z ".encode() + text
    return struct.pack(">BxxxI", stream, len(message)) + message


def test_lines_are_parsed_however_the_chunks_are_split() -> None:
    raw = frame(b"out\n") + frame(b"err\r\n", 2, 2) + frame(b"\n", 1, 3)
    expected = [
        LogLine("2026-01-01T00:00:01.000000000Z", "stdout", "out"),
        LogLine("2026-01-01T00:00:02.000000000Z", "stderr", "err"),
        LogLine("2026-01-01T00:00:03.000000000Z", "stdout", ""),
    ]
    for size in (1, 7, 8, 9, 1000):
        chunks = [raw[start : start + size] for start in range(0, len(raw), size)]
        assert streams.newest_lines(chunks, 10) == Logs(expected, False)


def test_line_in_several_messages_is_one_line() -> None:
    raw = frame(b"a" * 16_384) + frame(b"other\n", 2) + frame(b"b\n", 1, 2) + frame(b"unfinished")
    found = streams.newest_lines([raw], 10).lines
    assert [line.text for line in found] == ["other", "a" * 16_384 + "b", "unfinished"]


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    assert streams.newest_lines([frame(b"\xff\xfeok\n")], 10).lines[0].text == "\ufffd\ufffdok"


def test_newest_lines_are_kept_and_truncation_is_reported() -> None:
    found = streams.newest_lines([frame(b"%d\n" % number) for number in range(6)], 5)
    assert ([line.text for line in found.lines], found.truncated) == (["1", "2", "3", "4", "5"], True)


def test_large_log_keeps_its_newest_megabyte() -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(5_000):
            yield frame(b"x" * 16_000 + b"\n")

    found = streams.newest_lines(endless(), 5_000)
    assert found.truncated and 0 < sum(len(line.text) for line in found.lines) <= streams.MAX_LOG_BYTES


def test_endless_line_is_cut() -> None:
    found = streams.newest_lines([frame(b"x" * 16_000)] * 1_000, 10)
    assert found.lines and all(len(line.text) <= 2 * streams.MAX_LINE_BYTES for line in found.lines)


@pytest.mark.parametrize(
    ("text", "requested"),
    [
        ("", "0"),
        ("1767225600", "1767225600"),
        ("1767225600.123456789", "1767225600.123456789"),
        ("2026-01-01T00:00:00Z", "1767225600.0"),
        ("2026-01-01T01:00:00.123456789+01:00", "1767225600.123456789"),
    ],
)
def test_since_keeps_its_nanoseconds(text: str, requested: str) -> None:
    assert streams.parse_since(text) == requested


@pytest.mark.parametrize(
    "text", ["-1", "yesterday", "2026-02-30T00:00:00Z", "2026-01-01", "1e9", "2026-01-01T00:00:00"]
)
def test_since_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(errors.Refused):
        streams.parse_since(text)
