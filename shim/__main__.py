"""The process: reads its configuration, makes its certificate, and serves until SIGTERM."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from flask import Flask

from shim import identity, metrics, upgrade
from shim.agent import ControlPlane, Enrolment, Notifier
from shim.app import AT_ONCE, Services, create_app
from shim.containers import Containers, Locks
from shim.contract import messages, routes, tokens
from shim.docker import Engine
from shim.identity import Configuration
from shim.images import Images
from shim.server import REQUEST_SECONDS, THREADS, Server
from shim.streams import Streams
from shim.upgrade import Process, Replacement, Upgrader
from shim.volumes import Volumes

STATE = Path("/var/lib/toolboxes-shim")
ENGINE_SOCKET = "unix:///var/run/docker.sock"
# Fields that a log call may add by `extra`.
LOG_FIELDS = ("jti", "instance", "milliseconds")
_log = logging.getLogger("shim")


@dataclass(frozen=True, slots=True)
class Shim:
    """The shim without its server. What stands beside the app is used by the other threads of its process."""

    app: Flask
    engine: Engine
    locks: Locks
    verifier: tokens.Verifier


class JsonLines(logging.Formatter):
    """One JSON object a line, with Cloud Logging's names."""

    def __init__(self, toolbox_id: str) -> None:
        super().__init__()
        self._toolbox_id = toolbox_id

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON with the fields that Google Cloud Logging reads."""
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        line = {
            "severity": record.levelname,
            "message": record.getMessage() + trace,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "toolbox": self._toolbox_id,
        }
        for key in LOG_FIELDS:
            if (value := getattr(record, key, None)) is not None:
                line[key] = value
        return json.dumps(line)


def log_to_stdout(toolbox_id: str) -> None:
    """Log to standard output as lines of JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines(toolbox_id))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Each connection to the engine would be a line.
    logging.getLogger("urllib3").setLevel(logging.WARNING)


def assemble(configuration: Configuration, pem: Path, engine_socket: str) -> Shim:
    """Build the shim's parts around one engine."""
    toolbox_id, engine, locks = configuration.toolbox_id, Engine(engine_socket), Locks(time.time)
    images = Images(engine)
    containers = Containers(engine, images, toolbox_id, locks)

    def measure() -> messages.Metrics:
        info = engine.info()
        return metrics.measure_droplet(info["ServerVersion"], info["DockerRootDir"], pem.parent)

    process = Process(started_at=time.time())
    audience = tokens.audience(toolbox_id, identity.fingerprint(pem))
    verifier = tokens.Verifier(configuration.control_keys, audience, process.started_at, clock=time.time)
    services = Services(
        containers,
        images,
        Streams(engine, containers),
        Volumes(engine, containers),
        Upgrader(engine, images, configuration.shim_repository),
        process,
        measure,
    )
    return Shim(create_app(verifier, services), engine, locks, verifier)


def server_for(app: Flask, pem: Path, address: tuple[str, int], request_seconds: float = REQUEST_SECONDS) -> Server:
    """One thread for each command that may last, and THREADS for the others."""
    return Server(app, pem, address, THREADS + sum(AT_ONCE.values()), request_seconds)


def serve(configuration: Configuration, state: Path, engine_socket: str, address: tuple[str, int]) -> None:
    """The whole process, until SystemExit; what is under way then has STOP_SECONDS. `state` is on the shim's volume."""
    pem = identity.ensure_certificate(state, configuration.toolbox_id)
    shim, control_plane = assemble(configuration, pem, engine_socket), ControlPlane(configuration.toolbox_id, pem)
    enrolment = Enrolment(configuration, control_plane, state)
    notifier = Notifier(shim.engine, shim.locks, configuration.toolbox_id, control_plane, configuration.notify_url)
    shim.verifier.trust(enrolment.keys())
    server = server_for(shim.app, pem, address)
    # It listens before it enrols, because the function that enrols it connects back.
    server.prepare()
    _log.info("Serving, certificate %s.", identity.fingerprint(pem))
    for work in (partial(enrolment.run, shim.verifier), notifier.watch, notifier.send):
        threading.Thread(target=work, daemon=True).start()
    try:
        with suppress(SystemExit):
            server.serve()
    finally:
        server.stop()
    logging.shutdown()
    # Python's own exit would unload OpenSSL under threads that still use it, and crashes now and then.
    os._exit(0)


def prove(configuration: Configuration, pem: Path, engine: Engine) -> bool:
    """Whether this version serves here: it reads its configuration, finds its certificate, and its engine answers."""
    engine.data_id()
    server = server_for(assemble(configuration, pem, ENGINE_SOCKET).app, pem, ("127.0.0.1", upgrade.PROOF_PORT))
    try:
        server.prepare()
    except OSError as error:
        logging.getLogger("shim.upgrade").error("The proof's port is taken: %s", error)
        return False
    threading.Thread(target=server.serve, daemon=True).start()
    try:
        return upgrade.answers(upgrade.PROOF_PORT)
    finally:
        server.stop()


def replace_shim() -> None:
    """The helper of an upgrade, run as `python3 -m shim.upgrade`."""
    configuration, engine = identity.load_configuration(), Engine(ENGINE_SOCKET)
    log_to_stdout(configuration.toolbox_id)
    own = engine.inspect(upgrade.HELPER)
    assert own, "the helper runs in a container of its name"
    pem = identity.ensure_certificate(STATE, configuration.toolbox_id)
    proven = prove(configuration, pem, engine)
    Replacement(engine, own["Config"]["Image"], lambda: upgrade.answers(routes.PORT)).run(proven=proven)
    # This process ends with its container.
    engine.remove(own["Id"], running=True)


def main() -> None:
    """Serve until SIGTERM, as the container's main process."""
    configuration = identity.load_configuration()
    log_to_stdout(configuration.toolbox_id)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(configuration, STATE, ENGINE_SOCKET, ("0.0.0.0", routes.PORT))  # noqa: S104  the control plane is outside


if __name__ == "__main__":
    main()
