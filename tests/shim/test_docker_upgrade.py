"""A shim replaces itself, in a container beside a user's container, on an engine that only this test uses."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import shim
from shim import identity
from shim.contract import messages, routes, tokens
from shim.upgrade import HELPER, NEXT, OLD, SHIM
from tests.shim.caller import Answer, TlsCaller
from tests.shim.droplet import Registry, busybox_image, create, eventually
from tests.shim.own_engine import OwnEngine
from tests.shim.process import configure

pytestmark = pytest.mark.docker
SOURCE = Path(shim.__file__).parent
IMAGE = "toolboxes-shim:local"


class ShimDroplet:
    """The droplet as cloud-init leaves it: the shim in its container, on the contract's port of this machine."""

    def __init__(self, engine: OwnEngine, registry: Registry, base: str, directory: Path, toolbox_id: str) -> None:
        self.engine, self.registry, self.base, self.directory = engine, registry, base, directory
        self.docker = docker.APIClient(engine.url, version="auto", timeout=120)
        self.toolbox_id, self.key = toolbox_id, Ed25519PrivateKey.generate()
        self.repository = f"127.0.0.1:{registry.port}/shim"
        for name in ("etc", "state"):
            (directory / name).mkdir()
        (directory / "etc/droplet-id").write_text("1\n")
        configure(directory / "etc", toolbox_id, self.key.public_key(), self.repository)

    def build(self, version: str, **changed: str) -> str:
        """Build an image of the shim, push it in a manifest list, and return its reference by the list's digest.

        It contains this checkout's code with another version. `changed` maps modules to their changed text.
        """
        context, name = io.BytesIO(), f"{self.repository}:{version}"
        with tarfile.open(fileobj=context, mode="w") as tar:
            texts = {str(path.relative_to(SOURCE)): path.read_text() for path in SOURCE.rglob("*.py")}
            texts["__init__.py"] = texts["__init__.py"].replace(shim.__version__, version)
            texts |= {f"{module}.py": text for module, text in changed.items()}
            for path, text in {f"shim/{file}": text for file, text in texts.items()}.items():
                add(tar, path, text)
            add(tar, "Dockerfile", f"FROM {self.base}\nCOPY shim shim\n")
        context.seek(0)
        for line in self.docker.build(fileobj=context, custom_context=True, tag=name, decode=True, rm=True):
            assert "error" not in line, line
        for line in self.docker.push(self.repository, version, stream=True, decode=True):
            assert "error" not in line, line
        own = self.docker.inspect_image(name)["Architecture"]  # type: ignore[no-untyped-call]
        other = {"amd64": "arm64"}.get(own, "amd64")
        self.registry.push_for_architecture("shim", other, version)
        return f"{self.repository}@{self.registry.push_list('shim', {other: other, own: version})}"

    def install(self, image: str) -> TlsCaller:
        socket = self.engine.url.removeprefix("unix://")
        host = {
            "Binds": [
                f"{socket}:/var/run/docker.sock",
                f"{self.directory}/etc:/etc/toolboxes:ro",
                f"{self.directory}/state:/var/lib/toolboxes-shim",
            ],
            "NetworkMode": "host",
            "RestartPolicy": {"Name": "always"},
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Tmpfs": {"/tmp": ""},
        }
        config = {"Image": image, "HostConfig": host}
        self.docker.pull(image)
        self.docker.create_container_from_config(config, SHIM)  # type: ignore[no-untyped-call]
        self.docker.start(SHIM)
        eventually((self.directory / "state" / identity.CERTIFICATE_FILE).exists)
        audience = tokens.audience(
            self.toolbox_id, identity.fingerprint(self.directory / "state" / identity.CERTIFICATE_FILE)
        )
        caller = TlsCaller(self.key, audience, routes.PORT)
        eventually(lambda: version(caller))
        return caller

    def exit_code(self, *command: str) -> int:
        """The exit code of a command in the shim's own container."""
        started = self.docker.exec_create(SHIM, list(command))["Id"]
        self.docker.exec_start(started)
        return int(self.docker.exec_inspect(started)["ExitCode"])

    def shims(self) -> dict[str, str]:
        found = self.docker.containers(all=True)
        states = {container["Names"][0][1:]: container["State"] for container in found}
        return {name: state for name, state in states.items() if name in (SHIM, NEXT, OLD, HELPER)}


def changed(module: str, what: str, by: str) -> str:
    text = (SOURCE / f"{module}.py").read_text()
    assert text.count(what) == 1
    return text.replace(what, by)


def add(tar: tarfile.TarFile, path: str, text: str) -> None:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(text.encode()), 0o644
    tar.addfile(entry, io.BytesIO(text.encode()))


def version(caller: TlsCaller) -> str:
    """The version of the shim that answers now, or "" if none does."""
    try:
        return str(caller.send("GET", "/health", {}, b"").json["version"])
    except OSError:
        return ""


def upgrade_to(caller: TlsCaller, image: str) -> Answer:
    """Pull the image and request the shim's upgrade to it, as the functions do."""
    lines = caller.call(routes.PULL, message=messages.Pull(image)).body.splitlines()
    pulled = messages.read(messages.PullLine, lines[-1]).image
    assert pulled and image.endswith(f"@{pulled.digest}"), lines
    return caller.call(routes.UPGRADE, message=messages.Upgrade(image))


@pytest.fixture
def machine(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, registry: Registry, engine_socket: str, toolbox_id: str
) -> Iterator[ShimDroplet]:
    built = docker.APIClient(engine_socket, version="auto", timeout=120)
    names = [name for image in built.images() for name in image["RepoTags"] or [] if IMAGE in name]
    assert names, "the shim's image is not there: infra/local/images.py builds it"
    engine = OwnEngine(tmp_path_factory.mktemp("up"), disk="1g")
    client = docker.APIClient(engine.url, version="auto", timeout=120)
    list(client.load_image(built.get_image(names[0])))  # type: ignore[no-untyped-call]
    yield ShimDroplet(engine, registry, names[0], tmp_path, toolbox_id)
    engine.close()


def test_shim_is_upgraded_rolled_back_and_survives_a_reboot(machine: ShimDroplet) -> None:
    first = machine.build("2.0.0")
    caller = machine.install(first)
    check = machine.docker.inspect_image(first)["Config"]["Healthcheck"]["Test"]  # type: ignore[no-untyped-call]
    assert check[0] == "CMD" and machine.exit_code(*check[1:]) == 0
    # The engine's exit codes for a missing command: the image has no shell.
    assert {machine.exit_code(shell) for shell in ("sh", "/bin/sh", "bash", "/bin/dash")} <= {126, 127}
    container = caller.perform(routes.CREATE, message=create(next(busybox_image(machine.engine.url)), "sleep", "600"))
    assert container.container
    name = container.container.name
    started = caller.perform(routes.START, name).container
    assert started

    other = f"127.0.0.1:{machine.registry.port}/other@sha256:" + "0" * 64
    assert caller.call(routes.UPGRADE, message=messages.Upgrade(other)).code == "bad-request"
    absent = f"{machine.repository}@sha256:" + "0" * 64
    assert caller.call(routes.UPGRADE, message=messages.Upgrade(absent)).code == "no-such-image"

    second = machine.build("2.0.1")
    answer = upgrade_to(caller, second)
    assert (answer.status, answer.json) == (202, {"image": second})
    eventually(lambda: version(caller) == "2.0.1" and machine.shims() == {SHIM: "running"})
    # The certificate is the same, and the user's container is unchanged.
    eventually(lambda: caller.call(routes.INSPECT, name).status == 200)
    assert caller.perform(routes.INSPECT, name).container == started

    # This shim passes the proof beside the old shim, and exits once it has replaced it.
    serve = "    serve(configuration, STATE"
    dead = changed("__main__", serve, f"    sys.exit('planted')\n{serve}")
    hasty = changed("upgrade", "PROOF_SECONDS = 30.0", "PROOF_SECONDS = 8.0")
    broken = machine.build("2.0.2", __main__=dead, upgrade=hasty)
    assert upgrade_to(caller, broken).status == 202
    eventually(lambda: version(caller) == "")
    eventually(lambda: version(caller) == "2.0.1" and machine.shims() == {SHIM: "running"}, 90)

    third = machine.build("2.0.3")
    assert upgrade_to(caller, third).status == 202
    eventually(lambda: OLD in machine.shims())
    machine.engine.restart()
    eventually(lambda: version(caller) == "2.0.3" and machine.shims() == {SHIM: "running"}, 90)
    eventually(lambda: caller.call(routes.STATUS).status == 200)
    assert [container["state"] for container in caller.call(routes.STATUS).json["containers"]] == ["running"]
