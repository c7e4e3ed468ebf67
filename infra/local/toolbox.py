"""The one toolbox of a world: droplet 1, and the document that says which certificate its shim has.

Made here until provisioning and enrolment do it.
"""

from __future__ import annotations

import base64
import os
import ssl
import uuid
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus
from http.client import HTTPException, HTTPSConnection
from ipaddress import IPv4Address

from functions.adapters.store_firestore import FirestoreStore
from functions.adapters.store_sqlite import SqliteStore
from functions.domain.toolbox import Toolbox, ToolboxStatus
from functions.lifecycle.documents import dump, load, toolbox_ref
from functions.lifecycle.ports import Create, Replace, Store
from infra.local import cloud_init, deployed, images, secret, world
from infra.local.backing import Backing
from infra.local.digitalocean.account import Account
from infra.local.digitalocean.records import Records
from infra.local.droplet import Droplet
from infra.local.steps import wait_until
from infra.local.world import World
from shim import protocol, signing

ACCOUNT = "demo"
BOOT_SECONDS = 180


def toolbox_id(of: World) -> str:
    """Drawn once per world."""
    return secret.text(of.directory / "toolbox-id", lambda: str(uuid.uuid4()))


def boot(of: World) -> Droplet:
    """The world's droplet with the shim of this checkout, made anew where it has another. Does not wait."""
    account = Account(of)
    public = deployed.command_key(of).public_key()
    key = base64.urlsafe_b64encode(public.public_bytes_raw()).decode().rstrip("=")
    user_data = cloud_init.render(toolbox_id(of), {signing.kid(public): key}, images.SHIM.by_digest())
    for found in account.droplets():
        if (known := Records(of, "droplets").get(found["id"])) and known["user_data"] == user_data:
            return Droplet(of, found["id"], IPv4Address(known["address"]))
        account("DELETE", f"/v2/droplets/{found['id']}")
    asked = {"name": "local", "region": "fra1", "size": "s-2vcpu-4gb", "image": "debian-12-x64", "user_data": user_data}
    made = account("POST", "/v2/droplets", json=asked).json()["droplet"]["id"]
    return Droplet(of, made, IPv4Address(Records(of, "droplets").get(made)["address"]))


def fingerprint(droplet: Droplet) -> str:
    """That of the certificate of the droplet's shim, once it answers. Raises TimeoutError, after the boot's log."""
    try:
        wait_until(lambda: shim_answers(droplet), BOOT_SECONDS, f"an answer of the shim on {droplet.name}")
    except TimeoutError:
        print(droplet.run("tail", "-n", "40", "/var/log/cloud-init-output.log"))
        raise
    certificate = ssl.get_server_certificate((str(droplet.address), protocol.PORT), timeout=5)
    return sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()


def shim_answers(droplet: Droplet) -> bool:
    """Whether a shim serves there, whoever it is: its certificate is only about to be learned."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection(str(droplet.address), protocol.PORT, timeout=2, context=context)
    with closing(connection):
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False


def record(of: World, backing: Backing, droplet: Droplet, certificate: str) -> str:
    """Writes the toolbox's document, or brings it up to date; returns its id."""
    store, ref = _store(of, backing), toolbox_ref(toolbox_id(of))
    now = datetime.now(UTC)
    found = load(Toolbox, store.get([ref])[0])
    known = found.value if found else Toolbox(
        id=ref.id, account=ACCOUNT, name="local", status=ToolboxStatus.ACTIVE, region="local", size="local",
        image="debian-12-x64", created_at=now, updated_at=now, observed_generation=1,
    )  # fmt: skip
    true = replace(
        known,
        droplet_id=str(droplet.id),
        droplet_name=droplet.name,
        address=str(droplet.address),
        fingerprint=certificate,
    )
    if found is None:
        store.commit([Create(ref, dump(true))])
    elif true != known:
        store.commit([Replace(ref, dump(replace(true, updated_at=now, revision=str(uuid.uuid4()))), found.version)])
    return ref.id


def _store(of: World, backing: Backing) -> Store:
    told = backing.environment(of)
    kind, _, path = told["STORE"].partition(":")
    if kind == "sqlite":
        return SqliteStore(path)
    # Google's client reads it from there.
    os.environ["FIRESTORE_EMULATOR_HOST"] = told["FIRESTORE_EMULATOR_HOST"]
    return FirestoreStore(world.PROJECT)
