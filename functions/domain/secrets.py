"""Secret values: the sealed form in which they are stored, and their redaction from text. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

REDACTED = "***"
# Logs come line by line, so each line of a secret with several lines is redacted too. Shorter lines are not: a line
# such as "}" is in every log.
MIN_LINE_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class Sealed:
    """Encrypted values; only the vault can open them. The names of the variables are not encrypted.

    `key` names the key-encryption key that encrypts `data_key`, which encrypts `values`. Both are base64.
    """

    names: list[str]
    key: str
    data_key: str
    values: str


def redact(text: str, values: Collection[str]) -> str:
    """Replace each of `values` in `text` by ***, also where it is escaped as in JSON.

    Longer forms are replaced first, so that a value that contains another one disappears as a whole.
    """
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
