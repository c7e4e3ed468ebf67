"""A volume's content to and from an object storage, as a tar in parts: never on the disk, and one part in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

from shim import container, storage
from shim.contract import errors
from shim.contract.messages import Copied, CopyLine, Load, Save
from shim.contract.tokens import Claims
from shim.engine import Engine
from shim.tools import LIVE, Tools

PART_BYTES = range(1 << 20, (8 << 20) + 1)
PROGRESS_SECONDS = 2.0


class Volumes:
    """`volume` is the caller's name for it; the container must have it mounted, and need not run."""

    def __init__(self, engine: Engine, tools: Tools) -> None:
        self._engine, self._tools = engine, tools

    def save(self, name: str, volume: str, body: Save) -> Iterator[CopyLine]:
        """A line for each part. Raises Refused, NoSuchVolume, StorageUnreachable, StorageRefused."""
        if body.part_bytes not in PART_BYTES:
            raise errors.Refused(f"part_bytes is not between {PART_BYTES.start} and {PART_BYTES.stop - 1}")
        storage.check(body.parts)
        container_id, path = self._place(name, volume)
        digest, size, etags = hashlib.sha256(), 0, list[str]()
        for part in _parts(self._engine.archive(container_id, path), body.part_bytes):
            if len(etags) == len(body.parts):
                raise errors.StorageRefused(f"the volume does not fit into {len(body.parts)} parts")
            etags.append(storage.put(body.parts[len(etags)], part))
            digest.update(part)
            size += len(part)
            yield CopyLine(bytes_done=size)
        yield CopyLine(done=Copied(size, digest.hexdigest(), etags))

    def load(self, name: str, volume: str, body: Load, claims: Claims) -> Iterator[CopyLine]:
        """Into the volume as it is: what it holds beside stays. No other command begins meanwhile.

        Raises Refused, NoSuchVolume, StillRunning, StorageUnreachable, StorageRefused, DiskFull.
        """
        storage.check(body.parts)
        with self._tools.turn(name, claims) as before:
            if before.state in LIVE:
                raise errors.StillRunning(f"{name} is {before.state}")
            container_id, path = self._place(name, volume)
            tar = _Download(body)
            with ThreadPoolExecutor(1) as pool:
                extracting = pool.submit(self._engine.extract, container_id, path, iter(tar))
                try:
                    while not wait([extracting], PROGRESS_SECONDS).done:
                        yield CopyLine(bytes_done=tar.size)
                finally:
                    # Whoever asked may be gone: then the download ends at its next chunk.
                    tar.wanted = False
                extracting.result()
        yield CopyLine(done=Copied(tar.size, tar.digest.hexdigest()))

    def _place(self, name: str, volume: str) -> tuple[str, str]:
        said, found = self._tools.inspected(name)
        path = container.mount_point(said, f"{found.instance_id}-{volume}")
        if not path:
            raise errors.NoSuchVolume(f"{name} has no volume {volume[:64]!r}")
        return found.id, path


class _Download:
    """The parts one after the other, proven before the last of them is handed on."""

    def __init__(self, body: Load) -> None:
        self._body, self.digest, self.size, self.wanted = body, hashlib.sha256(), 0, True

    def __iter__(self) -> Iterator[bytes]:
        for url in self._body.parts:
            for chunk in storage.get(url):
                if not self.wanted:
                    raise errors.OutcomeUnknown("whoever asked for it is gone")
                self.digest.update(chunk)
                self.size += len(chunk)
                yield chunk
        if (self.size, self.digest.hexdigest()) != (self._body.size_bytes, self._body.sha256):
            raise errors.StorageRefused(f"the storage holds {self.size} bytes that are not what was saved")


def _parts(chunks: Iterator[bytes], size: int) -> Iterator[bytearray]:
    """All of `size` bytes but the last."""
    part = bytearray()
    for chunk in chunks:
        room = size - len(part)
        part += chunk[:room]
        if len(part) == size:
            yield part
            part = bytearray(chunk[room:])
    if part:
        yield part
