"""How a shim restarts, and how it is replaced by another version.

A shim cannot replace its own container, so it starts a helper from the new image (`python3 -m shim.upgrade`). The
helper proves that the new version serves on this droplet, stops the old one, starts the new one, and reverses all that
where the new one does not answer. It looks at the containers before each act and stores nothing: killed at any moment,
also by a reboot, it is started again by the engine and continues. It removes itself at the end.

The names and the helper's command stay in all versions, since an old shim starts what a newer one contains.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import signal
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from shim import __version__
from shim.contract import errors, routes
from shim.contract.messages import Restarting, Upgrade, Upgrading
from shim.docker import Engine, Json
from shim.images import Images

SHIM, NEXT, OLD, HELPER = (f"toolboxes-shim{suffix}" for suffix in ("", "-next", "-old", "-upgrade"))
PROOF_PORT = 30_001
PROOF_SECONDS = 30.0
OLD_STOP_SECONDS = 10
_log = logging.getLogger("shim.upgrade")


@dataclass(frozen=True, slots=True)
class Process:
    """The shim's own process. `started_at`: seconds since 1970, by its clock."""

    started_at: float

    def restart(self) -> Restarting:
        """Ends the process, after what is under way is answered. Its container's restart policy starts another one."""
        _log.info("Restarting on request.")
        os.kill(os.getpid(), signal.SIGTERM)
        return Restarting(self.started_at)


class Upgrader:
    """Starts the helper that replaces the shim by a newer image."""

    def __init__(self, engine: Engine, images: Images, repository: str) -> None:
        self._engine, self._images, self._repository = engine, images, repository

    def current_image(self) -> str | None:
        """The image of the present shim's container, as it was named at creation; None outside a container."""
        own = self._engine.inspect(SHIM)
        return str(own["Config"]["Image"]) if own else None

    def begin(self, body: Upgrade) -> Upgrading:
        """Raises Refused, NoSuchImage, WrongPlatform, and Transient where another upgrade is under way."""
        own_images = rf"{re.escape(self._repository)}@sha256:[0-9a-f]{{64}}"
        if not self._repository or not re.fullmatch(own_images, body.image):
            raise errors.Refused(
                "image must be a digest in the repository of shims that this droplet is configured for."
            )
        own = self._engine.inspect(SHIM)
        if own is None:
            raise errors.Refused(f"This shim does not run in a container named {SHIM}, so it cannot be replaced.")
        self._images.inspect(body.image)
        # With `unless-stopped` it continues after a reboot; with `always` it would start again after its own removal.
        host = own["HostConfig"] | {"RestartPolicy": {"Name": "unless-stopped"}}
        config = {"Image": body.image, "Cmd": ["python3", "-m", "shim.upgrade"], "HostConfig": host}
        try:
            helper = self._engine.create(HELPER, config)
        except errors.NameTaken:
            other = self._engine.inspect(HELPER)
            if other is None or other["Config"]["Image"] != body.image:
                raise errors.Transient("Another upgrade is under way. Try again later.") from None
            helper = other["Id"]
        self._engine.start(helper)
        return Upgrading(body.image)


class Replacement:
    """The helper's work."""

    def __init__(self, engine: Engine, image: str, serves: Callable[[], bool]) -> None:
        """`image` as the helper's own container names it. `serves`: whether a shim of this version answers now."""
        self._engine, self._image, self._serves = engine, image, serves

    def run(self, *, proven: bool) -> None:
        """Ends with one shim, the new one or the old one, that is started and has the name of a shim."""
        old = self._find(OLD, new=False) or self._find(SHIM, new=False)
        if old is None:
            _log.info("%s is the shim already.", self._image)
        elif proven and self._takes_over(old):
            self._engine.remove(old["Id"])
            _log.info("The shim is now %s, version %s.", self._image, __version__)
        else:
            _log.error("%s does not serve. The old shim stays.", self._image)
            if new := self._new():
                self._engine.remove(new["Id"], running=True)
            self._rename(old["Id"], SHIM)
            self._engine.start(old["Id"])

    def _takes_over(self, old: Json) -> bool:
        new = self._new()
        new_id = (
            new["Id"] if new else self._engine.create(NEXT, {"Image": self._image, "HostConfig": old["HostConfig"]})
        )
        self._engine.stop(old["Id"], OLD_STOP_SECONDS)
        self._rename(old["Id"], OLD)
        self._rename(new_id, SHIM)
        try:
            self._engine.start(new_id)
        except errors.StartFailed as error:
            _log.error("%s", error.message)
            return False
        return self._serves()

    def _new(self) -> Json | None:
        return self._find(NEXT, new=True) or self._find(SHIM, new=True)

    def _find(self, name: str, *, new: bool) -> Json | None:
        found = self._engine.inspect(name)
        return found if found and (found["Config"]["Image"] == self._image) is new else None

    def _rename(self, container_id: str, name: str) -> None:
        found = self._engine.inspect(container_id)
        if found and found["Name"] != f"/{name}":
            self._engine.rename(container_id, name)


def answers(port: int) -> bool:
    """Whether a shim of this version answers on that port of this machine within PROOF_SECONDS."""
    # Its certificate is not in question: the old and the new shim use the same one.
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
            _log.info("Port %d does not answer yet: %s", port, error)
        finally:
            with suppress(OSError):
                connection.close()
        time.sleep(0.5)
    return False


if __name__ == "__main__":
    # The helper serves to prove itself, so it is composed where the shim is.
    from shim.__main__ import replace_shim

    replace_shim()
