"""How a shim is replaced by another: it starts a helper from the new image (`python3 -m shim.upgrade`), no more.

This form stays in all versions, since an old shim starts what a newer one wrote.
"""

from __future__ import annotations

import re

from shim.contract import errors
from shim.contract.messages import Upgrade, Upgrading
from shim.engine import Engine
from shim.images import Images

SHIM, NEXT, OLD, HELPER = (f"toolboxes-shim{suffix}" for suffix in ("", "-next", "-old", "-upgrade"))


class Successor:
    def __init__(self, engine: Engine, images: Images, repository: str) -> None:
        self._engine, self._images, self._repository = engine, images, repository

    def image(self) -> str | None:
        """What the present shim's container was made from, as it was named then."""
        own = self._engine.inspect(SHIM)
        return str(own["Config"]["Image"]) if own else None

    def begin(self, body: Upgrade) -> Upgrading:
        """Raises Refused, NoSuchImage, WrongPlatform, and Transient where another upgrade is under way."""
        ours = rf"{re.escape(self._repository)}@sha256:[0-9a-f]{{64}}"
        if not self._repository or not re.fullmatch(ours, body.image):
            raise errors.Refused("image is no digest of the repository of shims that this droplet was given")
        own = self._engine.inspect(SHIM)
        if own is None:
            raise errors.Refused("this shim does not run as a container that could be replaced")
        self._images.inspect(body.image)
        # Unlike `always` it ends for good when it removes itself, and it goes on after a reboot in the middle.
        host = own["HostConfig"] | {"RestartPolicy": {"Name": "unless-stopped"}}
        config = {"Image": body.image, "Cmd": ["python3", "-m", "shim.upgrade"], "HostConfig": host}
        try:
            helper = self._engine.create(HELPER, config)
        except errors.NameTaken:
            under_way = self._engine.inspect(HELPER)
            if under_way is None or under_way["Config"]["Image"] != body.image:
                raise errors.Transient("another upgrade is under way") from None
            helper = under_way["Id"]
        self._engine.start(helper)
        return Upgrading(body.image)
