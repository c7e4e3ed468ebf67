"""What holds the state and the task queue of a world: Google's emulators if this machine has them, otherwise SQLite.

The emulators are components of gcloud. They are started from their jar files without it, so that the supervised process
is the emulator itself and not a wrapper script.

As a program this module runs one Firestore emulator and saves its data: `python -m infra.local.emulators JAR`. The
emulator holds everything in memory. It is started from the last export, exported every EXPORT_INTERVAL_SECONDS, and
exported once more before it is stopped; a crash loses the writes since the last export. Clients reach it through a
forwarded port that is closed before the final export, so that this export contains every acknowledged write.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from infra.local import world
from infra.local.processes import BIN, Program
from infra.local.steps import wait_until
from infra.local.world import PROJECT, World

TOPIC = "converge"
EXPORT_INTERVAL_SECONDS = 15
EXPORT_SECONDS = 60
"""An export usually takes one second; on a busy disk it has taken thirty."""
EXPORT_NAME = "data"
START_SECONDS = 120
STOP_SIGNALS = {signal.SIGTERM}
FIRESTORE_MAIN_CLASS = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"


@dataclass(frozen=True)
class Backends:
    """The jar files of the emulators; None where there is none and SQLite is used."""

    firestore_jar: Path | None
    pubsub_jar: Path | None

    def environment(self, world: World) -> dict[str, str]:
        """The settings with which the functions use these backends."""
        settings = {"STORE": "firestore", "QUEUE": f"pubsub:{TOPIC}"}
        if self.firestore_jar:
            settings["FIRESTORE_EMULATOR_HOST"] = f"127.0.0.1:{world.firestore_port}"
        else:
            settings["STORE"] = f"sqlite:{world.directory}/store.sqlite"
        if self.pubsub_jar:
            settings["PUBSUB_EMULATOR_HOST"] = f"127.0.0.1:{world.pubsub_port}"
        else:
            settings["QUEUE"] = f"sqlite:{queue_file(world)}"
        return settings

    def programs(self, world: World) -> list[Program]:
        """The emulators as supervised processes."""
        programs = []
        if self.firestore_jar:
            words = [str(BIN / "python"), "-m", "infra.local.emulators", str(self.firestore_jar)]
            # It needs time to stop: it exports its data last.
            stop_seconds = 2 * EXPORT_SECONDS
            programs.append(Program("firestore", words, {"TOOLBOXES_WORLD": world.name}, stop_seconds=stop_seconds))
        if self.pubsub_jar:
            address = ["--host=127.0.0.1", f"--port={world.pubsub_port}"]
            programs.append(Program("pubsub", ["java", "-jar", str(self.pubsub_jar), *address]))
        return programs

    def __str__(self) -> str:
        store = "the Firestore emulator" if self.firestore_jar else "SQLite (gcloud's Firestore emulator is missing)"
        queue = "the Pub/Sub emulator" if self.pubsub_jar else "SQLite (gcloud's Pub/Sub emulator is missing)"
        return f"store: {store}; queue: {queue}"


def queue_file(world: World) -> Path:
    return world.directory / "queue.sqlite"


def installed() -> Backends:
    """The backends of this machine: an emulator is used if gcloud, Java and its component are installed."""
    gcloud, java = shutil.which("gcloud"), shutil.which("java")
    if not gcloud or not java:
        return Backends(None, None)
    platform = Path(gcloud).resolve().parents[1] / "platform"
    firestore = next(platform.glob("cloud-firestore-emulator/*.jar"), None)
    pubsub = next(platform.glob("pubsub-emulator/lib/*-all.jar"), None)
    return Backends(firestore, pubsub)


class Firestore:
    """A client of one world's Firestore emulator."""

    def __init__(self, world: World, port: int) -> None:
        """`port` is the emulator's own, or the one that is forwarded to it."""
        self._url = f"http://127.0.0.1:{port}"
        self._exports = world.directory / "firestore"

    def answers(self) -> bool:
        """Whether it accepts a commit. The first commit loads most of its classes, which takes seconds."""
        documents = "projects/warm-up/databases/(default)/documents"
        writes = [{"update": {"name": f"{documents}/warm/up"}}]
        try:
            return requests.post(f"{self._url}/v1/{documents}:commit", json={"writes": writes}, timeout=30).ok
        except requests.RequestException:
            return False

    def newest_export(self) -> Path | None:
        """The metadata file of the export from which the emulator is started."""
        exports = sorted(self._exports.glob(f"*/{EXPORT_NAME}/{EXPORT_NAME}.overall_export_metadata"))
        return exports[-1] if exports else None

    def export(self) -> None:
        """Write all data to a new export, and delete the previous one after that. Raises requests.RequestException."""
        unfinished = self._exports / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        body = {
            "database": f"projects/{PROJECT}/databases/(default)",
            "export_directory": str(unfinished),
            "export_name": EXPORT_NAME,
        }
        url = f"{self._url}/emulator/v1/projects/{PROJECT}:export"
        requests.post(url, json=body, timeout=EXPORT_SECONDS).raise_for_status()
        earlier = [path for path in self._exports.iterdir() if path != unfinished]
        # The name sorts after every earlier one, even if the clock was set back.
        latest = max((int(path.name) for path in earlier), default=0)
        unfinished.rename(self._exports / f"{max(latest + 1, time.time_ns()):020}")
        for path in earlier:
            shutil.rmtree(path)


def run_firestore(jar: Path, world: World) -> None:
    """Run the emulator until SIGTERM, which the caller has blocked. Raises RuntimeError if it exits by itself."""
    emulator = Firestore(world, world.emulator_port)
    newest = emulator.newest_export()
    options = [f"--import-data={newest}"] if newest else []
    options += ["--host=127.0.0.1", f"--port={world.emulator_port}"]
    process = _start(["java", "-Duser.language=en", "-cp", str(jar), FIRESTORE_MAIN_CLASS, "start", *options])
    try:
        wait_until(lambda: process.poll() is not None or emulator.answers(), START_SECONDS, "the Firestore emulator")
        with _forwarded_port(world):
            # The signal is received here and nowhere else, so that it never interrupts an export.
            while signal.sigtimedwait(STOP_SIGNALS, EXPORT_INTERVAL_SECONDS) is None:
                if process.poll() is not None:
                    raise RuntimeError(f"the Firestore emulator exited with status {process.returncode}")
                try:
                    emulator.export()
                except requests.RequestException as error:
                    print(f"The export failed; the previous one stays: {error}", flush=True)
        emulator.export()
    finally:
        process.kill()


@contextmanager
def _forwarded_port(world: World) -> Iterator[None]:
    """Forward the clients' port to the emulator; on exit cut every connection."""
    listen = f"TCP-LISTEN:{world.firestore_port},bind=127.0.0.1,reuseaddr,fork,nodelay"
    forwarder = _start(["socat", listen, f"TCP:127.0.0.1:{world.emulator_port},nodelay"])
    try:
        yield
    finally:
        # socat has one child process per connection.
        os.killpg(forwarder.pid, signal.SIGKILL)


def _start(words: list[str]) -> subprocess.Popen[bytes]:
    """Start a child in its own process group. It dies with this process: nobody would export its data."""
    bound = ["/usr/bin/setpriv", "--pdeathsig", "KILL", *words]
    return subprocess.Popen(bound, start_new_session=True)  # noqa: S603  # every word comes from this project


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    run_firestore(Path(sys.argv[1]), world.current())


if __name__ == "__main__":
    main()
