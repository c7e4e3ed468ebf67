"""An image: how its reference is read, and what a pull needs and reports."""

from __future__ import annotations

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


def image_tag(image: str) -> str | None:
    """The tag in an image reference, None where the reference has a digest or neither."""
    last = image.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[2] or None
