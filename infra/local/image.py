"""An image of ours: what it is made of, and building and pushing it only when that changed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infra.local import command, engine, registry, world

INPUTS_LABEL = "toolboxes.inputs"
# For another architecture than the machine's each program is emulated.
BUILD_SECONDS = 1800


def nothing(context: Path) -> None:
    """For an image whose Dockerfile can reach all that it needs."""


@dataclass(frozen=True)
class Image:
    """`sources` are files and folders of the checkout, `root` the folder that they keep their paths from.

    `fetch` adds to the build's folder what the build itself may be unable to reach: Debian's packages can be had
    inside a build, other registries behind a company's certificate can not. `options` are more of `docker build`'s.
    """

    repository: str
    tag: str
    root: str
    sources: tuple[str, ...]
    fetch: Callable[[Path], None] = nothing
    options: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        return f"{self.repository}:{self.tag}"

    @property
    def context(self) -> Path:
        """The build's folder, which is there while it builds."""
        return world.STATE / "build" / self.reference.replace("/", "-")

    def build(self) -> None:
        """Makes sure that the engine has it, made of what the checkout has now."""
        inputs = self.inputs()
        known = engine.inspect("image", self.reference)
        if known is None or known["Config"]["Labels"].get(INPUTS_LABEL) != inputs:
            self._build(inputs)
            if known:
                # A droplet that was made of it may keep it.
                with suppress(command.Failed):
                    engine.docker("image", "rm", known["Id"])

    def publish(self) -> None:
        """Makes sure that the registry has it too."""
        self.build()
        if registry.by_digest(self.reference) is None:
            registry.push(self.reference)

    def by_digest(self) -> str:
        """Its reference by digest. Raises LookupError where it was not pushed."""
        found = registry.by_digest(self.reference)
        if found is None:
            raise LookupError(f"{self.reference} is not in the registry")
        return found

    def words(self, inputs: str) -> list[str]:
        """What docker is told once the folder is complete."""
        dockerfile = self.context / next(name for name in self._files() if name.endswith("Dockerfile"))
        named = ["--tag", self.reference, "--label", f"{INPUTS_LABEL}={inputs}"]
        # Debian's archive is reached by the machine's own way out; a build's network may have no name service.
        return ["build", "--network", "host", *self.options, *named, "--file", str(dockerfile), str(self.context)]

    def inputs(self) -> str:
        """A digest of all that it is made of."""
        digest = hashlib.sha256()
        for name, file in self._files().items():
            digest.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
        return digest.hexdigest()

    def _files(self) -> dict[str, Path]:
        """Every source by its path in the build's folder."""
        root = world.CHECKOUT / self.root
        files: list[Path] = []
        for source in map(root.joinpath, self.sources):
            files.extend(source.glob("*.py") if source.is_dir() else [source])
        return {str(file.relative_to(root)): file for file in sorted(files)}

    def _build(self, inputs: str) -> None:
        # A build that was killed left its own.
        shutil.rmtree(self.context, ignore_errors=True)
        try:
            for name, file in self._files().items():
                (self.context / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, self.context / name)
            self.fetch(self.context)
            engine.docker(*self.words(inputs), seconds=BUILD_SECONDS)
        finally:
            shutil.rmtree(self.context, ignore_errors=True)
