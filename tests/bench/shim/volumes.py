"""One GiB saved to an S3 storage and loaded again by presigned URLs, beside the same tar read from the engine's socket.

The figure of interest is the most memory that the shim takes in addition for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import moto.server as moto

from shim.contract import messages, routes
from shim.contract.messages import Execute, Limits, Volume
from tests.bench.shim.served import Served
from tests.shim.droplet import Droplet, free_port
from tests.shim.test_docker_volumes import Bucket, copy, lines

MEBIBYTES = 1024
PART = 8 << 20
SAMPLE_SECONDS = 0.1


def measure_volumes(shim: Served, droplet: Droplet, image: str) -> None:
    # werkzeug logs a line for each request.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    port = free_port()
    storage = moto.ThreadedMotoServer("127.0.0.1", port)
    storage.start()
    bucket = Bucket(f"http://127.0.0.1:{port}")
    limits = Limits(256 << 20, 2_000_000_000, 64)
    full, empty = (
        droplet.make(image, "sleep", "600", limits=limits, volumes=[Volume("data", "/data")], start=start)
        for start in (True, False)
    )
    for number in range(MEBIBYTES // 64):
        fill = Execute(["sh", "-c", f"head -c 64m /dev/urandom > /data/{number}"])
        assert droplet.caller.call(routes.EXECUTE, full.name, fill).json["exit_code"] == 0
    engine_seconds = timed(lambda: sum(map(len, droplet.docker.get_archive(full.id, "/data/.", chunk_size=1 << 20)[0])))
    save = messages.Save(PART, bucket.puts(MEBIBYTES // 8 + 2))
    saved = report_peak_memory(
        shim, "save", engine_seconds, lambda: lines(copy(droplet, routes.SAVE, full.name, save))[-1].done
    )
    load = messages.Load([bucket.complete(saved.etags)], saved.size_bytes, saved.sha256)
    loaded = report_peak_memory(
        shim, "load", engine_seconds, lambda: lines(copy(droplet, routes.LOAD, empty.name, load))[-1].done
    )
    assert (loaded.size_bytes, loaded.sha256) == (saved.size_bytes, saved.sha256)
    storage.stop()


def report_peak_memory(shim: Served, what: str, engine_seconds: float, act: Callable[[], Any]) -> Any:
    before, samples, ended, done = shim.mebibytes(), [0.0], threading.Event(), list[Any]()

    def watch() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            samples.append(shim.mebibytes())

    watching = threading.Thread(target=watch)
    watching.start()
    seconds = timed(lambda: done.append(act()))
    ended.set()
    watching.join()
    print(
        f"{what} of {MEBIBYTES} MiB: {max(samples) - before:+.1f} MiB at its highest; {seconds:.1f} s, "
        f"the tar from the socket {engine_seconds:.1f} s",
        flush=True,
    )
    return done[0]


def timed(act: Callable[[], Any]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began
