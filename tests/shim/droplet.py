"""A toolbox for one test: a caller of its shim, direct access to its engine, and a registry to pull from."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import requests

from shim.contract import messages, names, routes
from tests.shim.caller import TlsCaller

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFESTS = "application/vnd.docker.distribution.manifest.list.v2+json"
APPLETS = ("sh", "sleep", "echo", "stat", "cat", "httpd", "true", "false", "id", "chown", "seq", "wget", "touch")


class Droplet:
    def __init__(self, caller: TlsCaller, engine_socket: str, toolbox_id: str) -> None:
        self.caller, self.url, self.toolbox_id = caller, engine_socket, toolbox_id
        self.docker = docker.APIClient(engine_socket, version="auto")

    def clean(self) -> None:
        wanted = {"label": f"{names.LABEL_TOOLBOX}={self.toolbox_id}"}
        for found in self.docker.containers(all=True, filters=wanted):
            self.docker.remove_container(found["Id"], v=True, force=True)
        for volume in self.docker.volumes(filters=wanted)["Volumes"] or []:
            self.docker.remove_volume(volume["Name"])
        self.docker.close()

    def make(self, image: str, *command: str, start: bool = True, **changed: Any) -> messages.Container:
        """Create a container and, by default, start it."""
        made = self.caller.perform(routes.CREATE, message=create(image, *command, **changed)).container
        assert made
        if start:
            made = self.caller.perform(routes.START, made.name).container
            assert made
        return made


def create(image: str, *command: str, **changed: Any) -> messages.Create:
    requested: dict[str, Any] = {
        "instance_id": str(uuid.uuid4()),
        "spec_generation": 1,
        "image": image,
        "command": list(command),
        "limits": messages.Limits(64 << 20, 500_000_000, 64),
    }
    return messages.Create(**(requested | changed))


@dataclass(frozen=True)
class Registry:
    port: int

    def push(self, client: docker.APIClient, image: str, name: str, auth: dict[str, str] | None = None) -> str:
        """Push the image, remove the engine's own copy, and return the reference to pull it by."""
        reference = f"127.0.0.1:{self.port}/{name}"
        client.tag(image, reference, "1")
        for _ in range(50):
            output = list(client.push(reference, "1", stream=True, decode=True, auth_config=auth))
            if not any("error" in line for line in output):
                break
            time.sleep(0.1)
        else:
            raise AssertionError(output)
        client.remove_image(f"{reference}:1")
        return f"{reference}:1"

    def push_for_architecture(self, name: str, architecture: str, tag: str = "1") -> str:
        """Push the same image with another architecture in its configuration; return the reference to it."""
        base = f"http://127.0.0.1:{self.port}/v2/{name}"
        manifest = requests.get(f"{base}/manifests/{tag}", headers={"Accept": MANIFEST}).json()
        config = requests.get(f"{base}/blobs/{manifest['config']['digest']}").json() | {"architecture": architecture}
        blob = json.dumps(config).encode()
        digest = "sha256:" + hashlib.sha256(blob).hexdigest()
        place = requests.post(f"{base}/blobs/uploads/").headers["Location"]
        requests.put(place, data=blob, params={"digest": digest}).raise_for_status()
        manifest["config"] |= {"digest": digest, "size": len(blob)}
        answer = requests.put(
            f"{base}/manifests/{architecture}", json.dumps(manifest), headers={"Content-Type": MANIFEST}
        )
        answer.raise_for_status()
        return f"127.0.0.1:{self.port}/{name}:{architecture}"

    def push_list(self, name: str, tags: dict[str, str]) -> str:
        """Push a manifest list of the images with these tags, by architecture; return the list's digest."""
        base = f"http://127.0.0.1:{self.port}/v2/{name}/manifests"
        entries: list[dict[str, Any]] = []
        for architecture, tag in tags.items():
            part = requests.get(f"{base}/{tag}", headers={"Accept": MANIFEST})
            entry = {"mediaType": MANIFEST, "size": len(part.content), "digest": part.headers["Docker-Content-Digest"]}
            entries.append({**entry, "platform": {"os": "linux", "architecture": architecture}})
        body = {"schemaVersion": 2, "mediaType": MANIFESTS, "manifests": entries}
        answer = requests.put(f"{base}/list", json.dumps(body), headers={"Content-Type": MANIFESTS})
        answer.raise_for_status()
        return answer.headers["Docker-Content-Digest"]


def registry_serving(directory: Path, more: str = "") -> Iterator[Registry]:
    port = free_port()
    settings = directory / "registry.yml"
    settings.write_text(
        f"version: 0.1\nhttp: {{addr: 127.0.0.1:{port}}}\nstorage: {{filesystem: {{rootdirectory: {directory}/b}}}}\n"
        + more
    )
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(["docker-registry", "serve", str(settings)], stdout=quiet, stderr=quiet)
    yield Registry(port)
    process.terminate()
    process.wait()


def eventually(look: Callable[[], object], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < ends
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def busybox_image(engine_socket: str, ballast: int = 0) -> Iterator[str]:
    client = docker.APIClient(engine_socket, version="auto")
    reference = f"shim-test-{uuid.uuid4().hex[:8]}:1"
    repository, tag = reference.split(":")
    claims = f"LABEL {names.LABEL_TOOLBOX}=another {names.LABEL_INSTANCE}=another kept=1\nVOLUME /anonymous"
    url = f"{client.base_url}/v{client.api_version}/images/create"
    query = {"fromSrc": "-", "repo": repository, "tag": tag, "changes": claims}
    client.post(
        url, params=query, data=_busybox(ballast), headers={"Content-Type": "application/x-tar"}
    ).raise_for_status()
    yield reference
    client.remove_image(reference, force=True)
    client.close()


def _busybox(ballast: int) -> bytes:
    """The image as a tar; `ballast` is a number of random bytes, which do not compress, to make it larger."""
    packed = io.BytesIO()
    busybox = shutil.which("busybox")
    assert busybox, "the package busybox-static is missing"
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        filler = tarfile.TarInfo("ballast")
        filler.size = ballast
        tar.addfile(filler, io.BytesIO(os.urandom(ballast)))
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(folder)
    return packed.getvalue()
