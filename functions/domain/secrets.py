"""Secret values: the sealed form in which they are stored, and their redaction from text. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

REDACTED = "***"
# Shorter values are not redacted: replacing each `1` or `true` would blank half of a log, and so reveal the value.
MIN_CHARACTERS = 6
# Logs come line by line, so each line of a secret with several lines is redacted too. Shorter lines are not: a line
# such as "}" is in every log.
MIN_LINE_CHARACTERS = 8
# How many forms with the same beginning are compared at one place of a text, and how many characters of each.
MAX_ALIKE, MAX_COMPARED = 16, 256


@dataclass(frozen=True, slots=True)
class Sealed:
    """Encrypted values; only the vault can open them. The names of the variables are not encrypted.

    `key` names the key-encryption key that encrypts `data_key`, which encrypts `values`. Both are base64.
    """

    names: list[str]
    key: str
    data_key: str
    values: str


class Redactor:
    """Replaces secret values in texts by ***, also where they are escaped as in JSON, and each line of a long one.

    Make one for a request and call it with each line of a log. A form is looked up by its first MIN_CHARACTERS, so the
    time does not depend on how many values and lines there are, and is linear in the text: at each place at most
    MAX_ALIKE forms are compared, over at most MAX_COMPARED characters. Where that does not decide whether a secret
    begins, everything from there to the end of the text is removed: too much is redacted rather than too little.

    Values with fewer than MIN_CHARACTERS characters are not redacted.
    """

    def __init__(self, values: Collection[str]) -> None:
        # The longest first, so that a value that contains another one disappears as a whole.
        self._forms: dict[str, list[str]] = {}
        for form in sorted(set(_forms(values)), key=len, reverse=True):
            self._forms.setdefault(form[:MIN_CHARACTERS], []).append(form)
        # For each beginning what is compared: one call in C settles that nothing matches.
        self._heads = {
            key: tuple(form[:MAX_COMPARED] for form in alike[:MAX_ALIKE]) for key, alike in self._forms.items()
        }
        # Finds in C where a form can begin; with few secrets that is almost nowhere.
        columns = ["".join(map(re.escape, sorted(set(column)))) for column in zip(*self._forms, strict=True)]
        first, *others = [f"[{column}]" for column in columns] or ["(?!)"]
        self._beginnings = re.compile(f"{first}(?={''.join(others)})")

    def __call__(self, text: str) -> str:
        """Return `text` without the secrets."""
        parts: list[str] = []
        # What stands before `end` is in `parts`, or hidden by the *** at their end.
        end = 0
        for beginning in self._beginnings.finditer(text):
            start = beginning.start()
            key = text[start : start + MIN_CHARACTERS]
            heads = self._heads.get(key)
            if heads is None:
                continue
            alike = self._forms[key]
            if text.startswith(heads, start):
                until = _until(text, start, end, alike)
            else:
                until = len(text) if len(alike) > MAX_ALIKE else 0
            if until <= end:
                continue
            if start > end or not parts:
                parts += [text[end:start], REDACTED]
            end = until
            if end == len(text):
                break
        return "".join([*parts, text[end:]])


def _until(text: str, start: int, end: int, alike: list[str]) -> int:
    """Where the secret at `start` ends, or 0 where there is none; before `end` the text is hidden already."""
    for form in alike[:MAX_ALIKE]:
        if start + len(form) <= end or not text.startswith(form[:MAX_COMPARED], start):
            continue
        if len(form) <= MAX_COMPARED:
            return start + len(form)
        # A form that overlaps itself would be compared as a whole again at each place.
        return start + len(form) if start >= end and text.startswith(form, start) else len(text)
    return len(text) if len(alike) > MAX_ALIKE else 0


def _forms(values: Iterable[str]) -> Iterable[str]:
    for value in values:
        if len(value) < MIN_CHARACTERS:
            continue
        yield value
        yield json.dumps(value)[1:-1]
        yield json.dumps(value, ensure_ascii=False)[1:-1]
        lines = [line.strip() for line in value.splitlines()]
        yield from (line for line in lines if len(line) >= MIN_LINE_CHARACTERS)
