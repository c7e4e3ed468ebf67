"""What publishes the shim's images, one for each architecture, as one, by docker's commands. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime

from functions.domain.toolbox.user_data import IMAGE
from infra.local import registry
from infra.local.images import MACHINES

ARCHITECTURES = tuple(MACHINES)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class NotPublished(Exception):
    """What stands in the way."""


def tag_of(version: str, now: datetime) -> str:
    """One publication's alone: what was published keeps its tags, and no registry tidies it away as untagged."""
    return f"{version}-{now:%Y%m%d-%H%M%S}"


@dataclass(frozen=True, slots=True)
class Publication:
    """`repository` is a registry's, without tag or digest. Raises ValueError for what SHIM_IMAGE would not take."""

    repository: str
    tag: str

    def __post_init__(self) -> None:
        tagged = ":" in self.repository.rpartition("/")[2]
        if tagged or not IMAGE.fullmatch(f"{self.repository}@sha256:{'0' * 64}"):
            raise ValueError(f"{self.repository!r} is no repository")

    def part(self, architecture: str) -> str:
        """The tag of the image for one architecture."""
        return f"{self.tag}-{architecture}"

    def commands(self) -> list[tuple[str, ...]]:
        """Words after `docker`, once the images are built. The last prints the digest of the list of them."""
        name = f"{self.repository}:{self.tag}"
        parts = [f"{self.repository}:{self.part(architecture)}" for architecture in ARCHITECTURES]
        return [
            *(("push", part) for part in parts),
            ("manifest", "create", *self._plain(), name, *parts),
            ("manifest", "push", "--purge", *self._plain(), name),
        ]

    def reference(self, said: str) -> str:
        """The list by its digest, which docker `said` as it pushed it."""
        if not DIGEST.fullmatch(said):
            raise NotPublished(f"docker says no digest: {said}")
        return f"{self.repository}@{said}"

    def look(self, reference: str) -> tuple[str, ...]:
        """The command that reads back what is published."""
        return ("manifest", "inspect", *self._plain(), reference)

    def check(self, said: str) -> None:
        """Raises NotPublished where `said`, what was read back, is not a list of an image for each architecture."""
        found = [one["platform"] for one in json.loads(said).get("manifests", [])]
        if sorted(f"{one['os']}/{one['architecture']}" for one in found) != [f"linux/{one}" for one in ARCHITECTURES]:
            raise NotPublished(f"what is published is not for {' and '.join(ARCHITECTURES)}: {said}")

    def _plain(self) -> tuple[str, ...]:
        """The local registry alone is without TLS; the engine is told so itself."""
        return ("--insecure",) if self.repository.startswith(f"{registry.ADDRESS}/") else ()
