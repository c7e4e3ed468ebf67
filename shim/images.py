"""Images: pulled, proven by inspect, identified by their registry's digest; listed and removed.

Which images are worth keeping is the functions' decision: they know the instances, and this module knows Docker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from shim import engine_errors
from shim.contract import errors, messages
from shim.contract.messages import Image, LayerProgress, ListedImage, Pull, PullLine, RemovedImages
from shim.docker import Engine


class Images:
    """The images on the droplet."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def inspect(self, reference: str) -> Image:
        """Raises NoSuchImage, and WrongPlatform where this engine cannot run it."""
        found, own = self._engine.image(reference), self._engine.platform()
        platform = f"{found['Os']}/{found['Architecture']}"
        if platform != own:
            raise errors.WrongPlatform(f"Image {reference} is built for {platform}, and this droplet is {own}.")
        return Image(found["Id"], _digest(reference, found), found["Size"])

    def pull(self, body: Pull) -> Iterator[PullLine]:
        """What the engine says of each layer, then the image as inspected.

        Raises, at once or from the iterator: ImageUnavailable, ImageDenied, WrongPlatform, DiskFull,
        RegistryUnreachable.
        """
        credentials = asdict(body.credentials) if body.credentials else {}
        return self._lines(self._engine.pull(*_repository_and_tag(body.image), credentials), body.image)

    def list_all(self) -> messages.Images:
        """All images on the droplet; which are used is read after them, so that none in use is missed."""
        images = self._engine.images()
        used = {entry["ImageID"] for entry in self._engine.containers({})}
        return messages.Images([_listed(image, used) for image in images])

    def remove(self, references: list[str]) -> RemovedImages:
        """Those that no container uses, one by one and never by force: the engine itself refuses one in use."""
        removed, sizes = list[str](), dict[str, int]()
        for reference in references:
            image = self._find(reference)
            if image and self._engine.remove_image(reference):
                removed.append(reference)
                sizes[image["Id"]] = image["Size"]
        freed = sum(size for image_id, size in sizes.items() if not self._find(image_id))
        return RemovedImages(removed, freed)

    def _find(self, reference: str) -> dict[str, Any] | None:
        try:
            return self._engine.image(reference)
        except errors.NoSuchImage:
            return None

    def _lines(self, lines: Iterator[dict[str, Any]], image: str) -> Iterator[PullLine]:
        for line in lines:
            if "error" in line or "errorDetail" in line:
                # The HTTP status was 200 long before.
                text = (line.get("errorDetail") or {}).get("message") or line.get("error") or "an error"
                raise engine_errors.from_registry(200, text)
            if (layer := line.get("id")) and (status := line.get("status")):
                detail = line.get("progressDetail") or {}
                progress = LayerProgress(layer, status, detail.get("current", 0), detail.get("total", 0))
                yield PullLine(layer=progress)
        yield PullLine(image=self.inspect(image))


def _listed(image: dict[str, Any], used: set[str]) -> ListedImage:
    references = _named(image["RepoTags"]) + _named(image["RepoDigests"])
    return ListedImage(image["Id"], references, image["Size"], image["Id"] in used)


def _repository_and_tag(image: str) -> tuple[str, str]:
    """What to pull: the digest where there is one, else the tag, else `latest`; never all tags."""
    named, _, digest = image.partition("@")
    path, slash, last = named.rpartition("/")
    name, _, tag = last.partition(":")
    return path + slash + name, digest or tag or "latest"


def _digest(image: str, found: dict[str, Any]) -> str:
    """The digest by which the image's registry knows it, else the engine's own id (never pushed or pulled).

    The engine knows several where an image is in a manifest list, or in several: then it is the requested one.
    """
    repository, requested = _repository_and_tag(image)
    known = [entry.partition("@") for entry in found.get("RepoDigests") or []]
    digests = [digest for name, _, digest in known if _familiar(name) == _familiar(repository)]
    return requested if requested in digests else next(iter(digests), str(found["Id"]))


def _named(references: list[str] | None) -> list[str]:
    return [reference for reference in references or [] if "<none>" not in reference]


def _familiar(repository: str) -> str:
    """Docker shortens `docker.io/library/nginx` to `nginx`."""
    return repository.removeprefix("index.").removeprefix("docker.io/").removeprefix("library/")
