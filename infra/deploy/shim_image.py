"""Publishes the shim as one image for amd64 and arm64 and prints its reference by digest, the value of SHIM_IMAGE:

    infra/local/bootstrap docker login REGISTRY
    infra/local/bootstrap python -m infra.deploy.shim_image REPOSITORY [--print]

Both images are built on this machine, the one for the other architecture by emulation: the kernel must be able to run
it, as it can where Debian's qemu-user-static is installed. --print only prints the docker commands.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from functions.domain.toolbox.droplet import IMAGE_BY_DIGEST
from infra.local import command, engine, images, machine, registry
from shim import __version__

ARCHITECTURES = tuple(images.MACHINES)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
DOCKER_SECONDS = 1800


class NotPublished(Exception):
    """The image could not be published. The message says why."""


def unique_tag(version: str, now: datetime) -> str:
    """A tag of this publication alone.

    Published images keep their tags: many registries delete untagged images, and droplets refer to them by digest.
    """
    return f"{version}-{now:%Y%m%d-%H%M%S}"


@dataclass(frozen=True, slots=True)
class Publication:
    """The docker commands that publish one manifest list. Pure.

    `repository` has neither tag nor digest. Raises ValueError for a repository that SHIM_IMAGE would not accept.
    """

    repository: str
    tag: str

    def __post_init__(self) -> None:
        has_tag = ":" in self.repository.rpartition("/")[2]
        if has_tag or not IMAGE_BY_DIGEST.fullmatch(f"{self.repository}@sha256:{'0' * 64}"):
            raise ValueError(f"{self.repository!r} is not a repository, such as registry.example/acme/toolboxes-shim")

    def architecture_tag(self, architecture: str) -> str:
        """The tag of the image for one architecture."""
        return f"{self.tag}-{architecture}"

    def commands(self) -> list[tuple[str, ...]]:
        """The arguments of `docker`, after both images were built. The last command prints the list's digest."""
        name = f"{self.repository}:{self.tag}"
        parts = [f"{self.repository}:{self.architecture_tag(architecture)}" for architecture in ARCHITECTURES]
        return [
            *(("push", part) for part in parts),
            ("manifest", "create", *self._insecure(), name, *parts),
            ("manifest", "push", "--purge", *self._insecure(), name),
        ]

    def reference(self, output: str) -> str:
        """The list's reference by digest, from the output of its push. Raises NotPublished."""
        if not DIGEST.fullmatch(output):
            raise NotPublished(f"docker printed no digest: {output}")
        return f"{self.repository}@{output}"

    def inspect_command(self, reference: str) -> tuple[str, ...]:
        """The command that reads the published list."""
        return ("manifest", "inspect", *self._insecure(), reference)

    def check(self, manifest: str) -> None:
        """Raises NotPublished unless the published `manifest` lists exactly one image for each architecture."""
        platforms = [item["platform"] for item in json.loads(manifest).get("manifests", [])]
        found = sorted(f"{platform['os']}/{platform['architecture']}" for platform in platforms)
        if found != [f"linux/{architecture}" for architecture in ARCHITECTURES]:
            raise NotPublished(f"the published image is not for {' and '.join(ARCHITECTURES)}: {manifest}")

    def _insecure(self) -> tuple[str, ...]:
        """Only the local registry has no TLS. The engine has an option of its own for it; the client needs this one."""
        return ("--insecure",) if self.repository.startswith(f"{registry.ADDRESS}/") else ()


def publish(publication: Publication) -> str:
    """Push the built images and their list, and return the list's reference by digest.

    Raises command.Failed, NotPublished.
    """
    output = ""
    for words in publication.commands():
        _print_command(words)
        output = _docker(*words)
    reference = publication.reference(output)
    publication.check(_docker(*publication.inspect_command(reference)))
    return reference


def main() -> None:
    parser = argparse.ArgumentParser(prog="infra.deploy.shim_image", description=__doc__.partition(":")[0])
    parser.add_argument("repository", help="the repository that droplets pull from, without a tag")
    parser.add_argument("--print", action="store_true", help="only print the docker commands")
    options = parser.parse_args()
    publication = Publication(options.repository, unique_tag(__version__, datetime.now(UTC)))
    # Without the build cache: Debian may have fixed packages since the last build.
    shims = [
        images.shim(architecture, options.repository, publication.architecture_tag(architecture), "--no-cache")
        for architecture in ARCHITECTURES
    ]
    if options.print:
        for words in (*(shim.build_command(shim.inputs()) for shim in shims), *publication.commands()):
            _print_command(words)
        return
    if not engine.answers():
        machine.engine_up()
    for architecture in ARCHITECTURES:
        _ensure_runnable(architecture)
    for shim in shims:
        _print_command(shim.build_command(shim.inputs()))
        shim.build()
    reference = publish(publication)
    engine.docker("image", "rm", *(shim.reference for shim in shims))
    print(reference)


def _ensure_runnable(architecture: str) -> None:
    """Make sure that Debian for this architecture is in the engine and runs. Raises command.Failed, NotPublished."""
    images.ensure_base(architecture)
    try:
        engine.docker("run", "--rm", images.debian(architecture).reference, "true")
    except command.Failed as error:
        # A failed build would not show the reason.
        message = f"No program for {architecture} runs here. Install qemu-user-static. {error}"
        raise NotPublished(message) from None


def _docker(*words: str) -> str:
    """Run docker with the caller's environment, which contains the login at the registry."""
    return command.run([engine.CLIENT, f"--host=unix://{engine.SOCKET}", *words], seconds=DOCKER_SECONDS)


def _print_command(words: Iterable[str]) -> None:
    print("docker", *words, flush=True)


if __name__ == "__main__":
    try:
        main()
    except (command.Failed, NotPublished, TimeoutError, ValueError) as error:
        sys.exit(str(error))
