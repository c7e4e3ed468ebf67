"""The shim's own process: when it began, and how it ends so that the engine starts it anew."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import dataclass

from shim.contract import messages

_log = logging.getLogger("shim")


@dataclass(frozen=True, slots=True)
class Process:
    """`started_at`: seconds since 1970, as its clock had it."""

    started_at: float

    def restart(self) -> messages.Restarting:
        """What is under way is answered first, this command too; the container's restart policy does the rest."""
        _log.info("restarting, as told")
        os.kill(os.getpid(), signal.SIGTERM)
        return messages.Restarting(self.started_at)
