"""The local world's store keeps what it acknowledged when it is restarted in the middle of writes."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from infra.local import services
from infra.local.emulators import Firestore
from infra.local.steps import wait_until
from infra.local.world import PROJECT, World

pytestmark = [pytest.mark.world, pytest.mark.timeout(600)]


@pytest.mark.emulator
def test_acknowledged_writes_survive_a_restart_of_the_store(local_world: World) -> None:
    store = f"http://127.0.0.1:{local_world.firestore_port}/v1/"
    documents = f"projects/{PROJECT}/databases/(default)/documents"
    acknowledged: list[str] = []

    def write_until_refused() -> None:
        for _ in range(100_000):
            name = f"{documents}/probe/{uuid.uuid4()}"
            try:
                writes = [{"update": {"name": name}}]
                requests.post(f"{store}{documents}:commit", json={"writes": writes}, timeout=20).raise_for_status()
            except requests.RequestException:
                return
            acknowledged.append(name)

    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(write_until_refused) for _ in range(4)]
        services.of_world(local_world).restart("firestore")
        for future in writing:
            future.result()
    wait_until(Firestore(local_world, local_world.firestore_port).answers, 120, "the Firestore emulator")
    read = requests.post(f"{store}{documents}:batchGet", json={"documents": acknowledged}, timeout=60).json()
    assert acknowledged
    assert {entry["found"]["name"] for entry in read if "found" in entry} == set(acknowledged)
