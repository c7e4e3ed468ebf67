"""What holds the state and the queue in a world: Google's emulators where this machine has them, else SQLite.

The emulators are components of gcloud. They are run without it: a supervised process is then the emulator itself.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from infra.local.firestore import EXPORT_SECONDS
from infra.local.processes import BIN, Program
from infra.local.world import World

TOPIC = "converge"


@dataclass(frozen=True)
class Backing:
    """The emulators' jars; None where there is none, and SQLite is used instead."""

    firestore_jar: Path | None
    pubsub_jar: Path | None

    def environment(self, of: World) -> dict[str, str]:
        """What the functions are told of it."""
        told = {"STORE": "firestore", "QUEUE": f"pubsub:{TOPIC}"}
        if self.firestore_jar:
            told["FIRESTORE_EMULATOR_HOST"] = f"127.0.0.1:{of.firestore_port}"
        else:
            told["STORE"] = f"sqlite:{of.directory}/store.sqlite"
        if self.pubsub_jar:
            told["PUBSUB_EMULATOR_HOST"] = f"127.0.0.1:{of.pubsub_port}"
        else:
            told["QUEUE"] = f"sqlite:{queue_file(of)}"
        return told

    def programs(self, of: World) -> list[Program]:
        found = []
        if self.firestore_jar:
            # Its last act is to write its data out.
            keeper = [str(BIN / "python"), "-m", "infra.local.firestore", str(self.firestore_jar)]
            found.append(Program("firestore", keeper, {"TOOLBOXES_WORLD": of.name}, stop_seconds=2 * EXPORT_SECONDS))
        if self.pubsub_jar:
            address = ["--host=127.0.0.1", f"--port={of.pubsub_port}"]
            found.append(Program("pubsub", ["java", "-jar", str(self.pubsub_jar), *address]))
        return found

    def __str__(self) -> str:
        store = "the Firestore emulator" if self.firestore_jar else "SQLite, for want of gcloud's Firestore emulator"
        queue = "the Pub/Sub emulator" if self.pubsub_jar else "SQLite, for want of gcloud's Pub/Sub emulator"
        return f"store: {store}; queue: {queue}"


def queue_file(of: World) -> Path:
    return of.directory / "queue.sqlite"


def found() -> Backing:
    gcloud, java = shutil.which("gcloud"), shutil.which("java")
    if not gcloud or not java:
        return Backing(None, None)
    platform = Path(gcloud).resolve().parents[1] / "platform"
    firestore = next(platform.glob("cloud-firestore-emulator/*.jar"), None)
    pubsub = next(platform.glob("pubsub-emulator/lib/*-all.jar"), None)
    return Backing(firestore, pubsub)
