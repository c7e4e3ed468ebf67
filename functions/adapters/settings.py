"""The one place that reads the environment.

A setting that is missing or malformed stops the function when it starts, with the setting's name. The alternative, to
find out at the first request that needs it, would let a bad deployment pass its health check. functions/README.md has
the table of all settings.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from functions.adapters import droplet_settings
from functions.adapters.droplet_settings import DigitalOceanApi, ProvisioningDefaults
from functions.domain.account.model import AdminClaim, Limits
from functions.domain.errors import Misconfigured

# The one algorithm that tokens are verified with is configured. What a token's header says is never followed: that is
# how `none`, or HS256 with a public key as the secret, would be accepted.
PUBLIC_KEY_ALGORITHMS, SHARED_SECRET_ALGORITHM = ("RS256", "ES256", "EdDSA"), "HS256"
# RFC 7518, section 3.2: a key of the hash's size or larger.
MIN_SHARED_SECRET_BYTES = 32

_BACKENDS = ("GOOGLE_CLOUD_PROJECT", "STORE", "QUEUE")
_ADMIN = ("CALLER_ADMIN_CLAIM", "CALLER_ADMIN_VALUE")
_CALLERS = ("CALLER_ISSUER", "CALLER_AUDIENCE", "CALLER_JWKS_URL", "CALLER_ALGORITHM", *_ADMIN)
_SERVICES = ("SERVICE_ISSUER", "SERVICE_AUDIENCE", "SERVICE_JWKS_URL", "SERVICE_EMAIL")
_COMMANDS = ("COMMAND_KEY",)
_IDEMPOTENCY = ("FINGERPRINT_KEY",)
_SECRETS = ("SECRET_KEYS",)
# By function, the settings that it cannot start without. A function is given no others: `sweep`, for example, never
# sees the key that signs commands. infra/deploy passes on exactly these.
REQUIRED = {
    "toolboxes_user": _BACKENDS + _CALLERS + _COMMANDS + _IDEMPOTENCY + _SECRETS + droplet_settings.SHIM,
    "toolbox_tools": _BACKENDS + _CALLERS + _COMMANDS + _IDEMPOTENCY + _SECRETS,
    "toolbox_dtma_console": _BACKENDS + _CALLERS + _COMMANDS + _IDEMPOTENCY + droplet_settings.SHIM,
    "converge": _BACKENDS + _SERVICES + _COMMANDS + _SECRETS + droplet_settings.API + droplet_settings.PROVISIONING,
    "webhooks": (*_BACKENDS, *_SECRETS, "WEBHOOK_SECRETS"),
    "sweep": _BACKENDS + _SERVICES,
    "enrol": _BACKENDS + droplet_settings.API + droplet_settings.KEYS,
    "notify": _BACKENDS,
    "digitalocean_options": _BACKENDS + droplet_settings.API,
}


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """How tokens of one issuer are verified.

    The keys are at `jwks_url`; with HS256, which older Supabase projects use, `secret` is the one key.
    """

    issuer: str
    audience: str
    algorithm: str
    jwks_url: str = ""
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Backend:
    """A store or a queue: `kind` is firestore, pubsub or sqlite; `name` is the topic, or the database's path."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """The receiver of outbound webhooks. `secrets` is empty in functions that record events and do not send them."""

    url: str
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one function. What the function does not require is None or empty."""

    project: str
    store: Backend
    queue: Backend
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
    provisioning: ProvisioningDefaults | None
    control_keys: Mapping[str, str]
    shim_image: str


def read(environment: Mapping[str, str]) -> Settings:
    """Read the settings of the function that `FUNCTION_TARGET` names.

    Raises Misconfigured, with the names of all settings that are missing, or for the first one that is malformed.
    """
    target = environment.get("FUNCTION_TARGET", "")
    if target not in REQUIRED:
        raise Misconfigured(f"FUNCTION_TARGET must be one of {', '.join(REQUIRED)}, and is {target!r}.")
    required = _required(target, environment)
    if missing := [name for name in required if not environment.get(name)]:
        raise Misconfigured(f"{target} requires {', '.join(missing)}: not set, or empty.")
    callers, services, commands = (name in required for name in ("CALLER_ISSUER", "SERVICE_ISSUER", "COMMAND_KEY"))
    return Settings(
        project=environment["GOOGLE_CLOUD_PROJECT"],
        store=_backend(environment, "STORE", "firestore", "firestore or sqlite:/path"),
        queue=_backend(environment, "QUEUE", "pubsub", "pubsub:topic or sqlite:/path"),
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
        digitalocean=droplet_settings.digitalocean_api(environment) if "DIGITALOCEAN_TOKEN" in required else None,
        provisioning=droplet_settings.provisioning_defaults(environment) if "ENROL_URL" in required else None,
        control_keys=droplet_settings.control_keys(environment) if "CONTROL_KEYS" in required else {},
        shim_image=droplet_settings.shim_image(environment) if "SHIM_IMAGE" in required else "",
    )


def _required(target: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    has_shared_secret = environment.get("CALLER_ALGORITHM") == SHARED_SECRET_ALGORITHM
    names = ["CALLER_SECRET" if has_shared_secret and name == "CALLER_JWKS_URL" else name for name in REQUIRED[target]]
    # Every function that records events needs the URL, to mark them for delivery. Only converge delivers, so only it
    # is given the secrets that sign.
    delivers = target == "converge" and environment.get("WEBHOOK_TARGET")
    return (*names, "WEBHOOK_TARGET_SECRETS") if delivers else tuple(names)


def _command_key(pem: str) -> str:
    droplet_settings.signing_key(pem)
    return pem


def _tokens(environment: Mapping[str, str], prefix: str, algorithm: str) -> TokenSettings:
    issuer, audience = environment[f"{prefix}_ISSUER"], environment[f"{prefix}_AUDIENCE"]
    if algorithm == SHARED_SECRET_ALGORITHM:
        return TokenSettings(issuer, audience, algorithm, secret=_shared_secret(environment, f"{prefix}_SECRET"))
    if algorithm not in PUBLIC_KEY_ALGORITHMS:
        allowed = ", ".join((*PUBLIC_KEY_ALGORITHMS, SHARED_SECRET_ALGORITHM))
        raise Misconfigured(f"{prefix}_ALGORITHM must be one of {allowed}, and is {algorithm!r}.")
    jwks_url = environment[f"{prefix}_JWKS_URL"]
    if not jwks_url.startswith(("https://", "http://127.0.0.1:")):
        raise Misconfigured(f"{prefix}_JWKS_URL must be an https URL, or http at 127.0.0.1, and is {jwks_url!r}.")
    return TokenSettings(issuer, audience, algorithm, jwks_url)


def _shared_secret(environment: Mapping[str, str], name: str) -> str:
    secret = environment[name]
    # A PEM here means that a public key was configured as the secret, with which anybody could sign.
    if len(secret.encode()) < MIN_SHARED_SECRET_BYTES or "-----BEGIN" in secret:
        raise Misconfigured(f"{name} must be a shared secret of at least {MIN_SHARED_SECRET_BYTES} bytes, and not PEM.")
    return secret


def _admin(environment: Mapping[str, str]) -> AdminClaim:
    path = environment["CALLER_ADMIN_CLAIM"]
    # Supabase lets users write their own user_metadata: https://supabase.com/docs/guides/auth/managing-user-data
    if path.partition(".")[0] == "user_metadata":
        raise Misconfigured(
            f"CALLER_ADMIN_CLAIM must be a claim that users cannot write themselves, and is {path!r}. Use app_metadata."
        )
    return AdminClaim(path, environment["CALLER_ADMIN_VALUE"])


def _secret_keys(text: str) -> dict[str, bytes]:
    """Key-encryption keys, as `name:base64` separated by white space. The first encrypts, all of them decrypt."""
    keys = {}
    for word in text.split():
        name, _, encoded = word.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except ValueError:
            key = b""
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) or len(key) != 32 or name in keys:
            raise Misconfigured(
                "SECRET_KEYS must be name:key, separated by spaces: names of letters, digits, '.', '_' and '-' that do "
                "not repeat, and keys of 32 bytes in base64."
            )
        keys[name] = key
    if not keys:
        raise Misconfigured("SECRET_KEYS must be at least one name:key.")
    return keys


def _webhook_target(environment: Mapping[str, str], required: tuple[str, ...]) -> WebhookTarget | None:
    url = environment.get("WEBHOOK_TARGET")
    if not url:
        return None
    if not re.fullmatch(r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[\x21-\x22\x24-\x7e]*)?", url):
        raise Misconfigured("WEBHOOK_TARGET must be an https URL with a host name, and no user, password or fragment.")
    name = "WEBHOOK_TARGET_SECRETS"
    return WebhookTarget(url, _webhook_secrets(environment, name) if name in required else ())


def _webhook_secrets(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Secrets of Standard Webhooks, separated by white space. There are several while one replaces another."""
    secrets = tuple(environment[name].split())
    for secret in secrets:
        try:
            size = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
        except ValueError:
            size = 0
        # The specification asks for 24 to 64 bytes.
        if not secret.startswith("whsec_") or size not in range(24, 65):
            raise Misconfigured(
                f"{name} must be secrets of the form whsec_ and 24 to 64 bytes in base64, separated by spaces."
            )
    return secrets


def _limits(environment: Mapping[str, str]) -> Limits:
    """The limits of an account: LIMIT_TOOLBOXES and so on override the defaults, field by field."""
    overrides = {limit.name: environment.get(f"LIMIT_{limit.name.upper()}") for limit in fields(Limits)}
    for name, text in overrides.items():
        if text and not re.fullmatch(r"[1-9][0-9]{0,8}", text):
            raise Misconfigured(f"LIMIT_{name.upper()} must be a whole number from 1 to 999999999, and is {text!r}.")
    return Limits(**{name: int(text) for name, text in overrides.items() if text})


def _backend(environment: Mapping[str, str], setting: str, service: str, allowed: str) -> Backend:
    kind, _, name = environment[setting].partition(":")
    if kind not in (service, "sqlite") or bool(name) is (kind == "firestore"):
        raise Misconfigured(f"{setting} must be {allowed}, and is {environment[setting]!r}.")
    return Backend(kind, name)
