"""The helper that replaces a shim, run from the new one's image: prove, stop the old, start the new, check or reverse.

It looks at what is before each act and keeps nothing: killed at any moment, by a reboot too, the engine starts it again
and it goes on from there. It removes itself when all is done.
"""

from __future__ import annotations

import http.client
import json
import logging
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shim import __version__, certificate, journal
from shim.__main__ import ENGINE_SOCKET, STATE, assemble
from shim.configuration import Configuration, configured
from shim.contract import errors, routes
from shim.engine import Engine
from shim.server import ShimServer
from shim.successor import HELPER, NEXT, OLD, SHIM

PROOF_PORT = 30_001
PROOF_SECONDS = 30.0
OLD_STOP_SECONDS = 10
_log = logging.getLogger("shim.upgrade")
Said = dict[str, Any]


class Replacement:
    def __init__(self, engine: Engine, image: str, serves: Callable[[], bool]) -> None:
        """`image` as the helper's own container names it. `serves`: whether a shim of this version answers now."""
        self._engine, self._image, self._serves = engine, image, serves

    def run(self, *, proven: bool) -> None:
        """Ends with one shim, the new one or the old one, named as a shim is and started."""
        old = self._found(OLD, new=False) or self._found(SHIM, new=False)
        if old is None:
            _log.info("%s is the shim already", self._image)
        elif proven and self._takes_over(old):
            self._engine.remove(old["Id"])
            _log.info("the shim is now %s, version %s", self._image, __version__)
        else:
            _log.error("%s does not serve; the old shim stays", self._image)
            if new := self._new():
                self._engine.remove(new["Id"], running=True)
            self._named(old["Id"], SHIM)
            self._engine.start(old["Id"])

    def _takes_over(self, old: Said) -> bool:
        new = self._new()
        new_id = (
            new["Id"] if new else self._engine.create(NEXT, {"Image": self._image, "HostConfig": old["HostConfig"]})
        )
        self._engine.stop(old["Id"], OLD_STOP_SECONDS)
        self._named(old["Id"], OLD)
        self._named(new_id, SHIM)
        try:
            self._engine.start(new_id)
        except errors.StartFailed as error:
            _log.error("%s", error.message)
            return False
        return self._serves()

    def _new(self) -> Said | None:
        return self._found(NEXT, new=True) or self._found(SHIM, new=True)

    def _found(self, name: str, *, new: bool) -> Said | None:
        said = self._engine.inspect(name)
        return said if said and (said["Config"]["Image"] == self._image) is new else None

    def _named(self, container_id: str, name: str) -> None:
        said = self._engine.inspect(container_id)
        if said and said["Name"] != f"/{name}":
            self._engine.rename(container_id, name)


def answers(port: int) -> bool:
    """Whether a shim of this version answers at that port of this machine within PROOF_SECONDS."""
    # Which certificate it shows is not in question: both are of this droplet.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    ends = time.monotonic() + PROOF_SECONDS
    while time.monotonic() < ends:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
        try:
            connection.request("GET", routes.HEALTH.path)
            if json.loads(connection.getresponse().read())["version"] == __version__:
                return True
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            _log.info("port %d does not answer yet: %s", port, error)
        finally:
            connection.close()
        time.sleep(0.5)
    return False


def prove(configuration: Configuration, pem: Path, engine: Engine) -> bool:
    """Whether this very version serves here: its configuration read, its certificate found, its engine answering."""
    engine.data_id()
    server = ShimServer(assemble(configuration, pem, ENGINE_SOCKET).app, pem, ("127.0.0.1", PROOF_PORT))
    try:
        server.prepare()
    except OSError as error:
        _log.error("it cannot listen: %s", error)
        return False
    threading.Thread(target=server.serve, daemon=True).start()
    try:
        return answers(PROOF_PORT)
    finally:
        server.stop()


def main() -> None:
    configuration, engine = configured(), Engine(ENGINE_SOCKET)
    journal.to_stdout(configuration.toolbox_id)
    own = engine.inspect(HELPER)
    assert own, "the helper runs in a container of its name"
    proven = prove(configuration, certificate.ensure(STATE, configuration.toolbox_id), engine)
    Replacement(engine, own["Config"]["Image"], lambda: answers(routes.PORT)).run(proven=proven)
    # This process ends with its container.
    engine.remove(own["Id"], running=True)


if __name__ == "__main__":
    main()
