"""An account's credentials for a private container registry, and which registry an image is pulled from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from functions.domain.secrets import Sealed

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*(:[1-9][0-9]{{0,4}})?")
DOCKER_HUB = "docker.io"


@dataclass(frozen=True, slots=True)
class Registry:
    """Credentials for `host`, written as in image references, with a port where it has one. `password` is sealed."""

    account: str
    host: str
    username: str
    password: Sealed
    created_at: datetime
    updated_at: datetime


def is_host(text: str) -> bool:
    """Whether the part of an image reference before the first slash is a registry's host.

    As the Docker Engine decides it (https://github.com/distribution/reference): a host has a dot or a port, or is
    localhost. Anything else is part of a path on Docker Hub.
    """
    name, _, port = text.partition(":")
    names_host = "." in name or bool(port) or name == "localhost"
    return names_host and len(text) <= 255 and HOST.fullmatch(text) is not None and int(port or 1) < 65536


def registry_host(image: str) -> str:
    """The host of the registry that an image is pulled from."""
    first, slash, _ = image.partition("/")
    return first.lower() if slash and is_host(first.lower()) else DOCKER_HUB
