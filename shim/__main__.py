"""The process: reads its configuration, makes its certificate, serves until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flask import Flask

from shim import certificate, journal, metrics
from shim.app import create_app, handlers
from shim.configuration import Configuration, configured
from shim.contract import messages, routes, tokens
from shim.control_plane import ControlPlane
from shim.engine import Engine
from shim.enrolment import Enrolment
from shim.images import Images
from shim.notify import Notifier
from shim.process import Process
from shim.server import ShimServer
from shim.successor import Successor
from shim.tools import Tools
from shim.turns import Turns
from shim.volumes import Volumes

STATE = Path("/var/lib/toolboxes-shim")
ENGINE_SOCKET = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class Shim:
    """The whole shim but its server; what is beside the app is what else runs in its process."""

    app: Flask
    engine: Engine
    turns: Turns
    verifier: tokens.Verifier


def assemble(given: Configuration, pem: Path, engine_socket: str) -> Shim:
    toolbox_id, engine, turns = given.toolbox_id, Engine(engine_socket), Turns(time.time)
    images = Images(engine)
    tools = Tools(engine, images, toolbox_id, turns)

    def measure() -> messages.Metrics:
        info = engine.info()
        return metrics.measure(info["ServerVersion"], info["DockerRootDir"], pem.parent)

    audience = tokens.audience(toolbox_id, certificate.fingerprint(pem))
    process = Process(started_at=time.time())
    verifier = tokens.Verifier(given.control_keys, audience, process.started_at, clock=time.time)
    successor = Successor(engine, images, given.shim_repository)
    app = create_app(verifier, handlers(tools, images, Volumes(engine, tools), successor, measure, process))
    return Shim(app, engine, turns, verifier)


def serve(given: Configuration, state: Path, engine_socket: str, address: tuple[str, int]) -> None:
    """The whole process, until SystemExit; what runs then has STOP_SECONDS. `state` is on the shim's own volume."""
    pem = certificate.ensure(state, given.toolbox_id)
    shim, control_plane = assemble(given, pem, engine_socket), ControlPlane(given.toolbox_id, pem)
    enrolment = Enrolment(given, control_plane, state)
    notifier = Notifier(shim.engine, shim.turns, given.toolbox_id, control_plane, given.notify_url)
    shim.verifier.trust(enrolment.keys())
    server = ShimServer(shim.app, pem, address)
    # It listens before it asks to be enrolled: whoever is asked connects back.
    server.prepare()
    logging.getLogger("shim").info("serving, certificate %s", certificate.fingerprint(pem))
    for work in (partial(enrolment.follow, shim.verifier), notifier.follow, notifier.send):
        threading.Thread(target=work, daemon=True).start()
    try:
        with suppress(SystemExit):
            server.serve()
    finally:
        server.stop()
    logging.shutdown()
    # Not by Python's own end, which takes OpenSSL down under the threads that are in it, and crashes now and then.
    os._exit(0)


def main() -> None:
    given = configured()
    journal.to_stdout(given.toolbox_id)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(given, STATE, ENGINE_SOCKET, ("0.0.0.0", routes.PORT))  # noqa: S104  the control plane is outside


if __name__ == "__main__":
    main()
