"""A volume's content to and from an object storage, as a tar in parts: never on the disk, and one part in memory.

The storage is reached by presigned URLs alone: no credential of it is on a droplet. No URL is logged or repeated in an
error, since whoever has it can use it.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import urlsplit

import certifi

from shim import spec
from shim.containers import LIVE, Containers
from shim.contract import errors
from shim.contract.messages import Copied, CopyLine, Load, Save
from shim.contract.tokens import Claims
from shim.docker import Engine

PROGRESS_SECONDS = 2.0
SILENCE_SECONDS = 60
CHUNK_BYTES = 1 << 20


class Volumes:
    """`volume` is the caller's name for it. The container must have it mounted, and need not run."""

    def __init__(self, engine: Engine, containers: Containers) -> None:
        self._engine, self._containers = engine, containers

    def save(self, name: str, volume: str, body: Save) -> Iterator[CopyLine]:
        """A line for each part. Raises NoSuchVolume, StorageUnreachable, StorageRefused."""
        container_id, path = self._mounted(name, volume)
        digest, size, etags = hashlib.sha256(), 0, list[str]()
        for part in _parts(self._engine.archive(container_id, path), body.part_bytes):
            if len(etags) == len(body.parts):
                raise errors.StorageRefused(
                    f"The volume does not fit into {len(body.parts)} parts. Request more parts."
                )
            etags.append(_put(body.parts[len(etags)], part))
            digest.update(part)
            size += len(part)
            yield CopyLine(bytes_done=size)
        yield CopyLine(done=Copied(size, digest.hexdigest(), etags))

    def load(self, name: str, volume: str, body: Load, claims: Claims) -> Iterator[CopyLine]:
        """Adds to the volume's present content. No other command to the instance starts meanwhile.

        Raises NoSuchVolume, StillRunning, StorageUnreachable, StorageRefused, DiskFull.
        """
        with self._containers.locked(name, claims) as before:
            if before.state in LIVE:
                raise errors.StillRunning(f"Container {name} is {before.state}. Stop it first.")
            container_id, path = self._mounted(name, volume)
            tar = _Download(body)
            with ThreadPoolExecutor(1) as pool:
                extraction = pool.submit(self._engine.extract, container_id, path, iter(tar))
                try:
                    while not wait([extraction], PROGRESS_SECONDS).done:
                        yield CopyLine(bytes_done=tar.size)
                finally:
                    # The caller may have gone: the download then ends at its next chunk.
                    tar.is_wanted = False
                extraction.result()
        yield CopyLine(done=Copied(tar.size, tar.digest.hexdigest()))

    def _mounted(self, name: str, volume: str) -> tuple[str, str]:
        """The container's id, and the volume's path in it."""
        found, container = self._containers.must_inspect(name)
        path = spec.mount_point(found, f"{container.instance_id}-{volume}")
        if not path:
            raise errors.NoSuchVolume(f"Container {name} has no volume {volume[:64]!r}.")
        return container.id, path


class _Download:
    """The parts one after the other, verified before the last of them is passed on."""

    def __init__(self, body: Load) -> None:
        self._body, self.digest, self.size, self.is_wanted = body, hashlib.sha256(), 0, True

    def __iter__(self) -> Iterator[bytes]:
        for url in self._body.parts:
            for chunk in _get(url):
                if not self.is_wanted:
                    raise errors.OutcomeUnknown("The caller closed its connection during the download.")
                self.digest.update(chunk)
                self.size += len(chunk)
                yield chunk
        if (self.size, self.digest.hexdigest()) != (self._body.size_bytes, self._body.sha256):
            raise errors.StorageRefused(f"The storage sent {self.size} bytes that are not what was saved.")


def _parts(chunks: Iterator[bytes], size: int) -> Iterator[bytearray]:
    """All of `size` bytes but the last."""
    part = bytearray()
    for chunk in chunks:
        space = size - len(part)
        part += chunk[:space]
        if len(part) == size:
            yield part
            part = bytearray(chunk[space:])
    if part:
        yield part


def _put(url: str, part: bytearray) -> str:
    """The part's ETag. Raises StorageUnreachable, StorageRefused."""
    with _answer("PUT", url, part) as answer:
        answer.read(CHUNK_BYTES)
        return answer.headers.get("ETag", "")


def _get(url: str) -> Iterator[bytes]:
    """Raises StorageUnreachable, also where the body is incomplete, and StorageRefused."""
    with _answer("GET", url, None) as answer:
        while chunk := answer.read(CHUNK_BYTES):
            yield chunk
        if answer.length:
            raise ConnectionResetError


@contextmanager
def _answer(method: str, url: str, body: bytearray | None) -> Iterator[HTTPResponse]:
    """No redirect is followed and no proxy used: the signature holds for the URL as it is."""
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
            raise errors.StorageUnreachable(f"The storage answered {answer.status}.")
        if answer.status not in (200, 201, 204):
            raise errors.StorageRefused(f"The storage answered {answer.status}.")
        yield answer
    except (OSError, HTTPException) as error:
        # The exception's own text could repeat the URL.
        raise errors.StorageUnreachable(f"The storage closed the connection: {type(error).__name__}.") from None
    finally:
        connection.close()
