"""The layer that all worlds on this machine share: engine, registry, metadata service, images."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from infra.local import engine, images, metadata, registry, world
from infra.local.processes import Processes
from infra.local.steps import step, wait_until

PROCESSES = Processes("machine", world.STATE / "machine")


def up() -> None:
    """Engine, network, registry, metadata and images, each only where it is not as it should be."""
    with _alone():
        _engine_up()
        with step("starting the registry and the metadata service"):
            engine.ensure_network()
            metadata.ensure_route()
            for name in ("registry", "metadata"):
                PROCESSES.start(name)
            wait_until(registry.answers, 20, "the registry")
        with step("Debian's image"):
            images.ensure_base()
        with step("the images of droplet, shim and MCP server"):
            images.ensure_all()


def engine_up() -> None:
    """The engine alone. Raises TimeoutError, with the engine's last words."""
    with _alone():
        _engine_up()


def down() -> None:
    """Ends engine and registry, and with them what still runs there."""
    with _alone():
        PROCESSES.stop()


def wipe() -> None:
    """Removes images, caches and this project's Python packages, once nothing runs."""
    engine.remove_bridges()
    engine.unmount()
    for path in world.STATE.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _engine_up() -> None:
    with step("starting the Docker Engine"):
        engine.ensure_bridge()
        PROCESSES.apply([engine.program(), registry.program(), metadata.program()])
        try:
            wait_until(engine.answers, 60, "the Docker Engine")
        except TimeoutError:
            print(PROCESSES.last_lines("engine"))
            raise


@contextmanager
def _alone() -> Iterator[None]:
    """Two worlds may come up at once; this layer is one worker's at a time."""
    world.STATE.mkdir(parents=True, exist_ok=True)
    with (world.STATE / "machine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
