"""Every function that is deployed, and how it runs here: under functions-framework, as it does there."""

from __future__ import annotations

import hashlib
import json
import shlex
from base64 import b64encode, urlsafe_b64encode
from secrets import token_bytes, token_urlsafe

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from functions.adapters import settings
from infra.local import images, issuer, secret, world
from infra.local.backing import Backing
from infra.local.digitalocean import catalogue
from infra.local.digitalocean.account import Account
from infra.local.issuer import Issuer
from infra.local.processes import BIN, Program
from infra.local.world import World
from shim.contract import tokens as contract_tokens

FUNCTIONS = (
    "toolboxes-user", "toolbox-tools", "toolbox-dtma-console", "converge", "sweep", "webhooks", "enrol", "notify",
    "digitalocean-options",
)  # fmt: skip
# Those that a droplet's shim calls.
FOR_DROPLETS = ("enrol", "notify")
# One account here does in a minute what one elsewhere does in a day: whole test suites, and a hundred containers.
LIMITS = {
    "LIMIT_INSTANCES": "1000",
    "LIMIT_MEMORY_MIB": "1048576",
    "LIMIT_REQUESTS_AT_ONCE": "1000",
    "LIMIT_REQUESTS_A_MINUTE": "10000",
}


def port(of: World, function: str) -> int:
    return of.base_port + 1 + FUNCTIONS.index(function)


def programs(of: World, backing: Backing) -> list[Program]:
    """One process for each function, started again when its source or its environment changed."""
    environment = _environment(of, backing)
    return [_program(of, function, environment) for function in FUNCTIONS]


def command_key(of: World) -> Ed25519PrivateKey:
    """What this world's functions sign their commands to shims with."""
    key = secret.private_key(of.directory / "command.pem", Ed25519PrivateKey.generate)
    assert isinstance(key, Ed25519PrivateKey)
    return key


def source_version(*folders: str) -> str:
    """A hash over all Python below these folders of the checkout."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted((world.CHECKOUT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def control_keys(of: World) -> dict[str, str]:
    """The public keys that its droplets and their shims are given, base64url by their kid."""
    public = command_key(of).public_key()
    return {contract_tokens.kid(public): urlsafe_b64encode(public.public_bytes_raw()).decode().rstrip("=")}


def _environment(of: World, backing: Backing) -> dict[str, str]:
    tokens, account = Issuer(of), Account(of)
    return {
        "GOOGLE_CLOUD_PROJECT": world.PROJECT,
        **backing.environment(of),
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
        "COMMAND_KEY": secret.pem(command_key(of)),
        "SECRET_KEYS": secret.text(
            of.directory / "secret-keys", lambda: f"local:{b64encode(token_bytes(32)).decode()}"
        ),
        "WEBHOOK_SECRETS": secret.text(of.directory / "webhook-secret", _webhook_secret),
        "FINGERPRINT_KEY": secret.text(of.directory / "fingerprint-key", lambda: token_urlsafe(32)),
        "DIGITALOCEAN_TOKEN": account.token,
        "DIGITALOCEAN_URL": account.url,
        "SHIM_IMAGE": images.SHIM.by_digest(),
        "CONTROL_KEYS": json.dumps(control_keys(of)),
        "ENROL_URL": f"{of.droplets_gateway}/enrol",
        "NOTIFY_URL": f"{of.droplets_gateway}/notify",
        "SSH_KEYS": ",".join(catalogue.SSH_KEYS),
        # The functions run on this machine, and so does whoever calls what containers publish.
        "FIREWALL_SOURCES": f"{world.NETWORK_GATEWAY}/32",
    }


def _webhook_secret() -> str:
    return f"whsec_{b64encode(token_bytes(32)).decode()}"


def _program(of: World, function: str, environment: dict[str, str]) -> Program:
    entry_point = function.replace("-", "_")
    # No more than what it reads: `sweep` is not given the key that signs commands.
    names = [*settings.REQUIRED[entry_point], *LIMITS, "FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"]
    given = "".join(f"{name}={shlex.quote(environment[name])}\n" for name in names if name in environment)
    file = of.directory / "functions" / f"{function}.env"
    secret.write(file, given)
    server = [
        str(BIN / "functions-framework"), "--source", "functions/main.py", "--target", entry_point,
        "--host", "127.0.0.1", "--port", str(port(of, function)),
    ]  # fmt: skip
    version = hashlib.sha256(f"{given}{source_version('functions', 'shim')}".encode()).hexdigest()[:16]
    # A key has more than one line, which supervisord's configuration cannot hold.
    command = ["/bin/sh", "-c", 'set -a; . "$0"; exec "$@"', str(file), *server]
    return Program(function, command, {"TOOLBOXES_VERSION": version})
