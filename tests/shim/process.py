"""The real shim in its own process, with its directory, its engine and its port as arguments."""

from __future__ import annotations

import base64
import json
import signal
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shim.__main__ import log_to_stdout, serve
from shim.contract import tokens
from shim.identity import CONFIGURATION_FILE, parse_configuration
from tests.shim.droplet import free_port


def configure(directory: Path, toolbox_id: str, public: Ed25519PublicKey, repository: str = "") -> None:
    """Write shim.json as cloud-init does, for a control plane that has one key and that cannot be reached."""
    nowhere = f"https://127.0.0.1:{free_port()}/"
    configuration = {
        "toolbox_id": toolbox_id,
        "enrol_url": nowhere,
        "notify_url": nowhere,
        "enrolment_token": "t",
        "control_keys": {tokens.kid(public): base64.urlsafe_b64encode(public.public_bytes_raw()).decode()},
        "shim_repository": repository,
    }
    (directory / CONFIGURATION_FILE.name).write_text(json.dumps(configuration))


def command(directory: Path, engine: str, port: int) -> list[str]:
    """The command that starts a shim in `directory`, which contains shim.json and will contain the certificate."""
    return [sys.executable, "-m", __name__, str(directory), engine, str(port)]


if __name__ == "__main__":
    directory, engine, port = sys.argv[1:]
    settings = parse_configuration((Path(directory) / CONFIGURATION_FILE.name).read_text())
    log_to_stdout(settings.toolbox_id)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(settings, Path(directory), engine, ("127.0.0.1", int(port)))
