"""Google's emulators for Firestore and Pub/Sub, each started in a process group of its own and ended with it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Long enough for a JVM on a busy machine.
START_SECONDS = 90.0

ABSENT = (
    "gcloud is not installed, and the tests marked `emulator` need its Firestore and Pub/Sub emulators. Install "
    "google-cloud-cli with both emulators and Java, name running ones in FIRESTORE_EMULATOR_HOST and "
    "PUBSUB_EMULATOR_HOST, or leave these tests out with TOOLBOXES_NO_EMULATOR=1."
)


class EmulatorAbsent(Exception):
    """An emulator cannot be started; the message says what is missing."""


@contextmanager
def firestore() -> Iterator[str]:
    """Yield `host:port` of an emulator: the one that the environment names, otherwise a new one."""
    if address := os.environ.get("FIRESTORE_EMULATOR_HOST"):
        yield address
        return
    with _running("emulators", "firestore", "start") as address:
        # The first commit loads most of the emulator's classes, and took longer than the store waits for a commit.
        commit = f"http://{address}/v1/projects/warm-up/databases/(default)/documents:commit"
        writes = [{"update": {"name": "projects/warm-up/databases/(default)/documents/warm/up"}}]
        request = urllib.request.Request(commit, json.dumps({"writes": writes}).encode())
        request.add_header("Content-Type", "application/json")
        urllib.request.urlopen(request, timeout=START_SECONDS).close()
        yield address


@contextmanager
def pubsub() -> Iterator[str]:
    """Yield `host:port` of an emulator: the one that the environment names, otherwise a new one."""
    if address := os.environ.get("PUBSUB_EMULATOR_HOST"):
        yield address
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        _running("beta", "emulators", "pubsub", "start", f"--data-dir={folder}") as address,
    ):
        yield address


def free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(*command: str) -> Iterator[str]:
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        raise EmulatorAbsent(ABSENT)
    address = f"127.0.0.1:{free_port()}"
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(
            [gcloud, *command, f"--host-port={address}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_until_up(address, process, Path(log.name))
            yield address
        finally:
            # gcloud, its shell and the JVM share the process group; gcloud may have exited already.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_up(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    host, port = address.split(":")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise EmulatorAbsent(f"{process.args!r} did not come up:\n{log.read_text()[-2000:]}")
