"""What the local DigitalOcean keeps: one JSON file for each thing of a kind, each change whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infra.local import secret, world
from infra.local.world import World

Record = dict[str, Any]


class Records:
    """The things of one kind (`droplets`, `firewalls`, …) of one world. A record has an `id`."""

    def __init__(self, of: World, kind: str) -> None:
        self._directory = of.directory / "digitalocean" / kind

    def all(self) -> list[Record]:
        """Newest first."""
        found = [record for path in self._directory.glob("*.json") if (record := _read(path))]
        return sorted(found, key=lambda record: str(record["created_at"]), reverse=True)

    def get(self, key: int | str) -> Record | None:
        return _read(self._path(key))

    def put(self, record: Record) -> None:
        # A droplet's user-data is its own affair.
        secret.write(self._path(record["id"]), json.dumps(record, indent=1))

    def delete(self, key: int | str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: int | str) -> Path:
        return self._directory / f"{key}.json"


def droplet_at(address: str) -> Record | None:
    """The droplet that has this address, of whatever world."""
    for path in world.STATE.glob("worlds/*/digitalocean/droplets/*.json"):
        record = _read(path)
        if record and record["address"] == address:
            return record
    return None


def _read(path: Path) -> Record | None:
    try:
        read: Record = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return read
