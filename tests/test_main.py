"""Each entry point under functions-framework, in a process of its own as in a deployment, and its settings."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from functions.adapters import settings
from functions.adapters.settings import REQUIRED
from functions.domain.errors import Misconfigured
from shim.contract import tokens

ROOT = Path(__file__).resolve().parent.parent
KEY = Ed25519PrivateKey.generate()
PUBLIC = base64.urlsafe_b64encode(KEY.public_key().public_bytes_raw()).decode().rstrip("=")
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
SECRET_KEYS = f"a:{'A' * 43}= b:{'B' * 42}A="
PATHS = {
    "toolbox_tools": "/toolbox-tools/11111111-1111-4111-8111-111111111111/tools",
    "webhooks": "/functions/v1/webhooks/backend",
}
CALL = """
import functions_framework
client = functions_framework.create_app({target!r}, "functions/main.py").test_client()
answer = client.open({path!r}, method={method!r})
print(answer.status_code, answer.mimetype)
"""


def environment(target: str, tmp_path: Path) -> dict[str, str]:
    values = dict.fromkeys(REQUIRED[target], "x") | {
        "STORE": f"sqlite:{tmp_path}/store.db",
        "QUEUE": f"sqlite:{tmp_path}/queue.db",
        "CALLER_ALGORITHM": "RS256",
        "CALLER_JWKS_URL": "https://issuer.test/jwks.json",
        "SERVICE_JWKS_URL": "https://issuer.test/jwks.json",
        "COMMAND_KEY": PEM,
        "SECRET_KEYS": SECRET_KEYS,
        "DIGITALOCEAN_URL": "https://api.digitalocean.com",
        "SHIM_IMAGE": f"registry.test/toolboxes-shim@sha256:{'0' * 64}",
        "CONTROL_KEYS": json.dumps({tokens.kid(KEY.public_key()): PUBLIC}),
        "ENROL_URL": "https://functions.test/enrol",
        "NOTIFY_URL": "https://functions.test/notify",
        "SSH_KEYS": "289794, 3b:16:e4:bf:8b:00:8b:b8:59:8c:a9:d3:f0:19:fa:45",
        "FIREWALL_SOURCES": "192.0.2.0/24,2001:db8::/32",
        "WEBHOOK_SECRETS": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_TGFMYXN3TWZLUTlyOEdLWXFyVHdqVVBEOElMUFpJbzI=",
    }
    variables = {name: value for name, value in values.items() if name in REQUIRED[target]}
    # Coverage measures the process where this one is measured.
    measuring = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **measuring, **variables}


def call(
    target: str, variables: dict[str, str], method: str = "POST", path: str = "/"
) -> subprocess.CompletedProcess[str]:
    script = CALL.format(target=target, method=method, path=path)
    words = [sys.executable, "-c", script]
    return subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("target", REQUIRED)
def test_every_function_starts_with_only_its_settings_and_authenticates(target: str, tmp_path: Path) -> None:
    method = "GET" if target in ("toolboxes_user", "digitalocean_options") else "POST"
    answered = call(target, environment(target, tmp_path), method, PATHS.get(target, "/"))
    # Options need no token, but that path has none. The body of an enrolment authenticates it.
    expected = {"digitalocean_options": "404", "enrol": "400"}.get(target, "401")
    assert answered.stdout.splitlines()[-1:] == [f"{expected} application/problem+json"], answered.stderr


@pytest.mark.parametrize("target", REQUIRED)
def test_a_function_without_its_settings_does_not_start_and_names_them(target: str) -> None:
    refused = call(target, {"PATH": os.environ["PATH"]})
    assert refused.returncode != 0
    assert f"{target} requires {', '.join(REQUIRED[target])}" in refused.stderr


@pytest.mark.parametrize(("target", "name"), [(target, name) for target in REQUIRED for name in REQUIRED[target]])
def test_each_missing_setting_is_named(target: str, name: str, tmp_path: Path) -> None:
    variables = environment(target, tmp_path) | {"FUNCTION_TARGET": target, name: ""}
    with pytest.raises(Misconfigured, match=f"{target} requires {name}"):
        settings.read(variables)


def test_an_hs256_issuer_requires_its_shared_secret(tmp_path: Path) -> None:
    variables = environment("toolbox_tools", tmp_path)
    variables |= {"FUNCTION_TARGET": "toolbox_tools", "CALLER_ALGORITHM": "HS256", "CALLER_JWKS_URL": ""}
    with pytest.raises(Misconfigured, match="toolbox_tools requires CALLER_SECRET"):
        settings.read(variables)
    for secret in ("x" * 31, "-----BEGIN PUBLIC KEY-----\n" + "x" * 64):
        with pytest.raises(Misconfigured, match="CALLER_SECRET must be a shared secret"):
            settings.read(variables | {"CALLER_SECRET": secret})
    read = settings.read(variables | {"CALLER_SECRET": "x" * 32})
    assert read.callers == settings.TokenSettings("x", "x", "HS256", secret="x" * 32)
    assert "x" * 32 not in repr(read)


def test_only_the_sender_of_webhooks_requires_their_secrets(tmp_path: Path) -> None:
    target = {"WEBHOOK_TARGET": "https://backend.example/hooks?from=toolboxes"}
    for name in REQUIRED:
        variables = environment(name, tmp_path) | target | {"FUNCTION_TARGET": name}
        if name == "converge":
            with pytest.raises(Misconfigured, match="converge requires WEBHOOK_TARGET_SECRETS"):
                settings.read(variables)
            variables["WEBHOOK_TARGET_SECRETS"] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        target_settings = settings.read(variables).webhook_target
        assert target_settings and len(target_settings.secrets) == (name == "converge")


@pytest.mark.parametrize(
    "url",
    ["http://backend.example", "https://", "https://user@backend.example", "https://a.example/#x", "https://[::1]/"],
)
def test_a_webhook_target_is_an_https_url_with_a_host_name(url: str, tmp_path: Path) -> None:
    variables = environment("sweep", tmp_path) | {"FUNCTION_TARGET": "sweep", "WEBHOOK_TARGET": url}
    with pytest.raises(Misconfigured, match="WEBHOOK_TARGET must be an https URL"):
        settings.read(variables)


@pytest.mark.parametrize(
    "secrets", ["x", "whsec_x", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAA", "whsec_" + "A" * 96]
)
def test_a_webhook_secret_has_the_form_and_size_of_the_standard(secrets: str, tmp_path: Path) -> None:
    variables = environment("webhooks", tmp_path) | {"FUNCTION_TARGET": "webhooks"}
    assert len(settings.read(variables).webhook_secrets) == 2
    with pytest.raises(Misconfigured, match="WEBHOOK_SECRETS must be"):
        settings.read(variables | {"WEBHOOK_SECRETS": f"{variables['WEBHOOK_SECRETS']} {secrets}"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STORE", "mysql"),
        ("STORE", "sqlite"),
        ("QUEUE", "pubsub"),
        ("CALLER_ALGORITHM", "RS384"),
        ("CALLER_ALGORITHM", "none"),
        ("FUNCTION_TARGET", "nothing"),
        ("CALLER_JWKS_URL", "http://issuer.test/jwks.json"),
        ("SECRET_KEYS", "abc"),
        ("SECRET_KEYS", "a:AAAA"),
        ("SECRET_KEYS", SECRET_KEYS.replace("b:", "a:")),
        ("SECRET_KEYS", " "),
        ("CALLER_ADMIN_CLAIM", "user_metadata.role"),
        ("COMMAND_KEY", "x"),
        ("LIMIT_PAGE", "0"),
        ("LIMIT_MEMORY_MIB", "64g"),
    ],
)
def test_an_invalid_setting_is_named(name: str, value: str, tmp_path: Path) -> None:
    variables = environment("toolbox_tools", tmp_path) | {"FUNCTION_TARGET": "toolbox_tools", name: value}
    with pytest.raises(Misconfigured, match=f"{name} must be"):
        settings.read(variables)
