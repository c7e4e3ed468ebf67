"""The stored state of the local DigitalOcean: one JSON file for each droplet, firewall and tag."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.local import secret
from infra.local.digitalocean.errors import Unprocessable
from infra.local.world import World

Record = dict[str, Any]
TAG = re.compile(r"[a-zA-Z0-9_:-]{1,255}")


class Records:
    """The records of one kind (`droplets`, `firewalls`, …) of one world. A record has an `id`. Writes are atomic."""

    def __init__(self, world: World, kind: str) -> None:
        self._directory = world.directory / "digitalocean" / kind

    def all(self) -> list[Record]:
        """Every record, newest first."""
        found = [record for path in self._directory.glob("*.json") if (record := _read(path))]
        return sorted(found, key=lambda record: str(record["created_at"]), reverse=True)

    def get(self, key: int | str) -> Record | None:
        return _read(self._path(key))

    def put(self, record: Record) -> None:
        """Create or replace a record. The file is readable by its owner only: user-data contains an enrolment token."""
        secret.write(self._path(record["id"]), json.dumps(record, indent=1))

    def delete(self, key: int | str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: int | str) -> Path:
        return self._directory / f"{key}.json"


class Tags:
    """The tags of one world. Which droplets carry a tag is stored with the droplets."""

    def __init__(self, world: World) -> None:
        self._records = Records(world, "tags")

    def all(self) -> list[str]:
        return [record["id"] for record in self._records.all()]

    def has(self, name: str) -> bool:
        return bool(TAG.fullmatch(name)) and self._records.get(name) is not None

    def create(self, name: str) -> None:
        """Create a tag unless it exists. Raises Unprocessable for a name that is not allowed."""
        if not TAG.fullmatch(name):
            raise Unprocessable("Tag name is invalid")
        if not self.has(name):
            self._records.put({"id": name, "created_at": datetime.now(UTC).isoformat()})


def tag_document(name: str, droplets: list[Record]) -> Record:
    """A tag in the API's form. `droplets` are the records of those that carry it."""
    none = {"count": 0}
    resources = {"images": none, "volumes": none, "volume_snapshots": none, "databases": none}
    return {"name": name, "resources": {"count": len(droplets), "droplets": {"count": len(droplets)}, **resources}}


def _read(path: Path) -> Record | None:
    try:
        read: Record = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return read
