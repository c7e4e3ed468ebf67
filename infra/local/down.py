"""Stops a world and keeps its data; with --wipe its data is deleted as well.

The machine layer stops with the last world, and everything that this project has on the machine is deleted with the
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
    parser.add_argument("--wipe", action="store_true", help="delete the world's data as well")
    wipe = parser.parse_args().wipe
    current = world.current()
    if wipe and not engine.answers() and current.directory.exists():
        # Only the engine can remove the droplets and their disks.
        machine.engine_up()
    with step("stopping the functions and their services"):
        services.of_world(current).stop()
    if engine.answers():
        with step("removing the droplets" if wipe else "stopping the droplets"):
            _for_each_droplet(current, Droplet.destroy if wipe else Droplet.stop)
    if wipe and current.directory.exists():
        shutil.rmtree(current.directory)
    others = [other for other in WORLDS.values() if other != current]
    if not any(_is_up(other) for other in others):
        with step("stopping the registry and the Docker Engine"):
            machine.down()
        if wipe and not any(other.directory.exists() for other in others):
            with step("deleting all data of this project"):
                machine.wipe()


def _is_up(other: World) -> bool:
    """Whether a process or a droplet of the world runs."""
    return services.of_world(other).running() or (engine.answers() and any(droplet.droplets_of(other).values()))


def _for_each_droplet(current: World, act: Callable[[Droplet], None]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, droplet.droplets_of(current)))


if __name__ == "__main__":
    main()
