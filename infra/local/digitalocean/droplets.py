"""The droplets of the local DigitalOcean: records of what was requested, and containers that are made to match them.

Slow work is done after the answer, as by the real API. Work that a stop of this process interrupted continues at its
next start. Ids and addresses are not reused soon, so that a late call about a removed droplet never reaches another.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any

from infra.local import command, droplet, secret
from infra.local.digitalocean import catalogue
from infra.local.digitalocean.errors import NotFound, Unprocessable
from infra.local.digitalocean.firewalls import Firewalls
from infra.local.digitalocean.records import Record, Records, Tags
from infra.local.droplet import Droplet
from infra.local.world import ADDRESSES, NETWORK, NETWORK_GATEWAY, World

NAME = re.compile(r"[a-zA-Z0-9]?[a-zA-Z0-9.-]*[a-zA-Z0-9]")
MAX_USER_DATA_BYTES = 64 * 1024
"""https://docs.digitalocean.com/reference/api/digitalocean/#operation/droplets_create"""
WORKERS = 8
ENGINE_POLL_SECONDS = 1
LOG = logging.getLogger("digitalocean")


class Droplets:
    """The droplets of one world. `tags_late` delays the tags of a new droplet; tests set it."""

    def __init__(self, world: World, tags: Tags, firewalls: Firewalls) -> None:
        self._world, self._tags, self._firewalls = world, tags, firewalls
        self._records = Records(world, "droplets")
        self._records_lock = threading.Lock()
        self._droplet_locks: dict[int, threading.Lock] = defaultdict(threading.Lock)
        self._workers = ThreadPoolExecutor(WORKERS)
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
        """The ids of the droplets whose container runs."""
        return {machine.id for machine, runs in droplet.droplets_of(self._world).items() if runs}

    def create(self, body: dict[str, Any]) -> Record:
        """Store a new droplet and return its record; its container boots afterwards. Raises Unprocessable."""
        _validate(body)
        for tag in body.get("tags") or []:
            self._tags.create(tag)
        with self._records_lock:
            present = self._records.all()
            if len(present) >= catalogue.DROPLET_LIMIT:
                raise Unprocessable("creating this/these droplet(s) will exceed your droplet limit")
            key, now = self._next_id(), datetime.now(UTC)
            record = {
                "id": key,
                "address": str(self._free_address(key, present)),
                "created_at": now.isoformat(),
                "name": body["name"],
                "region": body["region"],
                "size": body["size"],
                "image": body["image"],
                "powered": True,
                "tags": list(body.get("tags") or []),
                "tagged_at": (now + self.tags_late).isoformat(),
                "user_data": body.get("user_data") or "",
                "leaving": False,
                "actions": [],
            }
            self._records.put(record)
        self._submit(record, self._reconcile)
        return record

    def destroy(self, key: int) -> None:
        """Mark a droplet for removal; its container is removed after this returns. Raises NotFound."""
        self._change(key, leaving=True)
        self._submit(self.get(key), self._reconcile)

    def act(self, key: int, kind: str) -> Record:
        """Start an action and return it while it is in progress. Raises NotFound, Unprocessable."""
        methods: dict[str, Callable[[Record], None]] = {
            "power_on": self._power_on,
            "power_off": self._power_off,
            "shutdown": self._shut_down,
            "reboot": self._reboot,
            "power_cycle": self._power_cycle,
        }
        if kind not in methods:
            raise Unprocessable(f"action {kind} is not supported by the local DigitalOcean")
        record = self.get(key)
        action = {
            "id": len(record["actions"]) + 1 + key * 1000,
            "status": "in-progress",
            "type": kind,
            "resource_id": key,
            "started_at": _now(),
            "completed_at": None,
            "resource_type": "droplet",
            "region_slug": record["region"],
            "region": catalogue.region(record["region"]),
        }
        self._change(key, actions=[*record["actions"], action])

        def work(current: Record) -> None:
            methods[kind](current)
            self._finish_actions(key, "completed")

        self._submit(record, work)
        return action

    def enforce_firewalls(self) -> None:
        """Load the current firewall rules into every running droplet."""
        for machine, runs in droplet.droplets_of(self._world).items():
            record = self._records.get(machine.id)
            if runs and record:
                self._enforce_firewalls(record)

    def resume(self) -> None:
        """Continue interrupted work, and boot every droplet that is powered on and whose container does not run."""
        for record in self._records.all():
            self._submit(record, self._reconcile)

    def visible_tags(self, record: Record) -> list[str]:
        """The tags that the API shows by now: DigitalOcean applies them after the creation."""
        late = datetime.now(UTC) < datetime.fromisoformat(record["tagged_at"])
        return [] if late else list(record["tags"])

    def _reconcile(self, record: Record) -> None:
        """Make the container match the record."""
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
            self._enforce_firewalls(record)
        # An action that is still in progress here was interrupted by a stop of this process.
        self._finish_actions(record["id"], "errored")

    def _power_on(self, record: Record) -> None:
        self._reconcile(self._change(record["id"], powered=True))

    def _power_off(self, record: Record) -> None:
        self._change(record["id"], powered=False)
        self._machine(record).cut_power()

    def _shut_down(self, record: Record) -> None:
        self._change(record["id"], powered=False)
        self._machine(record).stop()

    def _reboot(self, record: Record) -> None:
        self._machine(record).stop()
        self._reconcile(record)

    def _power_cycle(self, record: Record) -> None:
        self._machine(record).cut_power()
        self._reconcile(record)

    def _submit(self, record: Record, work: Callable[[Record], None]) -> None:
        """Run `work` in a worker thread with the record as it is then; one piece of work at a time per droplet."""

        def run() -> None:
            with self._droplet_locks[record["id"]]:
                current = self._records.get(record["id"])
                if current is None:
                    return
                try:
                    work(current)
                except Exception:
                    LOG.exception("droplet %s", record["id"])

        self._workers.submit(run)

    def _enforce_firewalls(self, record: Record) -> None:
        """Load the rules into a running droplet. One that is off, or goes off meanwhile, gets them at its next boot."""
        machine = self._machine(record)
        with suppress(LookupError):
            try:
                self._firewalls.enforce(machine, self.visible_tags(record))
            except command.Failed:
                # Its processes can end between the look at them and the call that enters their network.
                if machine.running():
                    raise

    def _machine(self, record: Record) -> Droplet:
        return Droplet(self._world, record["id"], IPv4Address(record["address"]))

    def _change(self, key: int, **fields: Any) -> Record:
        with self._records_lock:
            record = self.get(key) | fields
            self._records.put(record)
            return record

    def _finish_actions(self, key: int, status: str) -> None:
        with self._records_lock:
            record = self._records.get(key)
            if record:
                for action in record["actions"]:
                    if action["status"] == "in-progress":
                        action |= {"status": status, "completed_at": _now()}
                self._records.put(record)

    def _next_id(self) -> int:
        file = self._world.directory / "digitalocean" / "last-id"
        key = int(secret.text(file, lambda: str(self._world.first_droplet))) + 1
        secret.write(file, str(key))
        return key

    def _free_address(self, key: int, present: list[Record]) -> IPv4Address:
        used = {record["address"] for record in present}
        candidates = (self._world.first_address + (key + offset) % ADDRESSES for offset in range(ADDRESSES))
        return next(address for address in candidates if str(address) not in used)


def restart_after_engine(
    droplets: Droplets, engine_id: Callable[[], str | None], engine_answers: Callable[[], bool]
) -> None:
    """Boot the powered droplets again whenever the Docker Engine was restarted. Never returns.

    The containers have no restart policy: only this service knows which droplets are powered on, and a droplet that
    boots needs its firewall rules. `engine_id` changes with each start of the engine.
    """
    known = engine_id()
    while True:
        time.sleep(ENGINE_POLL_SECONDS)
        current = engine_id()
        if current is not None and current != known and engine_answers():
            LOG.info("the Docker Engine was restarted; booting the droplets that are powered on")
            droplets.resume()
            known = current


def document(record: Record, tags: list[str], status: str) -> Record:
    """A droplet in the API's form."""
    size = catalogue.size(record["size"])
    address = {
        "ip_address": record["address"],
        "netmask": str(NETWORK.netmask),
        "gateway": str(NETWORK_GATEWAY),
        "type": "public",
    }
    return {
        "id": record["id"],
        "name": record["name"],
        "memory": size["memory"],
        "vcpus": size["vcpus"],
        "disk": size["disk"],
        "locked": status == "new",
        "status": status,
        "kernel": None,
        "created_at": record["created_at"],
        "features": ["droplet_agent"],
        "backup_ids": [],
        "next_backup_window": None,
        "snapshot_ids": [],
        "image": catalogue.image(_image(record)),
        "volume_ids": [],
        "size": size,
        "size_slug": record["size"],
        "networks": {"v4": [] if status == "new" else [address], "v6": []},
        "region": catalogue.region(record["region"]),
        "tags": tags,
    }


def _image(record: Record) -> str:
    """The image's slug. Records from before there were two images have none."""
    return str(record.get("image", catalogue.PREPARED))


def _validate(body: dict[str, Any]) -> None:
    if not NAME.fullmatch(str(body.get("name", ""))):
        raise Unprocessable("Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)")
    if body.get("region") not in catalogue.REGION_SLUGS:
        raise Unprocessable("You specified an invalid region for Droplet creation.")
    if body.get("size") not in catalogue.SIZES:
        raise Unprocessable("You specified an invalid size for Droplet creation.")
    if body.get("image") not in catalogue.IMAGES:
        raise Unprocessable("You specified an invalid image for Droplet creation.")
    if any(str(key) not in catalogue.SSH_KEYS for key in body.get("ssh_keys") or []):
        raise Unprocessable("There are invalid key identifiers for Droplet creation.")
    if len((body.get("user_data") or "").encode()) > MAX_USER_DATA_BYTES:
        raise Unprocessable("user_data is too large: at most 64 KiB are allowed.")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
