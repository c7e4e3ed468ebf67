"""The images of the local world: Debian, the droplet, the shim, and a reference MCP server from npm.

An image is built only when its inputs changed: a label holds a digest of them.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import requests

from infra.local import authority, command, engine, registry, world
from infra.local.processes import BIN

INPUTS_LABEL = "toolboxes.inputs"
BUILD_SECONDS = 1800
"""Long enough for another architecture than the machine's, where each program is emulated."""
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""The architectures of the shim: Docker's and Debian's name, then the kernel's."""
NATIVE = {machine: name for name, machine in MACHINES.items()}[platform.machine()]
DEBIAN_REPOSITORIES = {"amd64": "amd64/debian", "arm64": "arm64v8/debian"}
"""Docker Hub's repositories for one architecture each: a tag in an engine holds one architecture only."""
PUBLIC_REGISTRY = "https://registry-1.docker.io/v2/"
MCP_SERVER = "images/mcp-server-everything"
MCP_PACKAGE = "@modelcontextprotocol/server-everything"


def _no_downloads(context: Path) -> None:
    """For an image whose Dockerfile can reach everything that it needs."""


@dataclass(frozen=True)
class Image:
    """An image that this project builds.

    `sources` are files and folders of the checkout; in the build context they have their path relative to `root`.
    `download` adds to the context what the build cannot reach itself: Debian's packages are reachable inside a build,
    but PyPI and npm are not where a company's certificate authority intercepts TLS. `options` are further options of
    `docker build`.
    """

    repository: str
    tag: str
    root: str
    sources: tuple[str, ...]
    download: Callable[[Path], None] = _no_downloads
    options: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        return f"{self.repository}:{self.tag}"

    @property
    def context(self) -> Path:
        """The build context, which exists during a build."""
        return world.STATE / "build" / self.reference.replace("/", "-")

    def build(self) -> None:
        """Build the image unless the engine has it from the present inputs. Raises command.Failed."""
        inputs = self.inputs()
        known = engine.inspect("image", self.reference)
        if known is None or known["Config"]["Labels"].get(INPUTS_LABEL) != inputs:
            self._build(inputs)
            if known:
                # Fails if a droplet still uses the old image, which then stays.
                with suppress(command.Failed):
                    engine.docker("image", "rm", known["Id"])

    def publish(self) -> None:
        """Build the image if needed, and push it to the local registry unless it is there. Raises command.Failed."""
        self.build()
        if registry.digest_reference(self.reference) is None:
            registry.push(self.reference)

    def by_digest(self) -> str:
        """The image's reference by digest. Raises LookupError if it was not pushed."""
        found = registry.digest_reference(self.reference)
        if found is None:
            raise LookupError(f"{self.reference} is not in the registry")
        return found

    def build_command(self, inputs: str) -> list[str]:
        """The arguments of `docker` that build the image from its complete context."""
        dockerfile = self.context / next(name for name in self._files() if name.endswith("Dockerfile"))
        names = ["--tag", self.reference, "--label", f"{INPUTS_LABEL}={inputs}"]
        # The host's network reaches Debian's archive; the default network of a build may lack a name server.
        return ["build", "--network", "host", *self.options, *names, "--file", str(dockerfile), str(self.context)]

    def inputs(self) -> str:
        """A digest of all sources with their paths."""
        digest = hashlib.sha256()
        for name, file in self._files().items():
            digest.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
        return digest.hexdigest()

    def _files(self) -> dict[str, Path]:
        """Every source file by its path in the build context."""
        root = world.CHECKOUT / self.root
        files: list[Path] = []
        for source in map(root.joinpath, self.sources):
            files.extend(source.rglob("*.py") if source.is_dir() else [source])
        return {str(file.relative_to(root)): file for file in sorted(files)}

    def _build(self, inputs: str) -> None:
        # A build that was killed leaves its context behind.
        shutil.rmtree(self.context, ignore_errors=True)
        try:
            for name, file in self._files().items():
                (self.context / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, self.context / name)
            self.download(self.context)
            engine.docker(*self.build_command(inputs), seconds=BUILD_SECONDS)
        finally:
            shutil.rmtree(self.context, ignore_errors=True)


def _debian_archive(architecture: str, context: Path) -> None:
    """Make bookworm.tar: Debian's smallest system with apt, without manuals and translations."""
    options = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale")]
    options.append("--dpkgopt=force-unsafe-io")
    options.append(f"--customize-hook=upload {shlex.quote(str(context / 'apt.conf'))} /etc/apt/apt.conf.d/90image")
    # apt does not remove its caches after it was configured not to write them.
    options.append('--customize-hook=rm "$1"/var/cache/apt/*.bin')
    variant = ["--variant=minbase", f"--architectures={architecture}"]
    command.run(["mmdebstrap", *variant, *options, "bookworm", context / "bookworm.tar"], seconds=BUILD_SECONDS)


def _shim_packages(architecture: str, context: Path) -> None:
    """Install the shim's packages for Python and C library of Debian bookworm, whatever this machine has."""
    machine = MACHINES[architecture]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in (36, 34, 28, 17)] + [f"manylinux2014_{machine}"]
    target = ["--python-version", "3.11", "--only-binary", ":all:", *(f"--platform={name}" for name in platforms)]
    folders: list[str | Path] = ["--target", context / "packages", "--requirement", context / "shim/requirements.txt"]
    command.run([BIN / "pip", "install", "--quiet", "--no-compile", "--require-hashes", *target, *folders])


def _node_modules(context: Path) -> None:
    command.run([BIN / "npm", "install", "--omit=dev", "--no-package-lock", "--prefix", context])


def _authority_certificate(context: Path) -> None:
    shutil.copy2(authority.ensure(), context / "authority.crt")


def _mcp_version() -> str:
    package = json.loads((world.CHECKOUT / "infra/local" / MCP_SERVER / "package.json").read_text())
    return str(package["dependencies"][MCP_PACKAGE])


def debian(architecture: str = NATIVE) -> Image:
    """The base of the other images. The one for this machine has the name that the Dockerfiles use."""
    repository = "debian" if architecture == NATIVE else DEBIAN_REPOSITORIES[architecture]
    sources = ("Dockerfile", "apt.conf")
    archive = partial(_debian_archive, architecture)
    return Image(repository, "bookworm", "infra/local/images/debian", sources, archive, _platform(architecture))


def shim(architecture: str, repository: str, tag: str, *options: str) -> Image:
    """The shim's image for one architecture. `options` are further options of `docker build`."""
    base = f"BASE={debian(architecture).reference}"
    return Image(
        repository,
        tag,
        root=".",
        sources=("shim", "shim/Dockerfile", "shim/requirements.txt"),
        download=partial(_shim_packages, architecture),
        options=(*_platform(architecture), "--build-arg", base, *options),
    )


def _platform(architecture: str) -> tuple[str, str]:
    return "--platform", f"linux/{architecture}"


DROPLET = Image(
    f"{registry.ADDRESS}/toolboxes-droplet",
    "bookworm",
    root="infra/local/images/droplet",
    sources=("Dockerfile", "cloud.cfg"),
    download=_authority_certificate,
)
SHIM = shim(NATIVE, f"{registry.ADDRESS}/toolboxes-shim", "local")
MCP = Image(
    f"{registry.ADDRESS}/mcp-server-everything",
    _mcp_version(),
    root=f"infra/local/{MCP_SERVER}",
    sources=("Dockerfile", "package.json"),
    download=_node_modules,
)


def ensure_base(architecture: str = NATIVE) -> None:
    """Make sure that the engine has Debian: pulled if a public registry answers, else made from Debian's packages."""
    base = debian(architecture)
    if engine.inspect("image", base.reference) is not None:
        return
    if _public_registry_answers():
        engine.docker("pull", base.reference)
    else:
        base.build()


def ensure_all() -> None:
    """Build and push the images whose inputs changed, in parallel. Raises command.Failed."""
    tasks = (DROPLET.build, SHIM.publish, MCP.publish)
    with ThreadPoolExecutor(len(tasks)) as pool:
        for future in [pool.submit(task) for task in tasks]:
            future.result()


def _public_registry_answers() -> bool:
    try:
        return requests.get(PUBLIC_REGISTRY, timeout=3).status_code in (200, 401)
    except requests.RequestException:
        return False
