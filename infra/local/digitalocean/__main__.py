"""The process of a world's local DigitalOcean: the part of their API that toolboxes use, with containers as droplets.

Its answers follow DigitalOcean's published OpenAPI description; tests/infra/test_digitalocean.py validates them
against it.
"""

from __future__ import annotations

import logging
import threading

from werkzeug.serving import make_server

from infra.local import engine, world
from infra.local.digitalocean import service
from infra.local.digitalocean.account import Account
from infra.local.digitalocean.droplets import restart_after_engine


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    current = world.current()
    app, droplets = service.build(current, Account(current).token)
    watch = threading.Thread(
        target=restart_after_engine, args=(droplets, engine.process_id, engine.answers), daemon=True
    )
    watch.start()
    make_server("127.0.0.1", current.digitalocean_port, app, threaded=True).serve_forever()


if __name__ == "__main__":
    main()
