"""Every string of a create with the values that an attacker would write there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from shim import spec
from shim.contract import messages
from shim.contract.messages import Create, HealthCheck, Port, Volume
from tests.shim.test_spec import LABELS, PLAIN

HOSTILE = [
    "../../etc/passwd",
    "..",
    "/",
    "$(reboot)",
    "`id`",
    "; rm -rf /",
    "| sh",
    "&& sh",
    "> /x",
    "a b",
    "a\nb",
    "a\r\n",
    "'",
    '"',
    "*",
    "~",
    "%2e%2e%2f",
    "\\",
    "--privileged",
    "host",
    "container:x",
    "\u202e",
    "\U0001f600",
    "a\0",
]
NAMED: list[Callable[[str], Create]] = [
    lambda text: replace(PLAIN, instance_id=text),
    lambda text: replace(PLAIN, image=text + ":1"),
    lambda text: replace(PLAIN, restart_policy=text),
    lambda text: replace(PLAIN, environment={text: "1"}),
    lambda text: replace(PLAIN, volumes=[Volume(text, "/a")]),
    lambda text: replace(PLAIN, volumes=[Volume("a", text)]),
    lambda text: replace(PLAIN, volumes=[Volume("a", f"/a/{text}/../..")]),
    lambda text: replace(PLAIN, ports=[Port(80, 20_000, text)]),
    lambda text: replace(PLAIN, ports=[Port(80, 20_000, "tcp", text)]),
]
# Values that are ordinary names in these fields.
HARMLESS = {(3, "host"), (4, "host"), (1, "host")}


@pytest.mark.parametrize("field", range(len(NAMED)))
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_name_is_refused(field: int, text: str) -> None:
    requested = NAMED[field](text)
    if (field, text) in HARMLESS:
        assert messages.read(Create, messages.dump(requested)) == requested
        return
    with pytest.raises(messages.Malformed):
        messages.read(Create, messages.dump(requested))


@pytest.mark.parametrize("text", HOSTILE)
def test_arguments_reach_the_program_unchanged_or_are_refused(text: str) -> None:
    """Each argument is one item of a list, which no shell reads. NUL ends a string in the kernel and is refused."""
    requested = replace(
        PLAIN, command=["run", text], environment={"A": text}, health_check=HealthCheck(["check", text])
    )
    if "\0" in text:
        with pytest.raises(messages.Malformed, match="NUL"):
            messages.read(Create, messages.dump(requested))
        return
    read = messages.read(Create, messages.dump(requested))
    config = spec.engine_config(read, LABELS)
    assert (config["Cmd"], config["Env"]) == (["run", text], [f"A={text}"])
    assert config["Healthcheck"]["Test"] == ["CMD", "check", text]
    plain = spec.engine_config(replace(PLAIN), LABELS)
    assert config["HostConfig"] == plain["HostConfig"]
