"""A private registry's credentials, as an account keeps them."""

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
    """`host` with its port, where it has one, as it stands in image references; `password` is sealed."""

    account: str
    host: str
    username: str
    password: Sealed
    created_at: datetime
    updated_at: datetime


def is_host(text: str) -> bool:
    """Whether `text` can stand before an image's path and is a host there: https://github.com/distribution/reference"""
    name, _, port = text.partition(":")
    told = "." in name or bool(port) or name == "localhost"
    return told and len(text) <= 255 and HOST.fullmatch(text) is not None and int(port or 1) < 65536


def registry_host(image: str) -> str:
    """The registry that an image reference is pulled from."""
    first, slash, _ = image.partition("/")
    return first.lower() if slash and is_host(first.lower()) else DOCKER_HUB
