"""Calls `sweep` each minute with an identity token, as Cloud Scheduler does: a process."""

from __future__ import annotations

import logging
import time

import requests

from infra.local import deployed, world
from infra.local.issuer import Issuer

EVERY_SECONDS = 60
LOG = logging.getLogger("scheduler")


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    of = world.current()
    issuer = Issuer(of)
    url = f"http://127.0.0.1:{deployed.port(of, 'sweep')}/"
    while True:
        time.sleep(EVERY_SECONDS)
        try:
            headers = {"Authorization": f"Bearer {issuer.service_token()}"}
            answer = requests.post(url, headers=headers, timeout=EVERY_SECONDS)
            LOG.info("sweep answered %s %s", answer.status_code, answer.text.strip()[:200])
        except requests.RequestException as error:
            LOG.warning("sweep does not answer: %s", error)


if __name__ == "__main__":
    main()
