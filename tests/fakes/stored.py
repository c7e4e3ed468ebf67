"""Documents as the store holds them, for tests that write or read the store directly."""

from __future__ import annotations

from typing import TypeVar

from functions.adapters.documents.codec import DocumentCodec
from functions.lifecycle.dependencies import Document, Snapshot
from functions.lifecycle.repository import Loaded

DOCUMENTS = DocumentCodec()

T = TypeVar("T")


def encode(value: object) -> Document:
    return DOCUMENTS.encode(value)


def decode(kind: type[T], snapshot: Snapshot | None) -> Loaded[T] | None:
    return Loaded(DOCUMENTS.decode(kind, snapshot.data), snapshot.version) if snapshot else None
