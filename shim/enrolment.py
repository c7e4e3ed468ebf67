"""The shim's enrolment: it shows its certificate to the control plane and learns which keys sign commands now.

It asks at every start, and again when a command names a key that it does not know. The last answer is kept on the
shim's volume: with that it works without being answered, for as long as the keys stay what they are.
"""

from __future__ import annotations

import json
import logging
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from shim import configuration
from shim.configuration import Configuration, Keys, Unconfigured
from shim.contract.tokens import Verifier
from shim.control_plane import ControlPlane, Unanswered

KEPT = "control-keys.json"
AUDIENCE = "enrol"
# The function that is asked connects back to this shim before it answers.
ANSWER_SECONDS = 30.0
FIRST_PAUSE_SECONDS = 1.0
# A control plane that is away comes back some day: asked slowly, without end.
LONGEST_PAUSE_SECONDS = 600.0
# However many commands come with a key that nobody knows.
ASKED_EVERY_SECONDS = 60.0
_log = logging.getLogger("shim.enrolment")


class Enrolment:
    def __init__(
        self,
        given: Configuration,
        control_plane: ControlPlane,
        directory: Path,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`directory` is on the shim's volume."""
        self._given, self._control_plane, self._pause = given, control_plane, pause
        self._kept = directory / KEPT

    def keys(self) -> Keys:
        """Those of the last answer; those that cloud-init brought where there was none, or it is not whole."""
        try:
            return configuration.keys(json.loads(self._kept.read_text()))
        except FileNotFoundError:
            return self._given.control_keys
        except (OSError, ValueError, Unconfigured) as error:
            _log.warning("%s is of no use: %s", self._kept, error)
            return self._given.control_keys

    def follow(self, verifier: Verifier) -> None:
        """Asks now, and then whenever `verifier` met a key that it does not know; never returns."""
        while True:
            verifier.unknown_key.clear()
            verifier.trust(self._until_answered())
            self._pause(ASKED_EVERY_SECONDS)
            verifier.unknown_key.wait()

    def _until_answered(self) -> Keys:
        longest = FIRST_PAUSE_SECONDS
        while True:
            try:
                keys = self._asked()
            except Unanswered as error:
                _log.warning("not enrolled: %s", error)
            else:
                _log.info("enrolled; commands are signed by %s", ", ".join(keys))
                return keys
            self._pause(longest * random.uniform(0.5, 1.0))
            longest = min(longest * 2, LONGEST_PAUSE_SECONDS)

    def _asked(self) -> Keys:
        """Raises Unanswered."""
        asked = {
            "toolbox_id": self._given.toolbox_id,
            "droplet_id": self._given.droplet_id,
            "certificate": self._control_plane.certificate(),
            "token": self._given.enrolment_token,
            "proof": self._control_plane.token(AUDIENCE),
        }
        said = self._control_plane.post(self._given.enrol_url, json.dumps(asked).encode(), {}, ANSWER_SECONDS)
        try:
            named = json.loads(said)["control_keys"]
            keys = configuration.keys(named)
        except (ValueError, KeyError, TypeError, RecursionError, Unconfigured) as error:
            raise Unanswered(f"the answer holds no keys: {error}") from error
        self._keep(json.dumps(named))
        return keys

    def _keep(self, text: str) -> None:
        """Whole or not at all. On a disk that is full the answer holds until the next start."""
        unfinished = self._kept.with_suffix(".new")
        try:
            with unfinished.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._kept)
        except OSError as error:
            _log.warning("the keys are not kept: %s", error)
