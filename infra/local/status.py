"""Says what of a world runs, one line each; exits 0 where all of it does and every droplet is some toolbox's."""

from __future__ import annotations

import os
import sys

import requests

from functions.adapters.store_firestore import FirestoreStore
from functions.adapters.store_sqlite import SqliteStore
from functions.domain.toolbox import droplet as toolbox_droplet
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Query, Store
from functions.lifecycle.repository import TOOLBOXES, decode
from infra.local import backing, droplet, engine, machine, services, toolbox, world
from infra.local.digitalocean.account import Account
from infra.local.processes import RUNNING
from infra.local.world import World

MOST = 1_000


def main() -> None:
    of = world.current()
    own = services.of_world(of).states()
    states = {f"machine: {name}": state for name, state in machine.PROCESSES.states().items()}
    states |= {f"{of.name}: {name}": state for name, state in own.items()}
    if engine.answers():
        for each, runs in droplet.of(of).items():
            states[f"{of.name}: {each.name} ({each.address})"] = _state(each) if runs else "STOPPED"
    if not states:
        sys.exit("Nothing runs.")
    strangers = _tell_of_toolboxes(of, states) if own else []
    width = max(map(len, states))
    for name, state in states.items():
        print(f"{name:{width}}  {state.lower()}")
    print(f"\n{of.gateway}" if own else f"\nThe world {of.name} is not up.")
    sys.exit(bool(strangers) or not own or any(state not in (RUNNING, "active") for state in states.values()))


def _tell_of_toolboxes(of: World, states: dict[str, str]) -> list[str]:
    """Adds each toolbox's status, and each droplet of ours that none of them knows; returns the latter's names."""
    try:
        made = [one for one in Account(of).droplets() if toolbox_droplet.TAG in one["tags"]]
    except requests.RequestException as error:
        states[f"{of.name}: droplets"] = f"cannot be listed: {error}"
        return []
    known: set[str | None] = set()
    for snapshot in _store(of).query(Query(TOOLBOXES, (("deprovisioned_at", "==", None),), "created_at", True, MOST)):
        found = decode(Toolbox, snapshot)
        if found:
            box = found.value
            known |= {box.droplet_id, *(one.droplet_id for one in box.retired)}
            states[f"{of.name}: toolbox {box.id} of {box.account}, droplet {box.droplet_id}"] = box.status
    strangers = [one["name"] for one in made if str(one["id"]) not in known]
    states |= {f"{of.name}: {name}": "unknown to every toolbox" for name in strangers}
    return strangers


def _store(of: World) -> Store:
    told = backing.found().environment(of)
    kind, _, path = told["STORE"].partition(":")
    if kind == "sqlite":
        return SqliteStore(path)
    # Google's client reads it from there.
    os.environ["FIRESTORE_EMULATOR_HOST"] = told["FIRESTORE_EMULATOR_HOST"]
    return FirestoreStore(world.PROJECT)


def _state(each: droplet.Droplet) -> str:
    return RUNNING if toolbox.shim_answers(each) else "running, but its shim does not answer"


if __name__ == "__main__":
    main()
