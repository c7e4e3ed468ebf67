"""The tags of the local DigitalOcean: names that were made, and the droplets that carry them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from infra.local.digitalocean.records import Record, Records
from infra.local.digitalocean.refusal import Unprocessable
from infra.local.world import World

NAME = re.compile(r"[a-zA-Z0-9_:-]{1,255}")


class Tags:
    """One world's."""

    def __init__(self, of: World) -> None:
        self._records = Records(of, "tags")

    def all(self) -> list[str]:
        return [record["id"] for record in self._records.all()]

    def has(self, name: str) -> bool:
        return bool(NAME.fullmatch(name)) and self._records.get(name) is not None

    def create(self, name: str) -> None:
        """One that is there already stays. Raises Unprocessable."""
        if not NAME.fullmatch(name):
            raise Unprocessable("Tag name is invalid")
        if not self.has(name):
            self._records.put({"id": name, "created_at": datetime.now(UTC).isoformat()})


def shown(name: str, droplets: list[Record]) -> Record:
    """As the API tells of it; `droplets` are those that carry it."""
    none = {"count": 0}
    resources = {"images": none, "volumes": none, "volume_snapshots": none, "databases": none}
    return {"name": name, "resources": {"count": len(droplets), "droplets": {"count": len(droplets)}, **resources}}
