"""Files that only their owner may read: generated keys, and settings that contain them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes


def write(path: Path, text: str) -> None:
    """Write a file atomically. At no moment can other users read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    unfinished.replace(path)


def text(path: Path, generate: Callable[[], str]) -> str:
    """The file's text, generated and written if there is no file."""
    if not path.exists():
        write(path, generate())
    return path.read_text()


def private_key(path: Path, generate: Callable[[], PrivateKeyTypes]) -> PrivateKeyTypes:
    """The key in a PEM file (PKCS #8), generated and written if there is no file."""
    if not path.exists():
        write(path, pem(generate()))
    return serialization.load_pem_private_key(path.read_bytes(), None)


def pem(key: PrivateKeyTypes) -> str:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*form).decode()
