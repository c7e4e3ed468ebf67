"""Keeps the Firestore emulator and its data: run as a process, `python -m infra.local.firestore JAR`.

The emulator holds everything in memory. It is started with the last export, exported again every few seconds, and
once more before it is ended; a crash loses the seconds since. It is reached by a door, a forwarded port, which is shut
before the last export: nothing that was acknowledged is missing from it.
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
from pathlib import Path

import requests

from infra.local import world
from infra.local.steps import wait_until
from infra.local.world import PROJECT, World

EXPORT_EVERY_SECONDS = 15
# Usually one; a disk that others keep busy has taken half a minute.
EXPORT_SECONDS = 60
EXPORT = "data"
ENDS = {signal.SIGTERM}


class Firestore:
    """One world's emulator, as seen from outside."""

    def __init__(self, of: World, port: int) -> None:
        """`port` is the emulator's own, or its door."""
        self._url = f"http://127.0.0.1:{port}"
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
        url = f"{self._url}/emulator/v1/projects/{PROJECT}:export"
        requests.post(url, json=asked, timeout=EXPORT_SECONDS).raise_for_status()
        before = [path for path in self._exports.iterdir() if path != unfinished]
        # Sorts after all before it, also where the clock went back meanwhile.
        latest = max((int(path.name) for path in before), default=0)
        unfinished.rename(self._exports / f"{max(latest + 1, time.time_ns()):020}")
        for path in before:
            shutil.rmtree(path)


def keep(jar: Path, of: World) -> None:
    """Runs the emulator until SIGTERM, which is to be blocked. Raises RuntimeError where it ends by itself."""
    emulator = Firestore(of, of.emulator_port)
    newest = emulator.newest_export()
    imported = [f"--import-data={newest}"] if newest else []
    main_class = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
    address = ["--host=127.0.0.1", f"--port={of.emulator_port}"]
    # Should this process be killed, the emulator must not live on with nobody to export its data.
    process = _started(["java", "-Duser.language=en", "-cp", str(jar), main_class, "start", *address, *imported])
    try:
        wait_until(lambda: process.poll() is not None or emulator.answers(), 120, "the Firestore emulator")
        with door(of):
            # Waited for here and nowhere else: an export that is under way is never cut off by it.
            while signal.sigtimedwait(ENDS, EXPORT_EVERY_SECONDS) is None:
                if process.poll() is not None:
                    raise RuntimeError(f"the Firestore emulator ended with {process.returncode}")
                try:
                    emulator.export()
                except requests.RequestException as error:
                    print(f"not exported, the one before stays: {error}", flush=True)
        emulator.export()
    finally:
        process.kill()


@contextmanager
def door(of: World) -> Iterator[None]:
    """Forwards the port that the emulator is reached at; in the end cuts every connection to it."""
    listening = f"TCP-LISTEN:{of.firestore_port},bind=127.0.0.1,reuseaddr,fork,nodelay"
    forwarding = _started(["socat", listening, f"TCP:127.0.0.1:{of.emulator_port},nodelay"])
    try:
        yield
    finally:
        # With the process that it has for each connection.
        os.killpg(forwarding.pid, signal.SIGKILL)


def _started(command: list[str]) -> subprocess.Popen[bytes]:
    """In a group of its own, and gone when this process is."""
    bound = ["/usr/bin/setpriv", "--pdeathsig", "KILL", *command]
    return subprocess.Popen(bound, start_new_session=True)  # noqa: S603  # our own words


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    keep(Path(sys.argv[1]), world.current())


if __name__ == "__main__":
    main()
