"""A function in a process of its own under functions-framework, as it is deployed: its CPU time and its memory."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from functions.adapters.settings import REQUIRED, TokenSettings
from infra.local.processes import BIN
from shim.contract import tokens

ROOT = Path(__file__).resolve().parents[3]
SERVICE_EMAIL = "pubsub@project.iam.gserviceaccount.com"
START_SECONDS = 60
BYTECODE = Path(tempfile.gettempdir()) / "toolboxes-bench-bytecode"
TICKS = os.sysconf("SC_CLK_TCK")
# What no account and no droplet of a benchmark reaches.
LIMITS = {
    "LIMIT_INSTANCES": "100000",
    "LIMIT_MEMORY_MIB": "999999999",
    "LIMIT_REQUESTS_AT_ONCE": "99999999",
    "LIMIT_REQUESTS_A_MINUTE": "99999999",
    "LIMIT_TOOLBOXES": "100000",
}


def environment(target: str, backends: Mapping[str, str], issuer: TokenSettings) -> dict[str, str]:
    """The settings of the function `target`: `backends` holds STORE and QUEUE, `issuer` signs every token."""
    key = Ed25519PrivateKey.generate()
    public = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).decode().rstrip("=")
    values = dict.fromkeys(REQUIRED[target], "x") | {
        "GOOGLE_CLOUD_PROJECT": "toolboxes-bench",
        "CALLER_ISSUER": issuer.issuer,
        "CALLER_AUDIENCE": issuer.audience,
        "CALLER_ALGORITHM": issuer.algorithm,
        "CALLER_JWKS_URL": issuer.jwks_url,
        "CALLER_ADMIN_CLAIM": "app_metadata.role",
        "CALLER_ADMIN_VALUE": "admin",
        "SERVICE_ISSUER": issuer.issuer,
        "SERVICE_AUDIENCE": issuer.audience,
        "SERVICE_JWKS_URL": issuer.jwks_url,
        "SERVICE_EMAIL": SERVICE_EMAIL,
        "COMMAND_KEY": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "SECRET_KEYS": f"a:{base64.b64encode(bytes(32)).decode()}",
        "DIGITALOCEAN_URL": "http://127.0.0.1:9",
        "SHIM_IMAGE": f"registry.test/toolboxes-shim@sha256:{'0' * 64}",
        "CONTROL_KEYS": json.dumps({tokens.kid(key.public_key()): public}),
        "ENROL_URL": "https://functions.test/enrol",
        "NOTIFY_URL": "https://functions.test/notify",
        "SSH_KEYS": "289794",
        "FIREWALL_SOURCES": "192.0.2.0/24",
        "WEBHOOK_SECRETS": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        **{name: value for name, value in backends.items() if name in ("STORE", "QUEUE")},
    }
    emulators = {name: value for name, value in backends.items() if name.endswith("_EMULATOR_HOST")}
    required = {name: value for name, value in values.items() if name in REQUIRED[target]}
    # In a folder of its own, so that every process but the first finds the bytecode, as it does where it is deployed.
    compiled = {"PYTHONPYCACHEPREFIX": str(BYTECODE)}
    return {"PATH": os.environ["PATH"], **compiled, **LIMITS, **emulators, **required}


class ServedFunction:
    """`source` is served at 127.0.0.1:`port` until `end`; the log goes to `log`."""

    def __init__(self, target: str, settings: Mapping[str, str], port: int, log: Path, source: str = "") -> None:
        self.url = f"http://127.0.0.1:{port}"
        words = [
            str(BIN / "functions-framework"),
            "--source",
            source or "functions/main.py",
            "--target",
            target,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                words, cwd=ROOT, env=dict(settings), stdout=file, stderr=file, start_new_session=True
            )

    def wait(self) -> None:
        """Return once it answers, whatever it answers. Raises RuntimeError with the end of its log."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                urllib.request.urlopen(self.url, timeout=START_SECONDS).close()
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.002)
            else:
                return
        raise RuntimeError(f"{self.url} did not answer:\n{self._log.read_text()[-2000:]}")

    def cpu_seconds(self) -> float:
        """The CPU time of the server and its workers, in user and system mode."""
        return sum(_cpu_seconds(pid) for pid in self._pids())

    def mebibytes(self) -> float:
        """The private and file pages of the worker that serves: what a machine must have for it."""
        return max(_resident_mebibytes(pid) for pid in self._pids())

    def end(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _pids(self) -> list[int]:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [self._process.pid, *map(int, children)]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _resident_mebibytes(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
