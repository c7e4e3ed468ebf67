"""The toolbox of a world: provisioned as any account's is, and kept at the shim of this checkout."""

from __future__ import annotations

import json
import ssl
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPException, HTTPSConnection
from ipaddress import IPv4Address
from typing import Any

from infra.local import command, images
from infra.local.caller import Caller
from infra.local.digitalocean.account import Account
from infra.local.droplet import Droplet
from infra.local.steps import wait_until
from infra.local.world import World
from shim.contract import routes

ACCOUNT = "demo"
WANTED = {"name": "local", "regionSlug": "fra1", "sizeSlug": "s-2vcpu-4gb"}
LEAVING = ("pending_deprovision", "deprovisioning", "error_deprovisioning")
ACTIVE_SECONDS = 240

Record = dict[str, Any]


class NotActive(Exception):
    """The toolbox did not come to serve; says what its record says."""


class Toolbox:
    """The demo account's oldest toolbox."""

    def __init__(self, of: World, caller: Caller) -> None:
        self._world, self._caller = of, caller

    def ask(self) -> None:
        """Has it provisioned where there is none, rebuilt where its droplet is lost, given this checkout's shim."""
        record = self._found()
        if record is None:
            self._caller("POST", "/toolboxes-user", json=WANTED)
        elif record["status"] == "error_provisioning" or (record["do_droplet_id"] and self._is_lost(record)):
            self._caller("POST", f"/toolboxes-user/{record['id']}/rebuild")
        elif record["status"] in ("active", "unresponsive"):
            record = self.active()
            if not self._has_this_shim(record):
                self._caller("POST", f"/toolboxes-user/{record['id']}/upgrade-shim")

    def active(self) -> Record:
        """The record once it serves as it was asked to. Raises NotActive, TimeoutError."""

        def settled() -> Record | None:
            record = self._found()
            assert record, "it was asked for"
            if record["status"] == "error_provisioning":
                raise NotActive(json.dumps(record, indent=2))
            serves = record["status"] == "active" and record["generation"] == record["observed_generation"]
            return record if serves else None

        return wait_until(settled, ACTIVE_SECONDS, "the toolbox to serve")

    def _found(self) -> Record | None:
        records = [one for one in self._caller("GET", "/toolboxes-user") if one["status"] not in LEAVING]
        return records[-1] if records else None

    def _is_lost(self, record: Record) -> bool:
        return record["do_droplet_id"] not in [str(one["id"]) for one in Account(self._world).droplets()]

    def _has_this_shim(self, record: Record) -> bool:
        try:
            return shim_image(droplet_of(self._world, record)) == images.SHIM.by_digest()
        except command.Failed:
            return False


def droplet_of(of: World, record: Record) -> Droplet:
    """The machine behind a toolbox's record."""
    return Droplet(of, int(record["do_droplet_id"]), IPv4Address(record["public_ip_address"]))


def shim_image(droplet: Droplet) -> str:
    """What its shim runs. Raises command.Failed."""
    return droplet.run("docker", "container", "inspect", "--format", "{{.Config.Image}}", "toolboxes-shim")


def shim_answers(droplet: Droplet) -> bool:
    """Whether a shim serves there, whoever it is."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection(str(droplet.address), routes.PORT, timeout=2, context=context)
    with closing(connection):
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False
