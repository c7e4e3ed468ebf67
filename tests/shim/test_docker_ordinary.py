"""Debian's nginx, redis and postgresql serve with the capabilities that the shim leaves to a container.

Their usual entrypoints start as root, give their files to another user and become that user.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from shim.contract import messages, routes
from shim.contract.messages import Execute, Limits, Volume
from tests.shim.droplet import Droplet, eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
TAG = "shim-test-ordinary:1"
DOCKERFILE = b"""FROM debian:bookworm
RUN apt-get update \\
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends nginx-light redis-server postgresql \\
 && rm -rf /var/lib/apt/lists/* /var/lib/postgresql/15
"""
POSTGRES = "/usr/lib/postgresql/15/bin"
LIMITS = Limits(256 << 20, 1_000_000_000, 128)
# The bits left of 0x1ff_ffff_ffff: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE
RETAINED = sum(1 << bit for bit in (0, 1, 3, 4, 5, 6, 7, 8, 10))


@pytest.fixture(scope="module")
def ordinary(engine_socket: str) -> Iterator[str]:
    """One image for all three services. It is built once and then stays in the engine's build cache."""
    client = docker.APIClient(engine_socket, version="auto", timeout=600)
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(DOCKERFILE)
        tar.addfile(entry, io.BytesIO(DOCKERFILE))
    context.seek(0)
    options: dict[str, Any] = {"custom_context": True, "tag": TAG, "network_mode": "host", "decode": True, "rm": True}
    for line in client.build(fileobj=context, **options):
        assert "error" not in line, line
    yield TAG
    client.close()


def output_of(droplet: Droplet, name: str, *command: str) -> str:
    answer = droplet.caller.call(routes.EXECUTE, name, Execute(list(command)))
    return messages.read(messages.Executed, answer.body).stdout if answer.status == 200 else ""


def test_nginx_binds_port_80_and_serves(droplet: Droplet, ordinary: str) -> None:
    made = droplet.make(ordinary, "nginx", "-g", "daemon off;", limits=LIMITS)

    def serves() -> bool:
        answer = droplet.caller.raw("GET", routes.relay_target(made.name, 80, "/"))
        return answer.status == 200 and b"Welcome to nginx" in answer.body

    eventually(serves)
    # The workers of nginx do not run as root.
    owners = output_of(droplet, made.name, "sh", "-c", "stat -c %U /proc/[0-9]*").split()
    assert {"root", "www-data"} <= set(owners)


def test_redis_takes_its_volume_and_answers(droplet: Droplet, ordinary: str) -> None:
    script = "chown redis /data && exec setpriv --reuid redis --regid redis --init-groups redis-server --dir /data"
    made = droplet.make(ordinary, "sh", "-c", script, limits=LIMITS, volumes=[Volume("data", "/data")])
    eventually(lambda: output_of(droplet, made.name, "redis-cli", "ping") == "PONG\n")
    output_of(droplet, made.name, "redis-cli", "set", "k", "v")
    assert output_of(droplet, made.name, "redis-cli", "save") == "OK\n"


def test_postgresql_makes_its_cluster_and_answers(droplet: Droplet, ordinary: str) -> None:
    script = (
        "chown postgres /data && chmod 700 /data"
        f" && su postgres -c '{POSTGRES}/initdb --no-sync -D /data/pg'"
        f" && exec su postgres -c 'exec {POSTGRES}/postgres -D /data/pg -k /tmp'"
    )
    made = droplet.make(ordinary, "sh", "-c", script, limits=LIMITS, volumes=[Volume("data", "/data")])
    query = "psql -h /tmp -tAc 'select 41 + 1'"
    eventually(lambda: output_of(droplet, made.name, "su", "postgres", "-c", query) == "42\n")


def test_container_has_nine_capabilities_and_gains_none(droplet: Droplet, ordinary: str) -> None:
    made = droplet.make(ordinary, "sleep", "600", limits=LIMITS)
    lines = output_of(droplet, made.name, "cat", "/proc/1/status").splitlines()
    status = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
    assert {int(status[f"Cap{which}"], 16) for which in ("Prm", "Eff", "Bnd")} == {RETAINED}
    assert (int(status["CapAmb"], 16), status["NoNewPrivs"], status["Seccomp"]) == (0, "1", "2")
    tries = {
        "mount -t tmpfs x /mnt": 32,
        "mknod /dev/x b 8 0": 1,
        "hostname x": 1,
        "dd if=/dev/mem of=/dev/null count=1": 1,
        "ls /var/run/docker.sock": 2,
        "chroot / true": 125,
    }
    script = "; ".join(f"({line}) >/dev/null 2>&1; echo $?" for line in tries)
    assert output_of(droplet, made.name, "sh", "-c", script).split() == [str(code) for code in tries.values()]
