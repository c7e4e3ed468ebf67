"""The droplets of the local DigitalOcean: what was asked for, on file, and containers that are made to match it.

What takes time is done after the answer, as by the real one; what was under way when this process ended goes on at its
next start. Numbers and addresses are not given out again soon: whoever remembers a droplet never meets another.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any

from infra.local import droplet, secret, world
from infra.local.digitalocean import catalogue
from infra.local.digitalocean.firewalls import Firewalls
from infra.local.digitalocean.records import Record, Records
from infra.local.digitalocean.refusal import NotFound, Unprocessable
from infra.local.digitalocean.tags import Tags
from infra.local.droplet import Droplet
from infra.local.world import World

NAME = re.compile(r"[a-zA-Z0-9]?[a-zA-Z0-9.-]*[a-zA-Z0-9]")
# https://docs.digitalocean.com/reference/api/digitalocean/#operation/droplets_create
MAX_USER_DATA = 64 * 1024
AT_ONCE = 8
LOG = logging.getLogger("digitalocean")


class Droplets:
    """One world's. `tags_late` is how long a new droplet does not carry its tags yet, as a test may say."""

    def __init__(self, of: World, tags: Tags, firewalls: Firewalls) -> None:
        self._world, self._tags, self._firewalls = of, tags, firewalls
        self._records = Records(of, "droplets")
        self._giving = threading.Lock()
        self._turn: dict[int, threading.Lock] = defaultdict(threading.Lock)
        self._workers = ThreadPoolExecutor(AT_ONCE)
        self.tags_late = timedelta(0)

    def all(self) -> list[Record]:
        return self._records.all()

    def get(self, key: int) -> Record:
        """Raises NotFound."""
        found = self._records.get(key)
        if found is None:
            raise NotFound("The resource you were accessing could not be found.")
        return found

    def running(self) -> set[int]:
        return {one.id for one, runs in droplet.of(self._world).items() if runs}

    def create(self, asked: dict[str, Any]) -> Record:
        """On file once this returns; its machine boots afterwards. Raises Unprocessable."""
        _check(asked)
        for tag in asked.get("tags") or []:
            self._tags.create(tag)
        with self._giving:
            present = self._records.all()
            if len(present) >= catalogue.DROPLET_LIMIT:
                raise Unprocessable("creating this/these droplet(s) will exceed your droplet limit")
            key, now = self._next_id(), datetime.now(UTC)
            record = {
                "id": key, "address": str(self._free_address(key, present)), "created_at": now.isoformat(),
                "name": asked["name"], "region": asked["region"], "size": asked["size"],
                "image": asked["image"], "powered": True,
                "tags": list(asked.get("tags") or []), "tagged_at": (now + self.tags_late).isoformat(),
                "user_data": asked.get("user_data") or "", "leaving": False, "actions": [],
            }  # fmt: skip
            self._records.put(record)
        self._later(record, self._match)
        return record

    def destroy(self, key: int) -> None:
        """It is gone some time after this returns. Raises NotFound."""
        self._change(key, leaving=True)
        self._later(self.get(key), self._match)

    def act(self, key: int, kind: str) -> Record:
        """The action, in progress. Raises NotFound, Unprocessable."""
        acts: dict[str, Callable[[Record], None]] = {
            "power_on": self._power_on, "power_off": self._power_off, "shutdown": self._shut_down,
            "reboot": self._reboot, "power_cycle": self._power_cycle,
        }  # fmt: skip
        if kind not in acts:
            raise Unprocessable(f"{kind} is no action that is known here")
        record = self.get(key)
        action = {
            "id": len(record["actions"]) + 1 + key * 1000, "status": "in-progress", "type": kind, "resource_id": key,
            "started_at": _now(), "completed_at": None, "resource_type": "droplet",
            "region_slug": record["region"], "region": catalogue.region(record["region"]),
        }  # fmt: skip
        self._change(key, actions=[*record["actions"], action])

        def done(current: Record) -> None:
            acts[kind](current)
            self._finish(key, "completed")

        self._later(record, done)
        return action

    def hold_firewalls(self) -> None:
        """What the firewalls say now, at every droplet that runs."""
        for one, runs in droplet.of(self._world).items():
            record = self._records.get(one.id)
            if runs and record:
                self._hold(record)

    def resume(self) -> None:
        """Goes on with what was under way when this process ended; what was powered runs again."""
        for record in self._records.all():
            self._later(record, self._match)

    def carried(self, record: Record) -> list[str]:
        """The tags that it shows by now."""
        late = datetime.now(UTC) < datetime.fromisoformat(record["tagged_at"])
        return [] if late else list(record["tags"])

    def _match(self, record: Record) -> None:
        machine = self._machine(record)
        if record["leaving"]:
            machine.destroy()
            self._records.delete(record["id"])
            return
        if not machine.exists():
            machine.create(plain=_image(record) == catalogue.PLAIN)
        elif record["powered"] and not machine.running():
            machine.start()
        if record["powered"]:
            self._hold(record)
        self._finish(record["id"], "errored")

    def _power_on(self, record: Record) -> None:
        self._match(self._change(record["id"], powered=True))

    def _power_off(self, record: Record) -> None:
        self._change(record["id"], powered=False)
        self._machine(record).cut_power()

    def _shut_down(self, record: Record) -> None:
        self._change(record["id"], powered=False)
        self._machine(record).stop()

    def _reboot(self, record: Record) -> None:
        self._machine(record).stop()
        self._match(record)

    def _power_cycle(self, record: Record) -> None:
        self._machine(record).cut_power()
        self._match(record)

    def _later(self, record: Record, work: Callable[[Record], None]) -> None:
        """Droplets side by side, but one thing at a time for each."""

        def turn() -> None:
            with self._turn[record["id"]]:
                current = self._records.get(record["id"])
                if current is None:
                    return
                try:
                    work(current)
                except Exception:
                    LOG.exception("droplet %s", record["id"])

        self._workers.submit(turn)

    def _hold(self, record: Record) -> None:
        with suppress(LookupError):
            self._firewalls.hold(self._machine(record), self.carried(record))

    def _machine(self, record: Record) -> Droplet:
        return Droplet(self._world, record["id"], IPv4Address(record["address"]))

    def _change(self, key: int, **changed: Any) -> Record:
        with self._giving:
            record = self.get(key) | changed
            self._records.put(record)
            return record

    def _finish(self, key: int, status: str) -> None:
        with self._giving:
            record = self._records.get(key)
            if record:
                for action in record["actions"]:
                    if action["status"] == "in-progress":
                        action |= {"status": status, "completed_at": _now()}
                self._records.put(record)

    def _next_id(self) -> int:
        file = self._world.directory / "digitalocean" / "last-id"
        given = int(secret.text(file, lambda: str(self._world.first_droplet))) + 1
        secret.write(file, str(given))
        return given

    def _free_address(self, key: int, present: list[Record]) -> IPv4Address:
        taken = {record["address"] for record in present}
        places = [self._world.first_address + (key + step) % world.ADDRESSES for step in range(world.ADDRESSES)]
        return next(place for place in places if str(place) not in taken)


def shown(record: Record, tags: list[str], status: str) -> Record:
    """As the API tells of it."""
    size = catalogue.size(record["size"])
    address = {
        "ip_address": record["address"], "netmask": str(world.NETWORK.netmask), "gateway": str(world.NETWORK_GATEWAY),
        "type": "public",
    }  # fmt: skip
    return {
        "id": record["id"], "name": record["name"], "memory": size["memory"], "vcpus": size["vcpus"],
        "disk": size["disk"], "locked": status == "new", "status": status, "kernel": None,
        "created_at": record["created_at"], "features": ["droplet_agent"], "backup_ids": [],
        "next_backup_window": None, "snapshot_ids": [], "image": catalogue.image(_image(record)), "volume_ids": [],
        "size": size, "size_slug": record["size"], "networks": {"v4": [] if status == "new" else [address], "v6": []},
        "region": catalogue.region(record["region"]), "tags": tags,
    }  # fmt: skip


def _image(record: Record) -> str:
    """One from when there was one image does not name it."""
    return str(record.get("image", catalogue.PREPARED))


def _check(asked: dict[str, Any]) -> None:
    if not NAME.fullmatch(str(asked.get("name", ""))):
        raise Unprocessable("Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)")
    if asked.get("region") not in catalogue.REGION_SLUGS:
        raise Unprocessable("You specified an invalid region for Droplet creation.")
    if asked.get("size") not in catalogue.SIZES:
        raise Unprocessable("You specified an invalid size for Droplet creation.")
    if asked.get("image") not in catalogue.IMAGES:
        raise Unprocessable("You specified an invalid image for Droplet creation.")
    if any(str(key) not in catalogue.SSH_KEYS for key in asked.get("ssh_keys") or []):
        raise Unprocessable("There are invalid key identifiers for Droplet creation.")
    if len((asked.get("user_data") or "").encode()) > MAX_USER_DATA:
        raise Unprocessable("user_data is too large: at most 64 KiB are allowed.")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
