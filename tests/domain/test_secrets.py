"""Redaction: complete, linear in the text, and silent about values that are too short to hide anything."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from functions.domain.secrets import MIN_CHARACTERS, REDACTED, Redactor

PEM = "-----BEGIN PRIVATE KEY-----\n" + "\n".join(f"{n:02}-line-of-a-key" for n in range(60)) + "\n-----END-----\n"
LINES = 600


def lines(name: str) -> str:
    return "\n".join(f"{name}{n:05}x{n * 7919 % 100_000:05}" for n in range(3_600))


FOUR_LONG_SECRETS = [lines(name) for name in "abcd"]


def seconds(act: Callable[[], object]) -> float:
    began = time.process_time()
    act()
    return time.process_time() - began


def test_values_are_redacted_also_as_json_and_in_any_number() -> None:
    values = ['a "quoted" välue', "token-1", *(f"{n}-value-of-its-own" for n in range(500))]
    redact = Redactor(values)
    for value in values:
        for form in (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]):
            assert redact(f"before {form} after") == f"before {REDACTED} after"
    assert redact("nothing to hide, 7-va") == "nothing to hide, 7-va"


def test_a_value_that_holds_another_one_disappears_as_a_whole() -> None:
    assert Redactor(["secret-1", "secret-1-longer", "secret"])("secret-1-longer secret-1 secret") == "*** *** ***"


def test_values_that_overlap_in_the_text_disappear_together() -> None:
    assert Redactor(["abcd1234", "1234wxyz"])("<abcd1234wxyz>") == f"<{REDACTED}>"


def test_each_line_of_a_long_secret_is_redacted_with_and_without_its_neighbours() -> None:
    redact = Redactor([PEM, *FOUR_LONG_SECRETS])
    for line in [*PEM.splitlines(), *FOUR_LONG_SECRETS[3].splitlines()]:
        assert line not in redact(f"at start: {line} and more")
    assert redact(f"{PEM}") == REDACTED
    assert "line-of-a-key" not in redact(json.dumps(PEM))


def test_the_rest_of_a_text_goes_where_many_values_begin_alike() -> None:
    values = [f"https://user{n}:password{n}@host" for n in range(100)]
    assert Redactor(values)("GET https://user7:password7@host/path") == f"GET {REDACTED}"
    assert "pass" not in Redactor(values)("GET https://user7:password7@host, then password7")


def test_a_value_longer_than_what_is_compared_is_redacted_exactly_where_it_is_complete() -> None:
    redact = Redactor(["t" + "0123456789" * 1_000])
    assert redact(f"a t{'0123456789' * 1_000} b") == f"a {REDACTED} b"
    assert redact(f"a t{'0123456789' * 999} b") == f"a {REDACTED}"


@pytest.mark.parametrize("value", ["", "1", "true", "false", "x" * (MIN_CHARACTERS - 1)])
def test_values_of_few_characters_are_not_redacted(value: str) -> None:
    text = f"started=true 1 false {value}"
    assert Redactor([value])(text) == text


def test_four_secrets_of_many_lines_cost_little_more_than_the_log() -> None:
    log = [f"2026-01-01 an ordinary line of a log, number {n}, of common length" for n in range(LINES)]

    def redact_log() -> None:
        redact = Redactor(FOUR_LONG_SECRETS)
        for line in log:
            redact(line)

    assert seconds(redact_log) < 0.4


@pytest.mark.parametrize(
    "values",
    [
        ["a" * 60_000 + "b", "a" * 50_000 + "c", "a" * 20 + "d"],
        ["\n".join("a" * n + "b" for n in range(8, 400))],
        ["a" * 7 + chr(0x100 + n) for n in range(4)],
    ],
    ids=["long", "many", "few"],
)
def test_values_that_nearly_match_everywhere_do_not_cost_their_length_times_the_logs(values: list[str]) -> None:
    log = ["a" * 65_536] * 15
    redact = Redactor(values)
    assert seconds(lambda: [redact(line) for line in log]) < 3
