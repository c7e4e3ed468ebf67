"""The metadata service that every droplet finds at 169.254.169.254: a process of the machine's, for all its worlds.

It tells whoever asks what was said of the droplet whose address the question comes from, containers on it included:
https://docs.digitalocean.com/reference/api/metadata-api/. cloud-init's own DigitalOcean source knows its cloud by the
hardware, which a container does not have; below /nocloud/ is the same for its source for anywhere.
"""

from __future__ import annotations

import json
import logging
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from infra.local import command, engine, world
from infra.local.digitalocean import records
from infra.local.processes import BIN, Program

ADDRESS = "169.254.169.254"
PORT = 8169
LOG = logging.getLogger("metadata")


def program() -> Program:
    return Program("metadata", [str(BIN / "python"), "-m", "infra.local.metadata"], autostart=False)


def ensure_route() -> None:
    """What droplets send to ADDRESS comes here. The machine's own such address, on a cloud's machine, stays its own."""
    where = ["--in-interface", engine.DROPLETS_BRIDGE, "--destination", ADDRESS, "--protocol", "tcp", "--dport", "80"]
    rule = ["PREROUTING", *where, "--jump", "DNAT", "--to-destination", f"{world.NETWORK_GATEWAY}:{PORT}"]
    iptables = ["/usr/sbin/iptables", "--wait", "--table", "nat"]
    try:
        command.run([*iptables, "--check", *rule])
    except command.Failed:
        command.run([*iptables, "--insert", *rule])


def answers(path: str, record: dict[str, Any]) -> str | None:
    """What the service says of a droplet; None for a path that it does not know."""
    said = {
        "id": str(record["id"]),
        "hostname": record["name"],
        "user-data": record["user_data"],
        "vendor-data": "",
        "public-keys": "",
        "region": record["region"],
        "tags": "\n".join(record["tags"]),
        "interfaces/public/0/type": "public",
        "interfaces/public/0/ipv4/address": record["address"],
        "interfaces/public/0/ipv4/netmask": str(world.NETWORK.netmask),
        "interfaces/public/0/ipv4/gateway": str(world.NETWORK_GATEWAY),
    }
    seed = {"instance-id": str(record["id"]), "local-hostname": record["name"], "region": record["region"]}
    index = "\n".join(sorted({name.partition("/")[0] + "/" * ("/" in name) for name in said}))
    known = {f"/metadata/v1/{name}": value for name, value in said.items()} | {
        "/metadata/v1/": index,
        "/metadata/v1.json": json.dumps(
            {"droplet_id": record["id"], "hostname": record["name"], "user_data": record["user_data"]}
        ),
        "/nocloud/meta-data": json.dumps(seed),
        "/nocloud/user-data": record["user_data"],
        "/nocloud/vendor-data": "",
    }
    return known.get(path)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        record = records.droplet_at(self.client_address[0])
        said = answers(self.path, record) if record else None
        body = (said or "").encode()
        self.send_response(200 if said is not None else 404)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        LOG.info("%s %s", self.client_address[0], format % arguments)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    ThreadingHTTPServer((str(world.NETWORK_GATEWAY), PORT), Handler).serve_forever()


if __name__ == "__main__":
    main()
