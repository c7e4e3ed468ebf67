"""The one address of a world: nginx before its functions, with the issuer's keys beside them; and one for droplets."""

from __future__ import annotations

import hashlib
import json
import os

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from infra.local import authority, deployed, world
from infra.local.issuer import Issuer
from infra.local.processes import Program
from infra.local.world import World


def program(of: World) -> Program:
    """nginx as a process to supervise, started again when its configuration changed."""
    directory = of.directory / "gateway"
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "nginx.conf"
    config.write_text(_config(of))
    version = hashlib.sha256(config.read_bytes()).hexdigest()[:16]
    return Program("gateway", ["/usr/sbin/nginx", "-c", str(config)], {"TOOLBOXES_VERSION": version})


def _config(of: World) -> str:
    folder = FileSystemLoader(world.CHECKOUT / "infra/local")
    # Not HTML: nothing is to be escaped.
    environment = Environment(loader=folder, undefined=StrictUndefined, autoescape=False)  # noqa: S701
    template = environment.get_template("gateway.conf.j2")
    certificate, key = authority.server(world.NETWORK_GATEWAY)
    return template.render(
        world=of,
        droplets_address=f"{world.NETWORK_GATEWAY}:{of.droplets_port}",
        certificate=certificate,
        key=key,
        for_droplets=deployed.FOR_DROPLETS,
        directory=of.directory / "gateway",
        # Published from a container, its own loopback would be out of reach.
        host=os.environ.get("TOOLBOXES_GATEWAY_HOST", "127.0.0.1"),
        jwks=Issuer(of).jwks(),
        problem=_problem,
        functions={function: deployed.port(of, function) for function in deployed.FUNCTIONS},
    )


def _problem(status: int, title: str, detail: str) -> str:
    """A problem document (RFC 9457) as the functions give them."""
    return json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail, "message": detail})
