"""Secret values: as they are kept, which is sealed, and as they are shown, which is struck out. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

REDACTED = "***"
# A line of a longer value is struck out by itself from this length on: a log has one line at a time.
MIN_LINE_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class Sealed:
    """Values by their names. The names are in the clear; the rest is base64 and opened by the vault alone.

    `key` names the key-encryption key that wraps `data_key`, which opens `values`.
    """

    names: list[str]
    key: str
    data_key: str
    values: str


def redact(text: str, values: Collection[str]) -> str:
    """`text` with each of `values` struck out, also where it stands as JSON writes it."""
    for value in sorted(set(_forms(values)), key=len, reverse=True):
        text = text.replace(value, REDACTED)
    return text


def _forms(values: Iterable[str]) -> Iterable[str]:
    for value in values:
        if not value:
            continue
        yield value
        yield json.dumps(value)[1:-1]
        yield json.dumps(value, ensure_ascii=False)[1:-1]
        lines = [line.strip() for line in value.splitlines()]
        yield from (line for line in lines if len(line) >= MIN_LINE_CHARACTERS)
