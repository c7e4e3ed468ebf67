"""An image: its references, what a pull of it needs and reports, and whether it can be removed from a droplet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RegistryCredentials:
    """A login at a private registry."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a pull has come.

    The totals grow during a pull: a registry announces a layer's size only when it begins to send the layer.
    """

    bytes_done: int
    bytes_total: int
    layers_done: int
    layers_total: int


@dataclass(frozen=True, slots=True)
class DropletImage:
    """An image on a droplet. `references` are its tags and digests; `used` says whether any container is made of it."""

    references: list[str]
    used: bool


def image_tag(image: str) -> str | None:
    """Return the tag in an image reference, None where it has none."""
    last = image.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[2] or None


def removable_references(images: Iterable[DropletImage], keep: Iterable[str]) -> list[str]:
    """Return the references by which unneeded images can be removed; `keep` are those that instances name.

    An image without a digest was not pulled, so this system cannot bring it back: it stays. One reference in `keep`
    keeps all references of the image.
    """
    needed = set(map(_canonical, keep))
    return [
        reference
        for image in images
        if not image.used and any("@" in name for name in image.references)
        if needed.isdisjoint(map(_canonical, image.references))
        for reference in image.references
    ]


def _canonical(reference: str) -> str:
    """Docker shortens `docker.io/library/nginx:latest` to `nginx`, and a digest makes the tag irrelevant."""
    name, _, digest = reference.partition("@")
    path, slash, last = name.rpartition("/")
    repository, _, tag = last.partition(":")
    short = f"{path}{slash}{repository}".removeprefix("index.").removeprefix("docker.io/").removeprefix("library/")
    return f"{short}@{digest}" if digest else f"{short}:{tag or 'latest'}"
