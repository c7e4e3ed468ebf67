"""A list of 100 instances, one instance and its logs, beside a bare Flask function that reads the same documents.

    tests/bench/run reads
    python -m tests.bench.reads --store firestore --profile list

Both are WSGI applications in this process and are called in turns. The peer verifies the token with PyJWT, reads the
same documents from the same store, sends the same command to the same simulated shim, and answers with the documents
as they are stored. `--profile` prints where the function's time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
from flask import Flask, Response, jsonify
from flask import request as flask_request

from functions.adapters.toolbox_shim import ToolboxShims
from functions.lifecycle.dependencies import Create, Snapshot, Store
from functions.lifecycle.repository import instance_ref, living_instances, toolbox_ref
from shim.contract import messages
from tests.bench.functions import application, backends, toolboxes
from tests.bench.functions.application import Droplets
from tests.fakes.issuer import Issuer
from tests.fakes.stored import encode

INSTANCES = 100
# Another account's toolboxes, so that the account's documents are not the whole store.
OTHERS = 20
ROUNDS = {"list": 60, "get": 300, "logs": 300}
WARM_UP = 5
ACCOUNT = "account-0"
BOX = toolboxes.toolbox_id(0)
KEY = toolboxes.instance_id(0, 7)
PATHS = {
    "list": f"/{BOX}/tools?limit={INSTANCES}",
    "get": f"/{BOX}/tools/{KEY}",
    "logs": f"/{BOX}/tools/{KEY}/logs?tail=100",
}


@dataclass
class Times:
    """Of each request: seconds by the clock and of CPU."""

    clock: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, send: Callable[[], object]) -> None:
        clock, cpu = time.perf_counter(), time.process_time()
        send()
        self.clock.append(time.perf_counter() - clock)
        self.cpu.append(time.process_time() - cpu)

    def __str__(self) -> str:
        return f"p50 {statistics.median(self.clock) * 1000:6.2f} ms, CPU {statistics.median(self.cpu) * 1000:6.2f} ms"


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=backends.STORES, default="sqlite")
    parser.add_argument("--profile", choices=PATHS)
    options = parser.parse_args(arguments)
    issuer = Issuer()
    with tempfile.TemporaryDirectory() as directory, backends.backends(options.store, Path(directory)) as used:
        droplets = Droplets()
        _fill(used.store, droplets)
        ours = application.toolbox_tools_app(used.store, issuer, droplets)
        peer = bare_app(used.store, issuer, droplets)
        token = issuer.token(ACCOUNT)
        if options.profile:
            _profile(ours, PATHS[options.profile], token)
            return
        print(f"reads, {options.store}")
        for name, path in PATHS.items():
            times = {id(app): Times() for app in (ours, peer)}
            for number in range(ROUNDS[name] + WARM_UP):
                for app in (ours, peer):
                    environ = application.request("GET", path, token)
                    if number < WARM_UP:
                        application.call(app, environ, 200)
                    else:
                        times[id(app)].add(lambda app=app, environ=environ: application.call(app, environ, 200))  # type: ignore[misc]
            mine, bare = times[id(ours)], times[id(peer)]
            clock = statistics.median(mine.clock) / statistics.median(bare.clock)
            cpu = statistics.median(mine.cpu) / statistics.median(bare.cpu)
            print(f"  {name:5} ours {mine}; bare Flask {bare}; ratio {clock:.2f}, of CPU {cpu:.2f}")
    issuer.close()


def bare_app(store: Store, issuer: Issuer, droplets: Droplets) -> Flask:
    """The peer: it does what it must, and nothing of it with this project's web or domain code."""
    app = Flask("bare")
    shims, settings = ToolboxShims(droplets), issuer.settings
    keys = jwt.PyJWKClient(settings.jwks_url, lifespan=3600)

    def toolbox(box: str) -> Snapshot:
        scheme, _, token = flask_request.headers["Authorization"].partition(" ")
        claims = jwt.decode(
            token,
            keys.get_signing_key_from_jwt(token),
            [settings.algorithm],
            audience=settings.audience,
            issuer=settings.issuer,
        )
        [found] = store.get([toolbox_ref(box)])
        assert scheme == "Bearer" and found and found.data["account"] == claims["sub"]
        return found

    @app.get("/<box>/tools")
    def instances(box: str) -> Response:
        toolbox(box)
        limit = int(flask_request.args["limit"])
        return jsonify([found.data for found in store.query(living_instances(box, limit))])

    @app.get("/<box>/tools/<key>")
    def instance(box: str, key: str) -> Response:
        toolbox(box)
        [found] = store.get([instance_ref(key)])
        assert found
        return jsonify(found.data)

    @app.get("/<box>/tools/<key>/logs")
    def logs(box: str, key: str) -> Response:
        stored = toolbox(box)
        [found] = store.get([instance_ref(key)])
        assert found
        name = found.data["observed"]["container"]["name"]
        answered = shims.for_toolbox(toolboxes.toolbox(0, ["0" * 64] * toolboxes.CERTIFICATES, application.now())).logs(
            name, tail=int(flask_request.args["tail"]), start_by=application.now() + timedelta(seconds=10)
        )
        return jsonify({"id": stored.ref.id, "logs": [f"{line.time} {line.text}" for line in answered.lines]})

    return app


def _fill(store: Store, droplets: Droplets) -> None:
    """A toolbox with INSTANCES instances, and others with ten each."""
    fingerprints = ["0" * 64] * toolboxes.CERTIFICATES
    toolboxes.store(store, range(1, OTHERS + 1), fingerprints, application.now())
    toolbox = toolboxes.toolbox(0, fingerprints, application.now())
    store.commit([Create(toolbox_ref(toolbox.id), encode(toolbox))])
    for index in range(INSTANCES):
        made = toolboxes.instance(0, index, application.now())
        store.commit([Create(instance_ref(made.id), encode(made))])
        observed = made.observed.container
        assert observed
        droplets.for_toolbox(toolbox).containers[observed.name] = _container(observed.name, observed.id, made.id)


def _container(name: str, container_id: str, instance_id: str) -> messages.Container:
    return messages.Container(
        id=container_id,
        name=name,
        instance_id=instance_id,
        spec_generation=1,
        state="running",
        health=None,
        exit_code=0,
        oom_killed=False,
        error="",
        started_at="",
        finished_at="",
        restart_count=0,
        image=toolboxes.IMAGE,
        image_digest="sha256:" + "2" * 64,
        ports=[],
        environment_names=[],
        limits=messages.Limits(512 << 20, 500_000_000, 256),
        endpoint_id="",
    )


def _profile(app: Flask, path: str, token: str) -> None:
    environs: list[dict[str, Any]] = [application.request("GET", path, token) for _ in range(100)]
    application.call(app, application.request("GET", path, token), 200)
    with cProfile.Profile() as profile:
        for environ in environs:
            application.call(app, environ, 200)
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main(sys.argv[1:])
