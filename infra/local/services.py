"""The processes of one world: store, queue, functions, gateway, relay, scheduler and the local DigitalOcean."""

from __future__ import annotations

import hashlib
import json
import os
from functools import partial

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from infra.local import authority, deployed, triggers
from infra.local.emulators import Backends, Firestore
from infra.local.issuer import Issuer
from infra.local.processes import BIN, RUNNING, Processes, Program
from infra.local.steps import listens, wait_until
from infra.local.world import CHECKOUT, NETWORK_GATEWAY, World

START_SECONDS = 120
"""A JVM and a dozen Python processes start at the same time, perhaps on two cores."""


def of_world(world: World) -> Processes:
    """The process supervisor of a world."""
    return Processes(world.name, world.directory)


def up(world: World, backends: Backends) -> None:
    """Start or update every process to match the checkout, and wait until each answers.

    Raises TimeoutError, after printing the end of the log of each process that is not running.
    """
    programs = [*backends.programs(world), gateway(world), *deployed.programs(world, backends), *_platform(world)]
    processes = of_world(world)
    processes.apply(programs)
    try:
        _wait(world, backends)
        # A port may answer although the process failed: another process may listen there.
        wait_until(lambda: set(processes.states().values()) == {RUNNING}, START_SECONDS, "every process to stay up")
    except TimeoutError:
        for name, state in processes.states().items():
            if state != RUNNING:
                print(f"\n{name} is {state.lower()}:\n{processes.last_lines(name)}")
        raise


def gateway(world: World) -> Program:
    """nginx in front of the functions: one address for callers, which also serves the issuer's keys, one for droplets.

    It restarts when its configuration changes.
    """
    directory = world.directory / "gateway"
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "nginx.conf"
    config.write_text(_gateway_config(world))
    version = hashlib.sha256(config.read_bytes()).hexdigest()[:16]
    return Program("gateway", ["/usr/sbin/nginx", "-c", str(config)], {"TOOLBOXES_VERSION": version})


def _gateway_config(world: World) -> str:
    loader = FileSystemLoader(CHECKOUT / "infra/local")
    # autoescape is for HTML; this template is an nginx configuration.
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=False)  # noqa: S701
    certificate, key = authority.server(NETWORK_GATEWAY)
    return environment.get_template("gateway.conf.j2").render(
        world=world,
        droplets_address=f"{NETWORK_GATEWAY}:{world.droplets_port}",
        certificate=certificate,
        key=key,
        for_droplets=deployed.FOR_DROPLETS,
        directory=world.directory / "gateway",
        # In infra/local/container's container, the published port reaches only a server at 0.0.0.0.
        host=os.environ.get("TOOLBOXES_GATEWAY_HOST", "127.0.0.1"),
        jwks=Issuer(world).jwks(),
        problem=_problem,
        functions={function: deployed.port(world, function) for function in deployed.FUNCTIONS},
    )


def _problem(status: int, title: str, detail: str) -> str:
    """A problem document (RFC 9457) in the form of the functions' own."""
    return json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail, "message": detail})


def _platform(world: World) -> list[Program]:
    """The processes that stand in for services of Google and DigitalOcean."""
    modules = {
        "relay": ("infra.local.triggers", "relay"),
        "scheduler": ("infra.local.triggers", "scheduler"),
        "digitalocean": ("infra.local.digitalocean",),
    }
    version = deployed.source_version("infra/local", "functions/adapters")
    environment = {"TOOLBOXES_WORLD": world.name, "TOOLBOXES_VERSION": version}
    return [Program(name, [str(BIN / "python"), "-m", *words], environment) for name, words in modules.items()]


def _wait(world: World, backends: Backends) -> None:
    if backends.firestore_jar:
        wait_until(Firestore(world, world.firestore_port).answers, START_SECONDS, "the Firestore emulator")
    ports = {function: deployed.port(world, function) for function in deployed.FUNCTIONS}
    ports |= {"the gateway": world.base_port, "the local DigitalOcean": world.digitalocean_port}
    if backends.pubsub_jar:
        ports |= {"the Pub/Sub emulator": world.pubsub_port, "the relay": world.relay_port}
        wait_until(partial(triggers.subscribed, world), START_SECONDS, "the relay's subscription")
    for name, port in ports.items():
        wait_until(partial(listens, "127.0.0.1", port), START_SECONDS, name)
