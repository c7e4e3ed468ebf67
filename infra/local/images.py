"""The images of the local world: Debian, the droplet, the shim, and an MCP server that nobody here wrote."""

from __future__ import annotations

import json
import platform
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from infra.local import authority, command, engine, world
from infra.local.image import Image
from infra.local.processes import BIN

BASE = "debian:bookworm"
PUBLIC_REGISTRY = "https://registry-1.docker.io/v2/"
MCP_SERVER = "images/mcp-server-everything"
MCP_PACKAGE = "@modelcontextprotocol/server-everything"


def _shim_packages(context: Path) -> None:
    """The shim's requirements, for Debian bookworm's Python and C library, whatever this machine's are."""
    machine = platform.machine()
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


DROPLET = Image("toolboxes-droplet", "bookworm", "infra/local/images/droplet", ("Dockerfile", "cloud.cfg"), _authority)
SHIM = Image("toolboxes-shim", "local", ".", ("shim", "shim/Dockerfile", "shim/requirements.txt"), _shim_packages)
MCP = Image(
    "mcp-server-everything", _mcp_version(), f"infra/local/{MCP_SERVER}", ("Dockerfile", "package.json"), _node_modules
)


def ensure_base() -> None:
    """Debian in our engine: pulled where a public registry can be reached, else made from Debian's packages."""
    if engine.inspect("image", BASE) is not None:
        return
    if _public_registry_answers():
        engine.docker("pull", BASE)
    else:
        _make_base()


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


def _make_base() -> None:
    """Debian's smallest system with apt, without manuals and translations."""
    options = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale")]
    options.append("--dpkgopt=force-unsafe-io")
    apt = world.CHECKOUT / "infra/local/images/debian/apt.conf"
    options.append(f"--customize-hook=upload {shlex.quote(str(apt))} /etc/apt/apt.conf.d/90image")
    # Once told to keep no caches apt does not remove them either.
    options.append('--customize-hook=rm "$1"/var/cache/apt/*.bin')
    archive = world.STATE / "build" / "bookworm.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    command.run(["mmdebstrap", "--variant=minbase", *options, "bookworm", archive])
    engine.docker("import", "--change", 'CMD ["bash"]', archive, BASE)
    archive.unlink()
