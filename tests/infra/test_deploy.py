"""The deployment commands: complete settings, no secret in the clear, and words that the real gcloud accepts."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from functions.adapters import settings
from infra.deploy import control_keys
from infra.deploy.commands import SECRETS, SEPARATOR, Command, Target, commands, deploy_function
from infra.local import secret, world
from shim.contract import tokens

TARGET = Target("a-project", "europe-west3", "a-connector")
SETTINGS = {
    "CALLER_ISSUER": "https://issuer.example", "CALLER_AUDIENCE": "authenticated", "CALLER_ALGORITHM": "RS256",
    "CALLER_JWKS_URL": "https://issuer.example/jwks.json", "CALLER_ADMIN_CLAIM": "role", "CALLER_ADMIN_VALUE": "admin",
    "CONTROL_KEYS": '{"kid": "key", "other": "key"}', "SHIM_IMAGE": f"registry/shim@sha256:{'0' * 64}",
    "SSH_KEYS": "1,2", "FIREWALL_SOURCES": "192.0.2.1/32,192.0.2.2/32", "LIMIT_TOOLBOXES": "3",
}  # fmt: skip
APIS = ("CLOUDFUNCTIONS", "CLOUDRESOURCEMANAGER", "CLOUDSCHEDULER", "FIRESTORE", "IAM", "PUBSUB", "RUN", "SERVICEUSAGE")
ALL = list(commands(TARGET, SETTINGS))


def environment(command: Command) -> dict[str, str]:
    """The settings of the deployed function; the value of a secret is its name in Secret Manager."""
    [plain] = [word for word in command.words if word.startswith("--set-env-vars=")]
    secret = [word.partition("=")[2] for word in command.words if word.startswith("--set-secrets=")]
    pairs = plain.partition(f"^{SEPARATOR}^")[2].split(SEPARATOR) + [
        pair for word in secret for pair in word.split(",")
    ]
    return dict(pair.split("=", 1) for pair in pairs)


@pytest.mark.parametrize("entry_point", settings.REQUIRED)
def test_function_gets_its_required_settings_and_no_secret_in_the_clear(entry_point: str) -> None:
    values = environment(deploy_function(TARGET, entry_point, SETTINGS))
    assert not [name for name in settings.REQUIRED[entry_point] if not values.get(name)]
    assert set(values) - {*settings.REQUIRED[entry_point]} == {"GOOGLE_FUNCTION_SOURCE", "LIMIT_TOOLBOXES"}
    assert all(values[name].endswith(":latest") for name in values if name in SECRETS)


def test_missing_setting_raises_key_error_with_its_name() -> None:
    with pytest.raises(KeyError, match="SHIM_IMAGE"):
        deploy_function(TARGET, "converge", {name: value for name, value in SETTINGS.items() if name != "SHIM_IMAGE"})


def test_only_converge_and_sweep_refuse_unauthenticated_calls() -> None:
    private = [
        c.words[2] for c in ALL if c.words[:2] == ("functions", "deploy") and "--no-allow-unauthenticated" in c.words
    ]
    assert private == ["converge", "sweep"]


def test_control_keys_hold_the_public_half_of_each_key_by_its_id(tmp_path: Path) -> None:
    keys = [Ed25519PrivateKey.generate() for _ in range(2)]
    (tmp_path / "new.pem").write_text(secret.pem(keys[0]))
    public = keys[1].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "old.pem").write_bytes(public)
    printed = json.loads(
        control_keys.control_keys(control_keys.read(tmp_path / name) for name in ("new.pem", "old.pem"))
    )
    assert list(printed) == [tokens.kid(key.public_key()) for key in keys]
    raw = [base64.urlsafe_b64decode(f"{value}=") for value in printed.values()]
    assert raw == [key.public_key().public_bytes_raw() for key in keys]


def test_key_of_another_algorithm_raises_value_error(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(secret.pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(ValueError, match="no Ed25519 key"):
        control_keys.read(tmp_path / "key.pem")


class Google(BaseHTTPRequestHandler):
    """Answers every request with 403 and records it."""

    received: ClassVar[list[str]] = []

    def answer(self) -> None:
        self.received.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps(
            {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "denied by the test"}}
        ).encode()
        self.send_response(403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def google() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Google)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


# gcloud takes seconds to start: one command of each kind is enough.
KINDS = {" ".join(command.words[:2]): command for command in ALL}


@pytest.mark.emulator
@pytest.mark.parametrize("command", KINDS.values(), ids=list(KINDS))
def test_gcloud_accepts_the_command_and_sends_its_request(
    google: str, command: Command, tmp_path_factory: pytest.TempPathFactory
) -> None:
    overrides = {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}": google for api in APIS}
    variables = {
        **os.environ, **overrides, "CLOUDSDK_AUTH_ACCESS_TOKEN": "none", "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CONFIG": str(tmp_path_factory.getbasetemp() / "gcloud"), "CLOUDSDK_CORE_PROJECT": TARGET.project,
    }  # fmt: skip
    Google.received.clear()
    done = subprocess.run(
        ["gcloud", *command.words, "--quiet"],
        cwd=world.CHECKOUT,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    # gcloud exits with 2 for a word that it does not know, and with 1 for a refused request.
    assert done.returncode == 1, done.stderr
    assert Google.received, done.stderr
    assert "denied by the test" in done.stderr or "PERMISSION_DENIED" in done.stderr, done.stderr
