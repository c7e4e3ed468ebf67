"""The machine layer, shared by all worlds and all checkouts: engine, registry, metadata service, images.

Nothing in the configuration of its processes depends on who starts it. The files that the processes read are copied
from the checkout into FOLDER. A running engine is never restarted by `up`: a restart would shut down the droplets of
every other world, perhaps in the middle of somebody's tests.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local import command, engine, images, metadata, registry, secret, world
from infra.local.processes import Processes, Program
from infra.local.steps import step, wait_until

FOLDER = world.STATE / "machine"
METADATA_ADDRESS = "169.254.169.254"
METADATA_PORT = 8169
# The engine needs these to pull images. Nothing else of the caller's environment reaches the machine layer.
INHERITED = ("http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name in INHERITED or name.lower() in INHERITED}
PROCESSES = Processes("machine", FOLDER, environment=ENVIRONMENT | {"PATH": engine.SYSTEM_PATH})


def up() -> None:
    """Start engine, network, registry and metadata service, and build the images, each only if needed."""
    with _lock():
        _engine_up()
        with step("starting the registry and the metadata service"):
            engine.ensure_network()
            _ensure_metadata_route()
            for name in ("registry", "metadata"):
                PROCESSES.start(name)
            wait_until(registry.answers, 20, "the registry")
        with step("preparing the Debian image"):
            images.ensure_base()
        with step("preparing the images of droplet, shim and MCP server"):
            images.ensure_all()


def engine_up() -> None:
    """Start the engine alone. Raises TimeoutError and prints the end of the engine's log."""
    with _lock():
        _engine_up()


def down() -> None:
    """Stop the registry, the metadata service and the engine, and with it every container."""
    with _lock():
        PROCESSES.stop()


def wipe() -> None:
    """Delete all images, caches and Python packages of this project. Nothing may run."""
    engine.remove_bridges()
    engine.unmount()
    for path in world.STATE.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def programs() -> list[Program]:
    """The supervised processes, after the files that they read are in FOLDER."""
    return [engine.program(), registry.program(_copied(registry.CONFIG)), _metadata(_copied(Path(metadata.__file__)))]


def _metadata(script: Path) -> Program:
    words = ["/usr/bin/python3", str(script), "--state", str(world.STATE), "--address", str(world.NETWORK_GATEWAY)]
    words += ["--port", str(METADATA_PORT), "--netmask", str(world.NETWORK.netmask)]
    version = {"TOOLBOXES_VERSION": hashlib.sha256(script.read_bytes()).hexdigest()[:16]}
    return Program("metadata", words, version, autostart=False, directory=world.STATE)


def _copied(source: Path) -> Path:
    copy = FOLDER / source.name
    if not copy.exists() or copy.read_bytes() != source.read_bytes():
        secret.write(copy, source.read_text())
    return copy


def _ensure_metadata_route() -> None:
    """Redirect what droplets send to METADATA_ADDRESS to the metadata service.

    The rule applies to the droplets' bridge only: the machine itself may be in a cloud that has such an address.
    """
    match = ["--in-interface", engine.DROPLETS_BRIDGE, "--destination", METADATA_ADDRESS, "--protocol", "tcp"]
    target = ["--jump", "DNAT", "--to-destination", f"{world.NETWORK_GATEWAY}:{METADATA_PORT}"]
    rule = ["PREROUTING", *match, "--dport", "80", *target]
    iptables = ["/usr/sbin/iptables", "--wait", "--table", "nat"]
    try:
        command.run([*iptables, "--check", *rule])
    except command.Failed:
        command.run([*iptables, "--insert", *rule])


def _engine_up() -> None:
    with step("starting the Docker Engine"):
        engine.ensure_bridge()
        not_applied = PROCESSES.apply(programs(), undisturbed=("engine",))
        try:
            wait_until(engine.answers, 60, "the Docker Engine")
        except TimeoutError:
            print(PROCESSES.last_lines("engine"))
            raise
    if not_applied:
        print("The Docker Engine runs with other settings than this checkout's. They apply once every world is down.")


@contextmanager
def _lock() -> Iterator[None]:
    """Only one command at a time changes the machine layer, even if two worlds start at once."""
    world.STATE.mkdir(parents=True, exist_ok=True)
    with (world.STATE / "machine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
