"""What runs as processes in one world: store, queue, functions, gateway, relay and scheduler."""

from __future__ import annotations

from functools import partial

from infra.local import deployed, gateway, relay
from infra.local.backing import Backing
from infra.local.firestore import Firestore
from infra.local.processes import BIN, RUNNING, Processes, Program
from infra.local.steps import listens, wait_until
from infra.local.world import World

# A JVM and a dozen Python processes, all at once on a small machine.
START_SECONDS = 120


def of_world(of: World) -> Processes:
    return Processes(of.name, of.directory)


def up(of: World, backing: Backing) -> None:
    """Makes all of them run as the checkout has them, and waits until each answers. Raises TimeoutError."""
    platform = [_platform(of, name) for name in ("relay", "scheduler", "digitalocean")]
    programs = [*backing.programs(of), gateway.program(of), *deployed.programs(of, backing), *platform]
    processes = of_world(of)
    processes.apply(programs)
    try:
        _wait(of, backing)
        # Another's process at the port answers too.
        wait_until(lambda: set(processes.states().values()) == {RUNNING}, START_SECONDS, "every process to stay up")
    except TimeoutError:
        for name, state in processes.states().items():
            if state != RUNNING:
                print(f"\n{name} is {state.lower()}:\n{processes.last_lines(name)}")
        raise


def _wait(of: World, backing: Backing) -> None:
    if backing.firestore_jar:
        wait_until(Firestore(of, of.firestore_port).answers, START_SECONDS, "the Firestore emulator")
    ports = {function: deployed.port(of, function) for function in deployed.FUNCTIONS}
    ports |= {"the gateway": of.base_port, "the local DigitalOcean": of.digitalocean_port}
    if backing.pubsub_jar:
        ports |= {"the Pub/Sub emulator": of.pubsub_port, "the relay": of.relay_port}
        wait_until(partial(relay.subscribed, of), START_SECONDS, "the relay's subscription")
    for name, port in ports.items():
        wait_until(partial(listens, "127.0.0.1", port), START_SECONDS, name)


def _platform(of: World, module: str) -> Program:
    """A process that stands for something of the cloud's platform."""
    version = deployed.source_version("infra/local", "functions/adapters")
    command = [str(BIN / "python"), "-m", f"infra.local.{module}"]
    return Program(module, command, {"TOOLBOXES_WORLD": of.name, "TOOLBOXES_VERSION": version})
