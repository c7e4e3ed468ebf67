"""Prints the state of each process, droplet and toolbox of a world, one line each.

Exits 0 if all of them are healthy and there is no orphan droplet.
"""

from __future__ import annotations

import os
import sys

import requests

from functions.adapters.documents.codec import DocumentCodec
from functions.adapters.store_firestore import FirestoreStore
from functions.adapters.store_sqlite import SqliteStore
from functions.domain.toolbox import droplet as toolbox_droplet
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Query, Store
from functions.lifecycle.repository import TOOLBOXES
from infra.local import droplet, emulators, engine, machine, services, toolbox, world
from infra.local.digitalocean.account import Account
from infra.local.processes import RUNNING
from infra.local.world import World

MAX_TOOLBOXES = 1_000
HEALTHY = (RUNNING, "active")


def main() -> None:
    current = world.current()
    own = services.of_world(current).states()
    states = {f"machine: {name}": state for name, state in machine.PROCESSES.states().items()}
    states |= {f"{current.name}: {name}": state for name, state in own.items()}
    if engine.answers():
        for box, runs in droplet.droplets_of(current).items():
            states[f"{current.name}: {box.name} ({box.address})"] = _droplet_state(box) if runs else "STOPPED"
    if not states:
        sys.exit("Nothing is running.")
    orphans: list[str] = []
    if own:
        toolbox_states, orphans = _toolboxes(current)
        states |= toolbox_states
    width = max(map(len, states))
    for name, state in states.items():
        print(f"{name:{width}}  {state.lower()}")
    print(f"\n{current.gateway}" if own else f"\nThe world {current.name} is not up.")
    sys.exit(bool(orphans) or not own or any(state not in HEALTHY for state in states.values()))


def _toolboxes(current: World) -> tuple[dict[str, str], list[str]]:
    """The state of each toolbox and of each orphan droplet, and the orphans' names."""
    try:
        tagged = [box for box in Account(current).droplets() if toolbox_droplet.TAG in box["tags"]]
    except requests.RequestException as error:
        return {f"{current.name}: droplets": f"cannot be listed: {error}"}, []
    states: dict[str, str] = {}
    known: set[str | None] = set()
    codec = DocumentCodec()
    query = Query(TOOLBOXES, (("deprovisioned_at", "==", None),), "created_at", True, MAX_TOOLBOXES)
    for snapshot in _store(current).query(query):
        box = codec.decode(Toolbox, snapshot.data)
        known |= {box.droplet_id, *(retired.droplet_id for retired in box.retired)}
        states[f"{current.name}: toolbox {box.id} of {box.account}, droplet {box.droplet_id}"] = box.status
    orphans = [box["name"] for box in tagged if str(box["id"]) not in known]
    states |= {f"{current.name}: {name}": "orphan droplet" for name in orphans}
    return states, orphans


def _store(current: World) -> Store:
    settings = emulators.installed().environment(current)
    kind, _, path = settings["STORE"].partition(":")
    if kind == "sqlite":
        return SqliteStore(path)
    # Google's client library reads the address from the environment only.
    os.environ["FIRESTORE_EMULATOR_HOST"] = settings["FIRESTORE_EMULATOR_HOST"]
    return FirestoreStore(world.PROJECT)


def _droplet_state(box: droplet.Droplet) -> str:
    return RUNNING if toolbox.shim_answers(box) else "running, but its shim does not answer"


if __name__ == "__main__":
    main()
