"""Keeps the Firestore emulator and its data: run as a process, `python -m infra.local.firestore JAR`.

The emulator holds everything in memory. It is started with the last export, exported again every few seconds, and
once more before it is ended; a crash loses the seconds since.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import requests

from infra.local import world
from infra.local.steps import wait_until
from infra.local.world import PROJECT, World

EXPORT_EVERY_SECONDS = 15
EXPORT = "data"


class Stop(Exception):
    """supervisord asked for the end."""


class Firestore:
    """One world's emulator, as seen from outside."""

    def __init__(self, of: World) -> None:
        self._url = f"http://127.0.0.1:{of.firestore_port}"
        self._exports = of.directory / "firestore"

    def answers(self) -> bool:
        """Whether it takes a commit. The first loads most of its classes and takes seconds: better now than later."""
        documents = "projects/warm-up/databases/(default)/documents"
        writes = [{"update": {"name": f"{documents}/warm/up"}}]
        try:
            return requests.post(f"{self._url}/v1/{documents}:commit", json={"writes": writes}, timeout=30).ok
        except requests.RequestException:
            return False

    def newest_export(self) -> Path | None:
        """What the emulator is to be started with."""
        found = sorted(self._exports.glob(f"*/{EXPORT}/{EXPORT}.overall_export_metadata"))
        return found[-1] if found else None

    def export(self) -> None:
        """Writes everything out; the export before it goes once this one is whole."""
        unfinished = self._exports / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        asked = {
            "database": f"projects/{PROJECT}/databases/(default)",
            "export_directory": str(unfinished),
            "export_name": EXPORT,
        }
        requests.post(f"{self._url}/emulator/v1/projects/{PROJECT}:export", json=asked, timeout=30).raise_for_status()
        before = [path for path in self._exports.iterdir() if path != unfinished]
        # Sorts after all before it, also where the clock went back meanwhile.
        latest = max((int(path.name) for path in before), default=0)
        unfinished.rename(self._exports / f"{max(latest + 1, time.time_ns()):020}")
        for path in before:
            shutil.rmtree(path)


def keep(jar: Path, of: World) -> None:
    """Runs the emulator until Stop is raised. Raises RuntimeError where the emulator ends by itself."""
    emulator = Firestore(of)
    newest = emulator.newest_export()
    imported = [f"--import-data={newest}"] if newest else []
    main_class = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
    address = ["--host=127.0.0.1", f"--port={of.firestore_port}"]
    command = ["java", "-Duser.language=en", "-cp", str(jar), main_class, "start", *address, *imported]
    # Should this process be killed, the emulator must not live on with nobody to export its data.
    process = subprocess.Popen(["/usr/bin/setpriv", "--pdeathsig", "KILL", *command])  # noqa: S603  # our own words
    try:
        wait_until(lambda: process.poll() is not None or emulator.answers(), 120, "the Firestore emulator")
        while process.poll() is None:
            time.sleep(EXPORT_EVERY_SECONDS)
            try:
                emulator.export()
            except requests.RequestException as error:
                print(f"not exported, the one before stays: {error}", flush=True)
        raise RuntimeError(f"the Firestore emulator ended with {process.returncode}")
    except Stop:
        emulator.export()
    finally:
        process.kill()


def main() -> None:
    def stop(*_: object) -> None:
        # Once only: the last export is not to be cut off by a second signal.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Stop

    signal.signal(signal.SIGTERM, stop)
    keep(Path(sys.argv[1]), world.current())


if __name__ == "__main__":
    main()
