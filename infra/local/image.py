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


def nothing(context: Path) -> None:
    """For an image whose Dockerfile can reach all that it needs."""


@dataclass(frozen=True)
class Image:
    """`sources` are files and folders of the checkout, `root` the folder that they keep their paths from.

    `fetch` adds to the build's folder what the build itself may be unable to reach: Debian's packages can be had
    inside a build, other registries behind a company's certificate can not.
    """

    name: str
    tag: str
    root: str
    sources: tuple[str, ...]
    fetch: Callable[[Path], None] = nothing

    @property
    def reference(self) -> str:
        return f"{registry.ADDRESS}/{self.name}:{self.tag}"

    def build(self) -> None:
        """Makes sure that the engine has it, made of what the checkout has now."""
        inputs = self._inputs()
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

    def _files(self) -> dict[str, Path]:
        """Every source by its path in the build's folder."""
        root = world.CHECKOUT / self.root
        files: list[Path] = []
        for source in map(root.joinpath, self.sources):
            files.extend(source.glob("*.py") if source.is_dir() else [source])
        return {str(file.relative_to(root)): file for file in sorted(files)}

    def _inputs(self) -> str:
        digest = hashlib.sha256()
        for name, file in self._files().items():
            digest.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
        return digest.hexdigest()

    def _build(self, inputs: str) -> None:
        context = world.STATE / "build" / self.name
        shutil.rmtree(context, ignore_errors=True)
        for name, file in self._files().items():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, context / name)
        self.fetch(context)
        dockerfile = context / next(name for name in self._files() if name.endswith("Dockerfile"))
        named = ["--tag", self.reference, "--label", f"{INPUTS_LABEL}={inputs}"]
        # Debian's archive is reached by the machine's own way out; a build's network may have no name service.
        engine.docker("build", "--network", "host", *named, "--file", dockerfile, context)
        shutil.rmtree(context)
