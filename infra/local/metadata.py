"""The metadata service that every droplet finds at 169.254.169.254: one process for all worlds of the machine.

It answers a droplet, or a container on it, with the data of the create call, selected by the address of the caller:
https://docs.digitalocean.com/reference/api/metadata-api/. cloud-init's DigitalOcean source recognises its cloud by the
hardware, which a container does not have. The paths below /nocloud/ therefore serve the same data to cloud-init's
NoCloud source.

This file needs nothing but the standard library: the machine layer runs a copy of it with the system's Python, so that
the service depends neither on a checkout nor on a virtualenv.

    python3 metadata.py --state DIRECTORY --address ADDRESS --port PORT --netmask NETMASK
"""

from __future__ import annotations

import argparse
import json
import logging
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LOG = logging.getLogger("metadata")


def droplet_at(state: Path, address: str) -> dict[str, Any] | None:
    """The stored droplet with this address, of any world below `state`; None if there is none."""
    for path in state.glob("worlds/*/digitalocean/droplets/*.json"):
        try:
            record: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            continue
        if record["address"] == address:
            return record
    return None


def content(path: str, record: dict[str, Any], gateway: str, netmask: str) -> str | None:
    """The body for one path, for the droplet of this record; None for an unknown path."""
    values = {
        "id": str(record["id"]),
        "hostname": record["name"],
        "user-data": record["user_data"],
        "vendor-data": "",
        "public-keys": "",
        "region": record["region"],
        "tags": "\n".join(record["tags"]),
        "interfaces/public/0/type": "public",
        "interfaces/public/0/ipv4/address": record["address"],
        "interfaces/public/0/ipv4/netmask": netmask,
        "interfaces/public/0/ipv4/gateway": gateway,
    }
    seed = {"instance-id": str(record["id"]), "local-hostname": record["name"], "region": record["region"]}
    index = "\n".join(sorted({name.partition("/")[0] + "/" * ("/" in name) for name in values}))
    paths = {f"/metadata/v1/{name}": value for name, value in values.items()} | {
        "/metadata/v1/": index,
        "/metadata/v1.json": json.dumps(
            {"droplet_id": record["id"], "hostname": record["name"], "user_data": record["user_data"]}
        ),
        "/nocloud/meta-data": json.dumps(seed),
        "/nocloud/user-data": record["user_data"],
        "/nocloud/vendor-data": "",
    }
    return paths.get(path)


def handler(state: Path, gateway: str, netmask: str) -> type[BaseHTTPRequestHandler]:
    """The request handler of one service."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            record = droplet_at(state, self.client_address[0])
            text = content(self.path, record, gateway, netmask) if record else None
            body = (text or "").encode()
            self.send_response(200 if text is not None else 404)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            LOG.info("%s %s", self.client_address[0], format % arguments)

    return Handler


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("--state", "--address", "--port", "--netmask"):
        parser.add_argument(option, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    requests = handler(Path(options.state), options.address, options.netmask)
    ThreadingHTTPServer((options.address, int(options.port)), requests).serve_forever()


if __name__ == "__main__":
    main()
