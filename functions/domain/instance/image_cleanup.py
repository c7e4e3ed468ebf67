"""Which images on a droplet may be removed: those that were pulled, that no container uses and no instance names."""

from __future__ import annotations

from collections.abc import Iterable

from shim.contract.messages import ListedImage


def removable_references(images: Iterable[ListedImage], named: Iterable[str]) -> list[str]:
    """References to remove. `named`: the image references of all instances of the toolbox.

    An image without a digest was not pulled, so this system cannot bring it back: it stays. One tag of an image that
    is named keeps all of it.
    """
    needed = set(map(_canonical, named))
    return [
        reference
        for image in images
        if not image.used and any("@" in name for name in image.references)
        if needed.isdisjoint(map(_canonical, image.references))
        for reference in image.references
    ]


def _canonical(reference: str) -> str:
    """Docker shortens `docker.io/library/nginx:latest` to `nginx`; a digest makes the tag irrelevant."""
    name, _, digest = reference.partition("@")
    path, slash, last = name.rpartition("/")
    repository, _, tag = last.partition(":")
    short = f"{path}{slash}{repository}".removeprefix("index.").removeprefix("docker.io/").removeprefix("library/")
    return f"{short}@{digest}" if digest else f"{short}:{tag or 'latest'}"
