"""Images: pulled with progress, proven by inspect, known by their registry's digest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from shim import faults, spec
from shim.contract import errors
from shim.contract.messages import Image, Progress, Prune, Pruned, Pull, PullLine
from shim.engine import Engine

PROGRESS_SECONDS = 0.5
_DONE = ("Pull complete", "Already exists")
_LAYER = ("Pulling fs layer", "Waiting", "Downloading", "Verifying Checksum", "Download complete", "Extracting", *_DONE)


class Images:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def inspect(self, reference: str) -> Image:
        """Raises NoSuchImage, or WrongPlatform where this engine cannot run it."""
        said, own = self._engine.image(reference), self._engine.platform()
        platform = f"{said['Os']}/{said['Architecture']}"
        if platform != own:
            raise errors.WrongPlatform(f"{reference} is made for {platform}, and this droplet is {own}")
        return Image(said["Id"], _digest(reference, said), said["Size"])

    def pull(self, body: Pull) -> Iterator[PullLine]:
        """Progress, at most two lines a second, then the image as inspected.

        Raises, at once or from the iterator: Refused, ImageUnavailable, ImageDenied, WrongPlatform, DiskFull,
        RegistryUnreachable.
        """
        spec.check_image(body.image)
        credentials = asdict(body.credentials) if body.credentials else {}
        return self._told(self._engine.pull(*_repository_and_tag(body.image), credentials), body.image)

    def prune(self, body: Prune) -> Pruned:
        """Raises Refused. Images that appear or are taken into use meanwhile stay."""
        for reference in body.keep:
            spec.check_image(reference)
        listed = self._engine.images()
        kept = {self._id(reference) for reference in body.keep}
        # Read after the images: what a container took into use since the list is among these.
        kept |= {entry["ImageID"] for entry in self._engine.containers({})}
        removed, freed = list[str](), 0
        for image in listed:
            if image["Id"] in kept:
                continue
            # One by one and never by force: the engine itself refuses the last that a new container uses.
            references = _named(image["RepoTags"]) + _named(image["RepoDigests"]) or [image["Id"]]
            removed += [reference for reference in references if self._engine.remove_image(reference)]
            freed += 0 if self._id(image["Id"]) else image["Size"]
        return Pruned(removed, freed)

    def _id(self, reference: str) -> str:
        """Return the image's id, or "" where there is no such image."""
        try:
            return str(self._engine.image(reference)["Id"])
        except errors.NoSuchImage:
            return ""

    def _told(self, lines: Iterator[dict[str, Any]], image: str) -> Iterator[PullLine]:
        fold, told_at = Fold(), 0.0
        for line in lines:
            fold.add(line)
            if time.monotonic() - told_at >= PROGRESS_SECONDS:
                told_at = time.monotonic()
                yield PullLine(progress=fold.progress())
        yield PullLine(progress=fold.progress())
        yield PullLine(image=self.inspect(image))


@dataclass(slots=True)
class _Layer:
    done: int = 0
    total: int = 0
    complete: bool = False


@dataclass(slots=True)
class Fold:
    """The layers of one pull as the engine's lines so far tell of them."""

    layers: dict[str, _Layer] = field(default_factory=dict)

    def add(self, line: dict[str, Any]) -> None:
        """Raises what a line reports as an error: the HTTP status was 200 long before."""
        if "error" in line or "errorDetail" in line:
            words = (line.get("errorDetail") or {}).get("message") or line.get("error") or "an error"
            raise faults.of_registry(200, words)
        status = line.get("status", "")
        if status not in _LAYER:
            return
        layer = self.layers.setdefault(line.get("id", ""), _Layer())
        if status == "Downloading":
            detail = line.get("progressDetail") or {}
            layer.done, layer.total = detail.get("current", 0), max(layer.total, detail.get("total", 0))
        elif status in ("Download complete", *_DONE):
            layer.done, layer.complete = layer.total, layer.complete or status in _DONE

    def progress(self) -> Progress:
        layers = self.layers.values()
        return Progress(
            bytes_done=sum(layer.done for layer in layers),
            bytes_total=sum(layer.total for layer in layers),
            layers_done=sum(layer.complete for layer in layers),
            layers_total=len(layers),
        )


def _repository_and_tag(image: str) -> tuple[str, str]:
    """What a pull asks for: the digest where there is one, else the tag, else `latest`; never all tags."""
    named, _, digest = image.partition("@")
    path, slash, last = named.rpartition("/")
    name, _, tag = last.partition(":")
    return path + slash + name, digest or tag or "latest"


def _digest(image: str, said: dict[str, Any]) -> str:
    """The digest that the image's registry knows it by, else the engine's own id for it (never pushed or pulled).

    It is known by several where a list of images holds it, or several lists do: then it is the one that was asked for.
    """
    repository, asked = _repository_and_tag(image)
    known = [entry.partition("@") for entry in said.get("RepoDigests") or []]
    digests = [digest for found, _, digest in known if _familiar(found) == _familiar(repository)]
    return asked if asked in digests else next(iter(digests), str(said["Id"]))


def _named(references: list[str] | None) -> list[str]:
    return [reference for reference in references or [] if "<none>" not in reference]


def _familiar(repository: str) -> str:
    """Docker shortens `docker.io/library/nginx` to `nginx`."""
    return repository.removeprefix("index.").removeprefix("docker.io/").removeprefix("library/")
