"""What cloud-init gave the shim: whose droplet this is, whom to enrol with, and which keys sign commands."""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shim.contract import names, tokens

FILE = Path("/etc/toolboxes/shim.json")
# Nobody knew it when the file above was written.
DROPLET_ID = Path("/etc/toolboxes/droplet-id")
_STRINGS = ("toolbox_id", "enrol_url", "notify_url", "enrolment_token", "shim_repository")

Keys = dict[str, Ed25519PublicKey]


class Unconfigured(Exception):
    """A sentence on what is wrong with the configuration."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """`shim_repository` is where the images of shims that may replace this one come from, "" for nowhere.

    `control_keys` are those of the day on which the droplet was made, by their kid. `enrolment_token` is good once.
    `droplet_id` is the cloud's own number of this droplet.
    """

    toolbox_id: str
    control_keys: Keys
    shim_repository: str = ""
    enrol_url: str = ""
    notify_url: str = ""
    enrolment_token: str = ""
    droplet_id: str = ""


def read(text: str) -> Configuration:
    """From the file that cloud-init wrote. Raises Unconfigured."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise Unconfigured(f"it is not JSON: {error}") from None
    if not isinstance(given, dict) or set(given) != {*_STRINGS, "control_keys"}:
        raise Unconfigured(f"it must hold control_keys, {', '.join(_STRINGS)}, and nothing else")
    if wrong := [name for name in _STRINGS if not isinstance(given[name], str)]:
        raise Unconfigured(f"{wrong[0]} must be a string")
    if not names.UUID.fullmatch(given["toolbox_id"]):
        raise Unconfigured("toolbox_id must be a UUID in lower case")
    for name in ("enrol_url", "notify_url"):
        if not given[name].startswith("https://"):
            raise Unconfigured(f"{name} must be an https URL")
    return Configuration(**given | {"control_keys": keys(given["control_keys"])})


def configured() -> Configuration:
    """This droplet's; ends the process with a sentence where it is not whole."""
    try:
        return replace(read(FILE.read_text()), droplet_id=DROPLET_ID.read_text().strip())
    except (OSError, UnicodeDecodeError, Unconfigured) as error:
        sys.exit(f"the shim does not start: {FILE.parent}: {error}")


def keys(named: object) -> Keys:
    """From base64url raw Ed25519 public keys by their kid; at least one. Raises Unconfigured."""
    if not isinstance(named, dict) or not named:
        raise Unconfigured("control_keys must hold at least one key by its kid")
    return {kid: _key(kid, encoded) for kid, encoded in named.items()}


def _key(kid: str, encoded: object) -> Ed25519PublicKey:
    try:
        padded = str(encoded) + "=" * (-len(str(encoded)) % 4)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(padded, b"-_", validate=True))
    except ValueError as error:
        raise Unconfigured(f"control key {kid} is no raw Ed25519 public key in base64url: {error}") from None
    if tokens.kid(key) != kid:
        raise Unconfigured(f"control key {kid} is named for another key: its kid is {tokens.kid(key)}")
    return key
