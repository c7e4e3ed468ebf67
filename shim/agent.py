"""What the shim does of its own accord: it enrols with the control plane, and sends hints that something happened.

Enrolment: the shim presents its certificate and learns which keys sign commands now. It enrols at every start, and
again when a command names a key that it does not know. The last answer is stored on the shim's volume, so that it
serves while the control plane is down, as long as the keys are the same.

Hints: an event of the engine makes the control plane look at this toolbox sooner. A hint carries nothing, is sent once,
and is forgotten; where none arrives, the next sweep sees the same. The control plane believes only its own looks.
"""

from __future__ import annotations

import json
import logging
import os
import random
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives import serialization

from shim import identity
from shim.containers import Locks
from shim.contract import errors, names
from shim.contract.tokens import Verifier
from shim.docker import Engine, Json
from shim.identity import Configuration, Keys, Unconfigured

# The droplet's own file, mounted into the shim's container, so that Debian's updates keep it current.
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
ALGORITHM = "ES256"
TOKEN_SECONDS = 60
MAX_ANSWER_BYTES = 65_536

STORED_KEYS_FILE = "control-keys.json"
ENROL_AUDIENCE = "enrol"
# The function connects back to this shim before it answers.
ENROL_SECONDS = 30.0
FIRST_PAUSE_SECONDS = 1.0
# A control plane that is down is tried again without end, ever more slowly.
LONGEST_PAUSE_SECONDS = 600.0
# However many commands name a key that nobody knows.
ENROL_EVERY_SECONDS = 60.0

NOTIFY_AUDIENCE = "notify"
# Those that may happen without a command: `start` is also the engine's own restart of a container.
EVENTS = ("start", "die", "oom", "destroy", "pause", "unpause", "rename", "update", "health_status")
NOTIFY_EVERY_SECONDS = 1.0
NOTIFY_SECONDS = 5.0
# From the end of the engine's stream of events to the next attempt.
FIRST_EVENTS_PAUSE_SECONDS = 0.5
LONGEST_EVENTS_PAUSE_SECONDS = 30.0
_log = logging.getLogger("shim.agent")


class NoAnswer(Exception):
    """A sentence on why there is no good answer."""


class ControlPlane:
    """The functions' URLs, verified by the droplet's certificate authorities. `pem`: the shim's certificate and key."""

    def __init__(self, toolbox_id: str, pem: Path, authorities: Path = AUTHORITIES) -> None:
        self._toolbox_id, self._pem, self._authorities = toolbox_id, pem, authorities

    def certificate(self) -> str:
        """The shim's certificate, in PEM."""
        return identity.pem_parts(self._pem)[0]

    def token(self, audience: str) -> str:
        """Signed with the certificate's key, and valid for TOKEN_SECONDS."""
        now = int(time.time())
        claims = {"sub": self._toolbox_id, "aud": audience, "iat": now, "exp": now + TOKEN_SECONDS}
        key = serialization.load_pem_private_key(identity.pem_parts(self._pem)[1].encode(), None)
        return jwt.encode(claims | {"jti": str(uuid.uuid4())}, key, ALGORITHM)  # type: ignore[arg-type]

    def post(self, url: str, body: bytes, headers: dict[str, str], seconds: float) -> bytes:
        """The body of a 2xx answer. No redirect is followed, no proxy used. Raises NoAnswer.

        `seconds`: for the connection, and again for each silence.
        """
        parts = urlsplit(url)
        try:
            # For each call: it loads every authority there is, and is needed once in a long while.
            context = ssl.create_default_context(cafile=self._authorities)
            connection = HTTPSConnection(parts.netloc, timeout=seconds, context=context)
            with closing(connection):
                connection.request("POST", parts.path, body, {"Content-Type": "application/json", **headers})
                answer = connection.getresponse()
                content = answer.read(MAX_ANSWER_BYTES)
        except (OSError, HTTPException) as error:
            raise NoAnswer(f"{parts.netloc} does not answer: {str(error) or type(error).__name__}") from error
        if not 200 <= answer.status < 300:
            raise NoAnswer(f"{parts.netloc} answered {answer.status}: {content[:500].decode('utf-8', 'replace')}")
        return content


class Enrolment:
    """Sends the certificate to the control plane until the control plane has enrolled it."""

    def __init__(
        self,
        configuration: Configuration,
        control_plane: ControlPlane,
        directory: Path,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`directory` is on the shim's volume."""
        self._configuration, self._control_plane, self._pause = configuration, control_plane, pause
        self._file = directory / STORED_KEYS_FILE

    def keys(self) -> Keys:
        """Those of the last answer, or those that cloud-init wrote where there is none or it is damaged."""
        try:
            return identity.parse_keys(json.loads(self._file.read_text()))
        except FileNotFoundError:
            return self._configuration.control_keys
        except (OSError, ValueError, Unconfigured) as error:
            _log.warning("%s cannot be used: %s", self._file, error)
            return self._configuration.control_keys

    def run(self, verifier: Verifier) -> None:
        """Enrol now, and again whenever `verifier` met an unknown key. Never returns."""
        while True:
            verifier.unknown_key.clear()
            verifier.trust(self._enrol_until_answered())
            self._pause(ENROL_EVERY_SECONDS)
            verifier.unknown_key.wait()

    def _enrol_until_answered(self) -> Keys:
        longest = FIRST_PAUSE_SECONDS
        while True:
            try:
                keys = self._enrol()
            except NoAnswer as error:
                _log.warning("Enrolment failed: %s", error)
            else:
                _log.info("Enrolled. Commands are signed by %s.", ", ".join(keys))
                return keys
            self._pause(longest * random.uniform(0.5, 1.0))
            longest = min(longest * 2, LONGEST_PAUSE_SECONDS)

    def _enrol(self) -> Keys:
        """Raises NoAnswer."""
        request = {
            "toolbox_id": self._configuration.toolbox_id,
            "droplet_id": self._configuration.droplet_id,
            "certificate": self._control_plane.certificate(),
            "token": self._configuration.enrolment_token,
            "proof": self._control_plane.token(ENROL_AUDIENCE),
        }
        url = self._configuration.enrol_url
        answer = self._control_plane.post(url, json.dumps(request).encode(), {}, ENROL_SECONDS)
        try:
            named = json.loads(answer)["control_keys"]
            keys = identity.parse_keys(named)
        except (ValueError, KeyError, TypeError, RecursionError, Unconfigured) as error:
            raise NoAnswer(f"the answer holds no keys: {error}") from error
        self._store(json.dumps(named))
        return keys

    def _store(self, text: str) -> None:
        """Whole or not at all. On a full disk the answer holds until the next start."""
        unfinished = self._file.with_suffix(".new")
        try:
            with unfinished.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._file)
        except OSError as error:
            _log.warning("The keys cannot be stored: %s", error)


class Notifier:
    """Each of the two methods runs in a thread of its own and never returns."""

    def __init__(self, engine: Engine, locks: Locks, toolbox_id: str, control_plane: ControlPlane, url: str) -> None:
        self._engine, self._locks, self._control_plane, self._url = engine, locks, control_plane, url
        self._labels = {names.LABEL_TOOLBOX: toolbox_id}
        self._happened = threading.Event()

    def watch(self) -> None:
        """Follows the engine's events over its restarts. What happened while nobody listened is worth a hint, too."""
        pause = FIRST_EVENTS_PAUSE_SECONDS
        while True:
            try:
                for event in self._engine.events(self._labels, EVENTS):
                    pause = FIRST_EVENTS_PAUSE_SECONDS
                    if event is None or self._is_news(event["Actor"]):
                        self._happened.set()
            except errors.ShimError as error:
                _log.info("No events: %s", error.message)
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, LONGEST_EVENTS_PAUSE_SECONDS)

    def send(self) -> None:
        """One hint for everything that happened within a second."""
        while True:
            self._happened.wait()
            self._happened.clear()
            try:
                authorization = {"Authorization": f"Bearer {self._control_plane.token(NOTIFY_AUDIENCE)}"}
                self._control_plane.post(self._url, b"", authorization, NOTIFY_SECONDS)
            except NoAnswer as error:
                _log.info("A hint was lost: %s", error)
            time.sleep(NOTIFY_EVERY_SECONDS)

    def _is_news(self, actor: Json) -> bool:
        name = names.CONTAINER_NAME.fullmatch(actor["Attributes"]["name"])
        # What a command does is in that command's answer.
        if name and self._locks.is_held(name["instance"]):
            return False
        # The engine reports a death before its list shows it, and an inspect waits until it does.
        self._engine.inspect(actor["ID"])
        return True
