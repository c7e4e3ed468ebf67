"""Hints to the control plane that something happened to a container: they bring its next look forward, and no more.

A hint carries nothing, is sent once, and is forgotten. Where none arrives, the next sweep sees the same.
"""

from __future__ import annotations

import logging
import random
import threading
import time

from shim.contract import errors, names
from shim.control_plane import ControlPlane, Unanswered
from shim.engine import Engine, Said
from shim.turns import Turns

AUDIENCE = "notify"
# What the control plane did not ask for: `start` is the engine's own restart, too.
EVENTS = ("start", "die", "oom", "destroy", "pause", "unpause", "rename", "update", "health_status")
EVERY_SECONDS = 1.0
ANSWER_SECONDS = 5.0
# From the end of the engine's stream to the next try.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
_log = logging.getLogger("shim.notify")


class Notifier:
    """Each of the two methods runs in a thread of its own and never returns."""

    def __init__(self, engine: Engine, turns: Turns, toolbox_id: str, control_plane: ControlPlane, url: str) -> None:
        self._engine, self._turns, self._control_plane, self._url = engine, turns, control_plane, url
        self._labels = {names.LABEL_TOOLBOX: toolbox_id}
        self._happened = threading.Event()

    def follow(self) -> None:
        """The engine's events, over its restarts: what happened while none could be heard is worth a hint, too."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                for event in self._engine.events(self._labels, EVENTS):
                    pause = FIRST_PAUSE_SECONDS
                    if event is None or self._matters(event["Actor"]):
                        self._happened.set()
            except errors.ShimError as error:
                _log.info("no events: %s", error.message)
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _matters(self, actor: Said) -> bool:
        name = names.CONTAINER_NAME.fullmatch(actor["Attributes"]["name"])
        # What a command does is in that command's answer.
        if name and self._turns.taken(name["instance"]):
            return False
        # The engine tells of a death before its list shows it; an inspect waits until it does.
        self._engine.inspect(actor["ID"])
        return True

    def send(self) -> None:
        """One hint for all that happened within a second."""
        while True:
            self._happened.wait()
            self._happened.clear()
            try:
                authorization = {"Authorization": f"Bearer {self._control_plane.token(AUDIENCE)}"}
                self._control_plane.post(self._url, b"", authorization, ANSWER_SECONDS)
            except Unanswered as error:
                _log.info("a hint is lost: %s", error)
            time.sleep(EVERY_SECONDS)
