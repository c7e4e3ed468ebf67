"""Publishes the shim as one image for amd64 and arm64, and prints it by its digest, as the setting SHIM_IMAGE takes it:

    infra/local/bootstrap docker login REGISTRY
    infra/local/bootstrap python -m infra.deploy.shim_image REPOSITORY [--print]

Both are built on this machine, that for the other architecture by emulation: its kernel must know how to run it, as it
does where Debian's qemu-user-static is installed. --print only says docker's commands.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from datetime import UTC, datetime

from infra.deploy.publication import ARCHITECTURES, NotPublished, Publication, tag_of
from infra.local import command, engine, images, machine
from shim import __version__

SECONDS = 1800


def main() -> None:
    parser = argparse.ArgumentParser(prog="infra.deploy.shim_image", description=__doc__.partition(":")[0])
    parser.add_argument("repository", help="where droplets pull it from, without a tag")
    parser.add_argument("--print", action="store_true", help="only say docker's commands")
    asked = parser.parse_args()
    publication = Publication(asked.repository, tag_of(__version__, datetime.now(UTC)))
    # Without what an earlier build kept: Debian may have mended something since.
    shims = {one: images.shim(one, asked.repository, publication.part(one), "--no-cache") for one in ARCHITECTURES}
    if asked.print:
        for words in (*(shim.words(shim.inputs()) for shim in shims.values()), *publication.commands()):
            _say(words)
        return
    if not engine.answers():
        machine.engine_up()
    for architecture in ARCHITECTURES:
        _ready(architecture)
    for shim in shims.values():
        _say(shim.words(shim.inputs()))
        shim.build()
    reference = publish(publication)
    engine.docker("image", "rm", *(shim.reference for shim in shims.values()))
    print(reference)


def publish(publication: Publication) -> str:
    """The published list by its digest. Its images are built and tagged. Raises command.Failed and NotPublished."""
    said = ""
    for words in publication.commands():
        _say(words)
        said = _docker(*words)
    reference = publication.reference(said)
    publication.check(_docker(*publication.look(reference)))
    return reference


def _ready(architecture: str) -> None:
    """Debian for it is here and runs. Raises command.Failed and NotPublished."""
    images.ensure_base(architecture)
    try:
        engine.docker("run", "--rm", images.debian(architecture).reference, "true")
    except command.Failed as error:
        # A build would keep why to itself.
        raise NotPublished(f"Nothing for {architecture} runs here; qemu-user-static may be missing. {error}") from None


def _docker(*words: str) -> str:
    """As whoever calls, who is logged in with the registry."""
    return command.run([engine.CLIENT, f"--host=unix://{engine.SOCKET}", *words], seconds=SECONDS)


def _say(words: Iterable[str]) -> None:
    print("docker", *words, flush=True)


if __name__ == "__main__":
    try:
        main()
    except (command.Failed, NotPublished, TimeoutError, ValueError) as error:
        sys.exit(str(error))
