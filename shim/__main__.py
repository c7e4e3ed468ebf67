"""The process: reads its configuration, makes its certificate, serves until it is told to stop."""

from __future__ import annotations

import base64
import json
import logging
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flask import Flask

from shim import certificate, journal, messages, metrics, protocol, signing
from shim.app import create_app, handlers
from shim.engine import Engine
from shim.images import Images
from shim.server import ShimServer
from shim.successor import Successor
from shim.tools import Tools
from shim.turns import Turns
from shim.volumes import Volumes

CONFIGURATION = Path("/etc/toolboxes/shim.json")
STATE = Path("/var/lib/toolboxes-shim")
ENGINE_SOCKET = "unix:///var/run/docker.sock"


class Unconfigured(Exception):
    """A sentence on what is wrong with the configuration."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """`shim_repository` is where the images of shims that may replace this one come from, "" for nowhere."""

    toolbox_id: str
    control_keys: dict[str, Ed25519PublicKey]
    shim_repository: str = ""


def read_configuration(text: str) -> Configuration:
    """From the file that cloud-init wrote. Raises Unconfigured."""
    try:
        read = json.loads(text)
    except ValueError as error:
        raise Unconfigured(f"it is not JSON: {error}") from None
    if not isinstance(read, dict) or set(read) - {"shim_repository"} != {"toolbox_id", "control_keys"}:
        raise Unconfigured("it must hold toolbox_id and control_keys, may hold shim_repository, and nothing else")
    toolbox_id, named, repository = read["toolbox_id"], read["control_keys"], read.get("shim_repository", "")
    if not isinstance(toolbox_id, str) or not protocol.UUID.fullmatch(toolbox_id):
        raise Unconfigured("toolbox_id must be a UUID in lower case")
    if not isinstance(named, dict) or not named:
        raise Unconfigured("control_keys must hold at least one key by its kid")
    if not isinstance(repository, str):
        raise Unconfigured("shim_repository must be a string")
    return Configuration(toolbox_id, {kid: _key(kid, encoded) for kid, encoded in named.items()}, repository)


def configured() -> Configuration:
    """This droplet's; ends the process with a sentence where it is not whole."""
    try:
        return read_configuration(CONFIGURATION.read_text())
    except (OSError, UnicodeDecodeError, Unconfigured) as error:
        sys.exit(f"the shim does not start: {CONFIGURATION}: {error}")


def _key(kid: str, encoded: object) -> Ed25519PublicKey:
    try:
        padded = str(encoded) + "=" * (-len(str(encoded)) % 4)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(padded, b"-_", validate=True))
    except ValueError as error:
        raise Unconfigured(f"control key {kid} is no raw Ed25519 public key in base64url: {error}") from None
    if signing.kid(key) != kid:
        raise Unconfigured(f"control key {kid} is named for another key: its kid is {signing.kid(key)}")
    return key


def assemble(configuration: Configuration, pem: Path, engine_socket: str) -> Flask:
    """The whole shim but its server."""
    toolbox_id, engine = configuration.toolbox_id, Engine(engine_socket)
    images = Images(engine)
    tools = Tools(engine, images, toolbox_id, Turns(time.time))

    def measure() -> messages.Metrics:
        info = engine.info()
        return metrics.measure(info["ServerVersion"], info["DockerRootDir"], pem.parent)

    audience = signing.audience(toolbox_id, certificate.fingerprint(pem))
    verifier = signing.Verifier(configuration.control_keys, audience, started_at=time.time(), clock=time.time)
    successor = Successor(engine, images, configuration.shim_repository)
    return create_app(verifier, handlers(tools, images, Volumes(engine, tools), successor, measure))


def main() -> None:
    configuration = configured()
    journal.to_stdout(configuration.toolbox_id)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    pem = certificate.ensure(STATE, configuration.toolbox_id)
    app = assemble(configuration, pem, ENGINE_SOCKET)
    logging.getLogger("shim").info("serving, certificate %s", certificate.fingerprint(pem))
    ShimServer(app, pem, ("0.0.0.0", protocol.PORT)).safe_start()  # noqa: S104  the control plane is outside


if __name__ == "__main__":
    main()
