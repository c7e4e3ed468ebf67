"""An object storage by presigned URLs: the whole of what the shim may do there. No such URL is ever logged or told."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import urlsplit

import certifi

from shim.contract import errors

SILENCE_SECONDS = 60
CHUNK_BYTES = 1 << 20
_VISIBLE = re.compile(r"[\x21-\x7e]+")


def check(urls: list[str]) -> None:
    """Raises Refused."""
    if not urls or not all(_usable(url) for url in urls):
        raise errors.Refused("parts must hold the presigned URL of each part")


def put(url: str, part: bytearray) -> str:
    """The part's ETag. Raises StorageUnreachable, StorageRefused."""
    with _asked("PUT", url, part) as answer:
        answer.read(CHUNK_BYTES)
        return answer.headers.get("ETag", "")


def get(url: str) -> Iterator[bytes]:
    """Raises StorageUnreachable, also where the body breaks off, and StorageRefused."""
    with _asked("GET", url, None) as answer:
        while chunk := answer.read(CHUNK_BYTES):
            yield chunk
        if answer.length:
            raise ConnectionResetError


def _usable(url: str) -> bool:
    try:
        split = urlsplit(url)
        return split.scheme in ("http", "https") and bool(split.hostname) and bool(_VISIBLE.fullmatch(url))
    except ValueError:
        return False


@contextmanager
def _asked(method: str, url: str, body: bytearray | None) -> Iterator[HTTPResponse]:
    """No redirect is followed and no proxy asked: the URL says where it goes."""
    split = urlsplit(url)
    connection: HTTPConnection
    if split.scheme == "https":
        trusted = ssl.create_default_context(cafile=certifi.where())
        connection = HTTPSConnection(split.netloc, timeout=SILENCE_SECONDS, context=trusted)
    else:
        connection = HTTPConnection(split.netloc, timeout=SILENCE_SECONDS)
    try:
        connection.request(method, f"{split.path}?{split.query}", body)
        answer = connection.getresponse()
        if answer.status >= 500 or answer.status == 429:
            raise errors.StorageUnreachable(f"the storage answered {answer.status}")
        if answer.status not in (200, 201, 204):
            raise errors.StorageRefused(f"the storage answered {answer.status}")
        yield answer
    except (OSError, HTTPException) as error:
        # Its words could repeat the URL.
        raise errors.StorageUnreachable(f"the storage broke off: {type(error).__name__}") from None
    finally:
        connection.close()
