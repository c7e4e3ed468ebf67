"""The settings about droplets, each read strictly: what is malformed is named before a droplet is made with it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from functions.domain.errors import Misconfigured
from functions.domain.toolbox.user_data import IMAGE
from shim.contract import tokens

API = ("DIGITALOCEAN_TOKEN", "DIGITALOCEAN_URL")
SHIM = ("SHIM_IMAGE",)
KEYS = ("CONTROL_KEYS",)
BIRTH = (*SHIM, *KEYS, "ENROL_URL", "NOTIFY_URL", "SSH_KEYS", "FIREWALL_SOURCES")
# An id, or an MD5 fingerprint.
_SSH_KEY = re.compile(r"[0-9]{1,12}|[0-9a-f]{2}(:[0-9a-f]{2}){15}")


@dataclass(frozen=True, slots=True)
class DigitalOceanApi:
    token: str = field(repr=False)
    url: str


@dataclass(frozen=True, slots=True)
class Birth:
    """What every droplet is made with, whosever it is.

    `control_keys`: the control plane's public keys, base64url by their kid. `firewall_sources`: the networks from which
    its ports can be reached.
    """

    shim_image: str
    control_keys: Mapping[str, str]
    enrol_url: str
    notify_url: str
    ssh_keys: tuple[str, ...]
    firewall_sources: tuple[str, ...]


def api(environment: Mapping[str, str]) -> DigitalOceanApi:
    return DigitalOceanApi(environment["DIGITALOCEAN_TOKEN"], _url(environment, "DIGITALOCEAN_URL"))


def birth(environment: Mapping[str, str]) -> Birth:
    """Raises Misconfigured."""
    keys = control_keys(environment)
    if signer(environment["COMMAND_KEY"]) not in keys:
        raise Misconfigured("CONTROL_KEYS must hold the public half of COMMAND_KEY: no droplet would listen to it")
    ssh_keys, sources = _listed(environment["SSH_KEYS"]), _listed(environment["FIREWALL_SOURCES"])
    if not all(_SSH_KEY.fullmatch(key) for key in ssh_keys):
        raise Misconfigured("SSH_KEYS must be ids or MD5 fingerprints of the account's SSH keys, with commas between")
    for source in sources:
        try:
            ip_network(source)
        except ValueError:
            raise Misconfigured(f"FIREWALL_SOURCES must be networks with commas between; {source!r} is none") from None
    urls = _https(environment, "ENROL_URL"), _https(environment, "NOTIFY_URL")
    return Birth(shim_image(environment), keys, *urls, ssh_keys, sources)


def shim_image(environment: Mapping[str, str]) -> str:
    if not IMAGE.fullmatch(environment["SHIM_IMAGE"]):
        raise Misconfigured("SHIM_IMAGE must be a reference by digest: REPOSITORY@sha256:…")
    return environment["SHIM_IMAGE"]


def control_keys(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Raw Ed25519 public keys in base64url by their kid, as a JSON object. Raises Misconfigured."""
    try:
        keys = json.loads(environment["CONTROL_KEYS"])
        named = {tokens.kid(_public(text)): text for text in keys.values()}
    except (ValueError, TypeError, AttributeError):
        raise Misconfigured("CONTROL_KEYS must be a JSON object of raw Ed25519 public keys in base64url") from None
    if not named or named != keys:
        raise Misconfigured(f"CONTROL_KEYS must name each key by its kid: {', '.join(named)}")
    return named


def signer(pem: str) -> str:
    """The kid under which commands are signed. Raises Misconfigured."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured("COMMAND_KEY must be an Ed25519 private key in PEM (PKCS #8)")
    return tokens.kid(key.public_key())


def _public(text: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _https(environment: Mapping[str, str], name: str) -> str:
    if not environment[name].startswith("https://"):
        raise Misconfigured(f"{name} must be an https URL")
    return environment[name]


def _url(environment: Mapping[str, str], name: str) -> str:
    """The API's token goes there: only by https, or within a private network."""
    url = urlsplit(environment[name])
    try:
        private = url.scheme == "http" and ip_address(url.hostname or "").is_private
    except ValueError:
        private = False
    if url.scheme != "https" and not private:
        raise Misconfigured(f"{name} must be an https URL, or http at a private address")
    return environment[name].rstrip("/")
