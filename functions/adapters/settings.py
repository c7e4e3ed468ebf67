"""The one place that reads the environment. What is missing or malformed stops the start, by name."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from functions.adapters import droplet_settings
from functions.adapters.droplet_settings import Birth, DigitalOceanApi
from functions.domain.account.caller import AdminClaim
from functions.domain.account.limits import Limits
from functions.domain.errors import Misconfigured

# Pinned to one by configuration: what a token says of its own is compared, and never followed.
PUBLISHED, SHARED = ("RS256", "ES256", "EdDSA"), "HS256"
# RFC 7518, 3.2: a key of the hash's size or larger.
SHORTEST_SECRET = 32

_BACKINGS = ("GOOGLE_CLOUD_PROJECT", "STORE", "QUEUE")
_ADMIN = ("CALLER_ADMIN_CLAIM", "CALLER_ADMIN_VALUE")
_CALLERS = ("CALLER_ISSUER", "CALLER_AUDIENCE", "CALLER_JWKS_URL", "CALLER_ALGORITHM", *_ADMIN)
_SERVICES = ("SERVICE_ISSUER", "SERVICE_AUDIENCE", "SERVICE_JWKS_URL", "SERVICE_EMAIL")
_COMMANDS = ("COMMAND_KEY",)
_REPLAYS = ("FINGERPRINT_KEY",)
_SECRETS = ("SECRET_KEYS",)
REQUIRED = {
    "toolboxes_user": _BACKINGS + _CALLERS + _COMMANDS + _REPLAYS + _SECRETS + droplet_settings.SHIM,
    "toolbox_tools": _BACKINGS + _CALLERS + _COMMANDS + _REPLAYS + _SECRETS,
    "toolbox_dtma_console": _BACKINGS + _CALLERS + _COMMANDS + _REPLAYS + droplet_settings.SHIM,
    "converge": _BACKINGS + _SERVICES + _COMMANDS + _SECRETS + droplet_settings.API + droplet_settings.BIRTH,
    "webhooks": (*_BACKINGS, *_SECRETS, "WEBHOOK_SECRETS"),
    "sweep": _BACKINGS + _SERVICES,
    "enrol": _BACKINGS + droplet_settings.API + droplet_settings.KEYS,
    "notify": _BACKINGS,
    "digitalocean_options": _BACKINGS + droplet_settings.API,
}


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """Keys are at `jwks_url`, or with HS256, as older Supabase projects have it, there is the one `secret`."""

    issuer: str
    audience: str
    algorithm: str
    jwks_url: str = ""
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Backing:
    """`STORE` is `firestore` or `sqlite:/path`; `QUEUE` is `pubsub:topic` or `sqlite:/path`."""

    kind: str
    place: str


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """Where events are told. No secrets where the function only records them."""

    url: str
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """What one function needs, and nothing that it does not: `sweep` never sees the key that signs commands."""

    project: str
    store: Backing
    queue: Backing
    callers: TokenSettings | None
    admin: AdminClaim | None
    services: TokenSettings | None
    service_email: str
    command_key: str = field(repr=False)
    fingerprint_key: bytes = field(repr=False)
    secret_keys: Mapping[str, bytes] = field(repr=False)
    limits: Limits
    webhook_secrets: tuple[str, ...] = field(repr=False)
    webhook_target: WebhookTarget | None
    digitalocean: DigitalOceanApi | None
    birth: Birth | None
    control_keys: Mapping[str, str]
    shim_image: str


def read(environment: Mapping[str, str]) -> Settings:
    """The settings of the function that `FUNCTION_TARGET` names. Raises Misconfigured, naming all that is missing."""
    target = environment.get("FUNCTION_TARGET", "")
    if target not in REQUIRED:
        raise Misconfigured(f"FUNCTION_TARGET must be one of {', '.join(REQUIRED)}, not {target!r}")
    required = _required(target, environment)
    if missing := [name for name in required if not environment.get(name)]:
        raise Misconfigured(f"{target} requires {', '.join(missing)}")
    callers, services, commands = (name in required for name in ("CALLER_ISSUER", "SERVICE_ISSUER", "COMMAND_KEY"))
    return Settings(
        project=environment["GOOGLE_CLOUD_PROJECT"],
        store=_backing(environment, "STORE", "firestore", "firestore or sqlite:/path"),
        queue=_backing(environment, "QUEUE", "pubsub", "pubsub:topic or sqlite:/path"),
        callers=_tokens(environment, "CALLER", environment["CALLER_ALGORITHM"]) if callers else None,
        admin=_admin(environment) if callers else None,
        # Google signs identity tokens with RS256: https://www.googleapis.com/oauth2/v3/certs
        services=_tokens(environment, "SERVICE", "RS256") if services else None,
        service_email=environment["SERVICE_EMAIL"] if services else "",
        command_key=_command_key(environment["COMMAND_KEY"]) if commands else "",
        fingerprint_key=environment["FINGERPRINT_KEY"].encode() if "FINGERPRINT_KEY" in required else b"",
        secret_keys=_secret_keys(environment["SECRET_KEYS"]) if "SECRET_KEYS" in required else {},
        limits=_limits(environment),
        webhook_secrets=_webhook_secrets(environment, "WEBHOOK_SECRETS") if "WEBHOOK_SECRETS" in required else (),
        webhook_target=_webhook_target(environment, required),
        digitalocean=droplet_settings.api(environment) if "DIGITALOCEAN_TOKEN" in required else None,
        birth=droplet_settings.birth(environment) if "ENROL_URL" in required else None,
        control_keys=droplet_settings.control_keys(environment) if "CONTROL_KEYS" in required else {},
        shim_image=droplet_settings.shim_image(environment) if "SHIM_IMAGE" in required else "",
    )


def _required(target: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    shared = environment.get("CALLER_ALGORITHM") == SHARED
    names = ["CALLER_SECRET" if shared and name == "CALLER_JWKS_URL" else name for name in REQUIRED[target]]
    # Whoever records events has to know that they are told outside; only one tells them, and signs.
    sends = target == "converge" and environment.get("WEBHOOK_TARGET")
    return (*names, "WEBHOOK_TARGET_SECRETS") if sends else tuple(names)


def _command_key(pem: str) -> str:
    droplet_settings.signer(pem)
    return pem


def _tokens(environment: Mapping[str, str], prefix: str, algorithm: str) -> TokenSettings:
    issuer, audience = environment[f"{prefix}_ISSUER"], environment[f"{prefix}_AUDIENCE"]
    if algorithm == SHARED:
        return TokenSettings(issuer, audience, SHARED, secret=_secret(environment, f"{prefix}_SECRET"))
    if algorithm not in PUBLISHED:
        raise Misconfigured(f"{prefix}_ALGORITHM must be one of {', '.join(PUBLISHED)}, {SHARED}")
    jwks_url = environment[f"{prefix}_JWKS_URL"]
    if not jwks_url.startswith(("https://", "http://127.0.0.1:")):
        raise Misconfigured(f"{prefix}_JWKS_URL must be an https URL, or http on this machine")
    return TokenSettings(issuer, audience, algorithm, jwks_url)


def _secret(environment: Mapping[str, str], name: str) -> str:
    secret = environment[name]
    if len(secret.encode()) < SHORTEST_SECRET or "-----BEGIN" in secret:
        raise Misconfigured(f"{name} must be a shared secret of {SHORTEST_SECRET} bytes or more, and no key in PEM")
    return secret


def _admin(environment: Mapping[str, str]) -> AdminClaim:
    path = environment["CALLER_ADMIN_CLAIM"]
    # Supabase lets every user write their own: https://supabase.com/docs/guides/auth/managing-user-data
    if path.partition(".")[0] == "user_metadata":
        raise Misconfigured("CALLER_ADMIN_CLAIM must be a claim that users cannot write, which user_metadata is not")
    return AdminClaim(path, environment["CALLER_ADMIN_VALUE"])


def _secret_keys(text: str) -> dict[str, bytes]:
    """Key-encryption keys as `name:base64 name:base64`: the first seals, all of them open."""
    keys = {}
    for word in text.split():
        name, _, encoded = word.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except ValueError:
            key = b""
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) or len(key) != 32 or name in keys:
            raise Misconfigured("SECRET_KEYS must be name:base64 of 32 bytes, one after the other, each name once")
        keys[name] = key
    if not keys:
        raise Misconfigured("SECRET_KEYS must be at least one key")
    return keys


def _webhook_target(environment: Mapping[str, str], required: tuple[str, ...]) -> WebhookTarget | None:
    url = environment.get("WEBHOOK_TARGET")
    if not url:
        return None
    if not re.fullmatch(r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[\x21-\x22\x24-\x7e]*)?", url):
        raise Misconfigured("WEBHOOK_TARGET must be an https URL with a host's name, without user and fragment")
    name = "WEBHOOK_TARGET_SECRETS"
    return WebhookTarget(url, _webhook_secrets(environment, name) if name in required else ())


def _webhook_secrets(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Several, with white space between, while one is exchanged for another. 24 to 64 bytes is the standard's word."""
    secrets = tuple(environment[name].split())
    for secret in secrets:
        try:
            size = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
        except ValueError:
            size = 0
        if not secret.startswith("whsec_") or size not in range(24, 65):
            raise Misconfigured(f"{name} must be whsec_ and 24 to 64 bytes in base64, with spaces between")
    return secrets


def _limits(environment: Mapping[str, str]) -> Limits:
    """Each of them by its name, LIMIT_TOOLBOXES and so on, where it is to be another than usual."""
    given = {one.name: environment.get(f"LIMIT_{one.name.upper()}") for one in fields(Limits)}
    for name, text in given.items():
        if text and not re.fullmatch(r"[1-9][0-9]{0,8}", text):
            raise Misconfigured(f"LIMIT_{name.upper()} must be a whole number from 1 to 999999999")
    return Limits(**{name: int(text) for name, text in given.items() if text})


def _backing(environment: Mapping[str, str], name: str, service: str, allowed: str) -> Backing:
    kind, _, place = environment[name].partition(":")
    if kind not in (service, "sqlite") or bool(place) is (kind == "firestore"):
        raise Misconfigured(f"{name} must be {allowed}")
    return Backing(kind, place)
