"""A local DigitalOcean: their API, as far as toolboxes need it, over droplets that are containers here. A process."""

from __future__ import annotations

import logging

from werkzeug.serving import make_server

from infra.local import world
from infra.local.digitalocean import service
from infra.local.digitalocean.account import Account


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    of = world.current()
    account = Account(of)
    make_server("127.0.0.1", of.digitalocean_port, service.build(of, account.token), threaded=True).serve_forever()


if __name__ == "__main__":
    main()
