"""Ends a world and keeps its data; with --wipe removes that too.

Engine and registry end with the last world, and everything that this project keeps on the machine goes with the
last world that is wiped.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from infra.local import droplet, engine, machine, services, world
from infra.local.droplet import Droplet
from infra.local.steps import step
from infra.local.world import WORLDS, World


def main() -> None:
    parser = argparse.ArgumentParser(prog="infra/local/down", description=__doc__)
    parser.add_argument("--wipe", action="store_true", help="remove the world's data as well")
    wipe = parser.parse_args().wipe
    of = world.current()
    if wipe and not engine.answers() and of.directory.exists():
        # Its droplets' disks are the engine's to remove.
        machine.engine_up()
    with step("ending the functions and what they need"):
        services.of_world(of).stop()
    if engine.answers():
        with step("removing the droplets" if wipe else "ending the droplets"):
            _each(of, Droplet.destroy if wipe else Droplet.stop)
    if wipe and of.directory.exists():
        shutil.rmtree(of.directory)
    others = [other for other in WORLDS.values() if other != of]
    if not any(_is_up(other) for other in others):
        with step("ending the registry and the Docker Engine"):
            machine.down()
        if wipe and not any(other.directory.exists() for other in others):
            with step("removing all that was kept"):
                machine.wipe()


def _is_up(other: World) -> bool:
    """Also where only a droplet of it is left."""
    return services.of_world(other).running() or (engine.answers() and any(droplet.of(other).values()))


def _each(of: World, act: Callable[[Droplet], None]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, droplet.of(of)))


if __name__ == "__main__":
    main()
