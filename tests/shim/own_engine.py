"""A Docker Engine with its own disk, which a test may prune, fill, kill and restart."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import docker
import requests

NUMBERS = itertools.count(70)


class OwnEngine:
    """Needs root. `disk` is a size in the notation of tmpfs, such as `64m`."""

    def __init__(self, directory: Path, disk: str = "256m") -> None:
        self.root, self.number = directory, next(NUMBERS)
        self.bridge = f"shim{os.getpid() % 100_000}-{self.number}"
        self.url = f"unix://{directory}/docker.sock"
        for name in ("data", "exec"):
            (directory / name).mkdir(parents=True)
        run("mount", "-t", "tmpfs", "-o", f"size={disk}", "tmpfs", str(directory / "data"))
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "address", "add", f"172.29.{self.number}.1/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        self.begin()

    def begin(self) -> None:
        """Start dockerd and wait until it answers."""
        with (self.root / "dockerd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "dockerd",
                    "--host",
                    self.url,
                    "--data-root",
                    f"{self.root}/data",
                    "--exec-root",
                    f"{self.root}/exec",
                    "--pidfile",
                    f"{self.root}/pid",
                    "--bridge",
                    self.bridge,
                    "--iptables=false",
                    "--exec-opt",
                    "native.cgroupdriver=cgroupfs",
                    "--storage-driver",
                    "overlay2",
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(200):
            try:
                docker.APIClient(self.url, version="auto").close()
            except (docker.errors.DockerException, requests.RequestException):
                assert self.process.poll() is None, (self.root / "dockerd.log").read_text()[-2000:]
                time.sleep(0.1)
            else:
                return
        raise AssertionError("dockerd does not answer")

    def end(self, how: int = signal.SIGTERM) -> None:
        if self.process.poll() is not None:
            return
        self.process.send_signal(how)
        self.process.wait(60)

    def restart(self, how: int = signal.SIGTERM) -> None:
        self.end(how)
        # Killing dockerd also kills its containerd. A new dockerd would wait for the process id of the old containerd.
        for left in ("pid", "exec/containerd/containerd.pid"):
            (self.root / left).unlink(missing_ok=True)
        self.begin()

    def close(self) -> None:
        try:
            client = docker.APIClient(self.url, version="auto")
            for found in client.containers(all=True):
                client.remove_container(found["Id"], force=True, v=True)
            client.close()
        finally:
            self.end()
            run("ip", "link", "delete", self.bridge)
            run("umount", "--lazy", "--recursive", str(self.root / "data"))
            # Mounted only if a container used the network of the host.
            subprocess.run(
                ["umount", "--lazy", f"{self.root}/exec/netns/default"], stderr=subprocess.DEVNULL, check=False
            )
            shutil.rmtree(self.root, ignore_errors=True)


def run(*command: str) -> None:
    subprocess.run(command, check=True)
