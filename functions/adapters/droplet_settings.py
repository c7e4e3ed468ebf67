"""Settings about droplets: DigitalOcean's API, and what every new droplet gets.

A droplet that was made from a malformed setting costs money and is never reached, so each value is checked when the
function starts.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from functions.domain.errors import Misconfigured
from functions.domain.toolbox.droplet import IMAGE_BY_DIGEST

# Not imported here: few functions have keys among their settings, and these libraries take longer to import than the
# rest of the settings together.
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

API = ("DIGITALOCEAN_TOKEN", "DIGITALOCEAN_URL")
SHIM = ("SHIM_IMAGE",)
KEYS = ("CONTROL_KEYS",)
PROVISIONING = (*SHIM, *KEYS, "ENROL_URL", "NOTIFY_URL", "SSH_KEYS", "FIREWALL_SOURCES")
# DigitalOcean takes the id of a key of the account, or its MD5 fingerprint.
_SSH_KEY = re.compile(r"[0-9]{1,12}|[0-9a-f]{2}(:[0-9a-f]{2}){15}")


@dataclass(frozen=True, slots=True)
class DigitalOceanApi:
    """Where DigitalOcean's API is, and the token for it."""

    token: str = field(repr=False)
    url: str


@dataclass(frozen=True, slots=True)
class ProvisioningDefaults:
    """What every new droplet gets, whichever account it is for.

    `control_keys` are the public keys that the shim accepts commands from: base64url by key id. `firewall_sources` are
    the networks from which a droplet's open ports can be reached.
    """

    shim_image: str
    control_keys: Mapping[str, str]
    enrol_url: str
    notify_url: str
    ssh_keys: tuple[str, ...]
    firewall_sources: tuple[str, ...]


def digitalocean_api(environment: Mapping[str, str]) -> DigitalOceanApi:
    """Read where DigitalOcean's API is. Raises Misconfigured."""
    url = urlsplit(environment["DIGITALOCEAN_URL"])
    try:
        is_private = url.scheme == "http" and ip_address(url.hostname or "").is_private
    except ValueError:
        is_private = False
    # The API token is sent there: encrypted, or within a private network (the local DigitalOcean).
    if url.scheme != "https" and not is_private:
        raise Misconfigured(
            f"DIGITALOCEAN_URL must be an https URL, or http with a private IP address, and is {url.geturl()!r}."
        )
    return DigitalOceanApi(environment["DIGITALOCEAN_TOKEN"], environment["DIGITALOCEAN_URL"].rstrip("/"))


def provisioning_defaults(environment: Mapping[str, str]) -> ProvisioningDefaults:
    """Read what every new droplet gets. Raises Misconfigured."""
    keys = control_keys(environment)
    kid = signing_key_id(environment["COMMAND_KEY"])
    if kid not in keys:
        raise Misconfigured(
            f"CONTROL_KEYS must hold the public half of COMMAND_KEY, {kid!r}; it holds {', '.join(keys)}. "
            "Otherwise new droplets refuse every command."
        )
    ssh_keys, sources = _comma_separated(environment["SSH_KEYS"]), _comma_separated(environment["FIREWALL_SOURCES"])
    for key in ssh_keys:
        if not _SSH_KEY.fullmatch(key):
            raise Misconfigured(
                "SSH_KEYS must be ids or MD5 fingerprints of SSH keys in the DigitalOcean account, with commas between "
                f"them; {key!r} is neither."
            )
    for source in sources:
        try:
            ip_network(source)
        except ValueError:
            raise Misconfigured(
                f"FIREWALL_SOURCES must be networks such as 203.0.113.0/24, separated by commas; {source!r} is not one."
            ) from None
    return ProvisioningDefaults(
        shim_image=shim_image(environment),
        control_keys=keys,
        enrol_url=_https_url(environment, "ENROL_URL"),
        notify_url=_https_url(environment, "NOTIFY_URL"),
        ssh_keys=ssh_keys,
        firewall_sources=sources,
    )


def shim_image(environment: Mapping[str, str]) -> str:
    """Read the shim's image, by digest so that every droplet runs the same bytes. Raises Misconfigured."""
    image = environment["SHIM_IMAGE"]
    if not IMAGE_BY_DIGEST.fullmatch(image):
        raise Misconfigured(f"SHIM_IMAGE must be an image by digest, REPOSITORY@sha256:…, and is {image!r}.")
    return image


def control_keys(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Read the control plane's public keys: raw Ed25519 in base64url, by key id. Raises Misconfigured."""
    from shim.contract import tokens

    try:
        keys = json.loads(environment["CONTROL_KEYS"])
        by_id = {tokens.kid(_public_key(text)): text for text in keys.values()}
    except (ValueError, TypeError, AttributeError):
        raise Misconfigured(
            'CONTROL_KEYS must be a JSON object {"KEY ID": "raw Ed25519 public key in base64url"}.'
        ) from None
    if not by_id or by_id != keys:
        raise Misconfigured(f"CONTROL_KEYS must name each key by its id; the ids of these keys are {', '.join(by_id)}.")
    return by_id


def signing_key_id(pem: str) -> str:
    """The id of the key that signs commands. Raises Misconfigured."""
    from shim.contract import tokens

    return tokens.kid(signing_key(pem).public_key())


def signing_key(pem: str) -> Ed25519PrivateKey:
    """The key that signs commands. Raises Misconfigured."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured("COMMAND_KEY must be an Ed25519 private key in PEM (PKCS #8).")
    return key


def _public_key(text: str) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))


def _comma_separated(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _https_url(environment: Mapping[str, str], name: str) -> str:
    if not environment[name].startswith("https://"):
        raise Misconfigured(f"{name} must be an https URL, and is {environment[name]!r}.")
    return environment[name]
