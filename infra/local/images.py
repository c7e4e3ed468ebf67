"""The images of the local world: Debian, the droplet, the shim, and an MCP server that nobody here wrote."""

from __future__ import annotations

import json
import platform
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import requests

from infra.local import authority, command, engine, registry, world
from infra.local.image import BUILD_SECONDS, Image
from infra.local.processes import BIN

# By Docker's and Debian's names for them: Linux's own names for the architectures that the shim is made for.
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
OWN = {machine: name for name, machine in MACHINES.items()}[platform.machine()]
# Docker Hub's repositories of Debian for one architecture alone: a tag in an engine is of one.
DEBIAN = {"amd64": "amd64/debian", "arm64": "arm64v8/debian"}
PUBLIC_REGISTRY = "https://registry-1.docker.io/v2/"
MCP_SERVER = "images/mcp-server-everything"
MCP_PACKAGE = "@modelcontextprotocol/server-everything"


def _debian(architecture: str, context: Path) -> None:
    """Debian's smallest system with apt, without manuals and translations."""
    options = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale")]
    options.append("--dpkgopt=force-unsafe-io")
    options.append(f"--customize-hook=upload {shlex.quote(str(context / 'apt.conf'))} /etc/apt/apt.conf.d/90image")
    # Once told to keep no caches apt does not remove them either.
    options.append('--customize-hook=rm "$1"/var/cache/apt/*.bin')
    kind = ["--variant=minbase", f"--architectures={architecture}"]
    command.run(["mmdebstrap", *kind, *options, "bookworm", context / "bookworm.tar"], seconds=BUILD_SECONDS)


def _shim_packages(architecture: str, context: Path) -> None:
    """The shim's requirements, for Debian bookworm's Python and C library, whatever this machine's are."""
    machine = MACHINES[architecture]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in (36, 34, 28, 17)] + [f"manylinux2014_{machine}"]
    python = ["--python-version", "3.11", "--only-binary", ":all:", *(f"--platform={name}" for name in platforms)]
    places: list[str | Path] = ["--target", context / "packages", "--requirement", context / "shim/requirements.txt"]
    command.run([BIN / "pip", "install", "--quiet", "--no-compile", *python, *places])


def _node_modules(context: Path) -> None:
    command.run([BIN / "npm", "install", "--omit=dev", "--no-package-lock", "--prefix", context])


def _authority(context: Path) -> None:
    shutil.copy2(authority.ensure(), context / "authority.crt")


def _mcp_version() -> str:
    package = json.loads((world.CHECKOUT / "infra/local" / MCP_SERVER / "package.json").read_text())
    return str(package["dependencies"][MCP_PACKAGE])


def debian(architecture: str = OWN) -> Image:
    """What the others are made from. That for this machine is named as all the Dockerfiles name it."""
    repository = "debian" if architecture == OWN else DEBIAN[architecture]
    system = partial(_debian, architecture)
    return Image(
        repository, "bookworm", "infra/local/images/debian", ("Dockerfile", "apt.conf"), system, _for(architecture)
    )


def shim(architecture: str, repository: str, tag: str, *options: str) -> Image:
    base = f"BASE={debian(architecture).reference}"
    return Image(
        repository, tag, ".", ("shim", "shim/Dockerfile", "shim/requirements.txt"),
        partial(_shim_packages, architecture), (*_for(architecture), "--build-arg", base, *options),
    )  # fmt: skip


def _for(architecture: str) -> tuple[str, str]:
    return "--platform", f"linux/{architecture}"


DROPLET = Image(
    f"{registry.ADDRESS}/toolboxes-droplet", "bookworm", "infra/local/images/droplet", ("Dockerfile", "cloud.cfg"),
    _authority,
)  # fmt: skip
SHIM = shim(OWN, f"{registry.ADDRESS}/toolboxes-shim", "local")
MCP = Image(
    f"{registry.ADDRESS}/mcp-server-everything", _mcp_version(), f"infra/local/{MCP_SERVER}",
    ("Dockerfile", "package.json"), _node_modules,
)  # fmt: skip


def ensure_base(architecture: str = OWN) -> None:
    """Debian in our engine: pulled where a public registry can be reached, else made from Debian's packages."""
    base = debian(architecture)
    if engine.inspect("image", base.reference) is not None:
        return
    if _public_registry_answers():
        engine.docker("pull", base.reference)
    else:
        base.build()


def ensure_all() -> None:
    """Builds and pushes what is not there as the checkout has it, side by side."""
    tasks = (DROPLET.build, SHIM.publish, MCP.publish)
    with ThreadPoolExecutor(len(tasks)) as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()


def _public_registry_answers() -> bool:
    try:
        return requests.get(PUBLIC_REGISTRY, timeout=3).status_code in (200, 401)
    except requests.RequestException:
        return False
