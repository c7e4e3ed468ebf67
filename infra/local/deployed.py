"""Every deployed function and its settings, run here under functions-framework as in a deployment."""

from __future__ import annotations

import hashlib
import shlex
from base64 import b64encode
from secrets import token_bytes, token_urlsafe

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from functions.adapters import settings
from infra.deploy.control_keys import control_keys
from infra.local import images, issuer, secret
from infra.local.digitalocean import catalogue
from infra.local.digitalocean.account import Account
from infra.local.emulators import Backends
from infra.local.issuer import Issuer
from infra.local.processes import BIN, Program
from infra.local.world import CHECKOUT, NETWORK_GATEWAY, PROJECT, World

FUNCTIONS = (
    "toolboxes-user",
    "toolbox-tools",
    "toolbox-dtma-console",
    "converge",
    "sweep",
    "webhooks",
    "enrol",
    "notify",
    "digitalocean-options",
)
"""The names of all functions. A function's port follows from its index: append new ones at the end."""
FOR_DROPLETS = ("enrol", "notify")
"""The functions that a droplet's shim calls."""
LIMITS = {
    "LIMIT_INSTANCES": "1000",
    "LIMIT_MEMORY_MIB": "1048576",
    "LIMIT_REQUESTS_AT_ONCE": "1000",
    "LIMIT_REQUESTS_A_MINUTE": "10000",
}
"""Higher than the defaults: a test suite with its hundred containers is one account."""


def port(world: World, function: str) -> int:
    return world.base_port + 1 + FUNCTIONS.index(function)


def programs(world: World, backends: Backends) -> list[Program]:
    """One process for each function. It restarts when its source or its settings change."""
    environment = _environment(world, backends)
    return [_program(world, function, environment) for function in FUNCTIONS]


def command_key(world: World) -> Ed25519PrivateKey:
    """The private key with which the functions of this world sign commands to shims."""
    key = secret.private_key(world.directory / "command.pem", Ed25519PrivateKey.generate)
    assert isinstance(key, Ed25519PrivateKey)
    return key


def source_version(*folders: str) -> str:
    """A digest of all Python source below these folders of the checkout."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted((CHECKOUT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _environment(world: World, backends: Backends) -> dict[str, str]:
    """The settings of all functions together; functions/README.md lists them."""
    tokens, account = Issuer(world), Account(world)
    return {
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        **backends.environment(world),
        **LIMITS,
        "CALLER_ISSUER": tokens.url,
        "CALLER_AUDIENCE": issuer.CALLER_AUDIENCE,
        "CALLER_JWKS_URL": tokens.jwks_url,
        "CALLER_ALGORITHM": issuer.ALGORITHM,
        "CALLER_ADMIN_CLAIM": issuer.ADMIN_CLAIM,
        "CALLER_ADMIN_VALUE": issuer.ADMIN_VALUE,
        "SERVICE_ISSUER": tokens.url,
        "SERVICE_AUDIENCE": issuer.SERVICE_AUDIENCE,
        "SERVICE_JWKS_URL": tokens.jwks_url,
        "SERVICE_EMAIL": issuer.SERVICE_EMAIL,
        "COMMAND_KEY": secret.pem(command_key(world)),
        "SECRET_KEYS": secret.text(
            world.directory / "secret-keys", lambda: f"local:{b64encode(token_bytes(32)).decode()}"
        ),
        "WEBHOOK_SECRETS": secret.text(world.directory / "webhook-secret", _webhook_secret),
        "FINGERPRINT_KEY": secret.text(world.directory / "fingerprint-key", lambda: token_urlsafe(32)),
        "DIGITALOCEAN_TOKEN": account.token,
        "DIGITALOCEAN_URL": account.url,
        "SHIM_IMAGE": images.SHIM.by_digest(),
        "CONTROL_KEYS": control_keys([command_key(world).public_key()]),
        "ENROL_URL": f"{world.droplets_gateway}/enrol",
        "NOTIFY_URL": f"{world.droplets_gateway}/notify",
        "SSH_KEYS": ",".join(catalogue.SSH_KEYS),
        # The functions run on this machine, and so do the clients of the ports that containers publish.
        "FIREWALL_SOURCES": f"{NETWORK_GATEWAY}/32",
    }


def _webhook_secret() -> str:
    return f"whsec_{b64encode(token_bytes(32)).decode()}"


def _program(world: World, function: str, environment: dict[str, str]) -> Program:
    entry_point = function.replace("-", "_")
    # Only the settings that the function reads, as in a deployment: `sweep` does not get the key that signs commands.
    names = [*settings.REQUIRED[entry_point], *LIMITS, "FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"]
    assignments = "".join(f"{name}={shlex.quote(environment[name])}\n" for name in names if name in environment)
    file = world.directory / "functions" / f"{function}.env"
    secret.write(file, assignments)
    server = [
        str(BIN / "functions-framework"),
        "--source",
        "functions/main.py",
        "--target",
        entry_point,
        "--host",
        "127.0.0.1",
        "--port",
        str(port(world, function)),
    ]
    version = hashlib.sha256(f"{assignments}{source_version('functions', 'shim')}".encode()).hexdigest()[:16]
    # A shell reads the settings, because supervisord's configuration cannot contain the line breaks of a PEM key.
    command = ["/bin/sh", "-c", 'set -a; . "$0"; exec "$@"', str(file), *server]
    return Program(function, command, {"TOOLBOXES_VERSION": version})
