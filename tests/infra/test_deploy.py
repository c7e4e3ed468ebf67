"""What deploys it is understood by gcloud itself: each kind of command is parsed, and its request arrives."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from functions.adapters import settings
from infra.deploy.commands import BETWEEN, SECRETS, Command, Place, commands, function
from infra.local import world

PLACE = Place("a-project", "europe-west3", "a-connector")
GIVEN = {
    "CALLER_ISSUER": "https://issuer.example", "CALLER_AUDIENCE": "authenticated", "CALLER_ALGORITHM": "RS256",
    "CALLER_JWKS_URL": "https://issuer.example/jwks.json", "CALLER_ADMIN_CLAIM": "role", "CALLER_ADMIN_VALUE": "admin",
    "CONTROL_KEYS": '{"kid": "key", "other": "key"}', "SHIM_IMAGE": f"registry/shim@sha256:{'0' * 64}",
    "SSH_KEYS": "1,2", "FIREWALL_SOURCES": "192.0.2.1/32,192.0.2.2/32", "LIMIT_TOOLBOXES": "3",
}  # fmt: skip
APIS = ("CLOUDFUNCTIONS", "CLOUDRESOURCEMANAGER", "CLOUDSCHEDULER", "FIRESTORE", "IAM", "PUBSUB", "RUN", "SERVICEUSAGE")
ALL = list(commands(PLACE, GIVEN))


def environment(command: Command) -> dict[str, str]:
    """What the function is given by a deploy, a secret by its place."""
    [plain] = [word for word in command.words if word.startswith("--set-env-vars=")]
    secret = [word.partition("=")[2] for word in command.words if word.startswith("--set-secrets=")]
    pairs = plain.partition(BETWEEN)[2].split("##") + [pair for word in secret for pair in word.split(",")]
    return dict(pair.split("=", 1) for pair in pairs)


@pytest.mark.parametrize("target", settings.REQUIRED)
def test_a_function_is_given_all_that_it_requires_and_no_secret_in_the_clear(target: str) -> None:
    given = environment(function(PLACE, target, GIVEN))
    assert not [name for name in settings.REQUIRED[target] if not given.get(name)]
    assert set(given) - {*settings.REQUIRED[target]} == {"GOOGLE_FUNCTION_SOURCE", "LIMIT_TOOLBOXES"}
    assert all(given[name].endswith(":latest") for name in given if name in SECRETS)


def test_a_setting_that_is_not_given_is_named() -> None:
    with pytest.raises(KeyError, match="SHIM_IMAGE"):
        function(PLACE, "converge", {name: value for name, value in GIVEN.items() if name != "SHIM_IMAGE"})


def test_only_the_platform_may_call_what_only_the_platform_calls() -> None:
    closed = [
        c.words[2] for c in ALL if c.words[:2] == ("functions", "deploy") and "--no-allow-unauthenticated" in c.words
    ]
    assert closed == ["converge", "sweep"]


class Google(BaseHTTPRequestHandler):
    """Refuses everything, once it was understood."""

    arrived: ClassVar[list[str]] = []

    def answer(self) -> None:
        self.arrived.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = json.dumps({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "nobody may"}}).encode()
        self.send_response(403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

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


# One of each kind is enough.
KINDS = {" ".join(command.words[:2]): command for command in ALL}


@pytest.mark.emulator
@pytest.mark.parametrize("command", KINDS.values(), ids=list(KINDS))
def test_gcloud_understands_it(google: str, command: Command, tmp_path_factory: pytest.TempPathFactory) -> None:
    overrides = {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}": google for api in APIS}
    given = {
        **os.environ, **overrides, "CLOUDSDK_AUTH_ACCESS_TOKEN": "none", "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CONFIG": str(tmp_path_factory.getbasetemp() / "gcloud"), "CLOUDSDK_CORE_PROJECT": PLACE.project,
    }  # fmt: skip
    Google.arrived.clear()
    done = subprocess.run(
        ["gcloud", *command.words, "--quiet"],
        cwd=world.CHECKOUT,
        env=given,
        capture_output=True,
        text=True,
        check=False,
    )
    # 2 is what gcloud says to words that it does not know.
    assert done.returncode == 1, done.stderr
    assert Google.arrived, done.stderr
    assert "nobody may" in done.stderr or "PERMISSION_DENIED" in done.stderr, done.stderr
