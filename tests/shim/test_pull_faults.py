"""Failed pulls, and the progress that a running pull reports."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from functions.adapters.shim_versions import PullProgress
from shim.contract import errors, messages, routes
from shim.docker import Engine
from tests.shim.caller import Caller
from tests.shim.fake_engine import IMAGE, FakeEngine, Handler, hang_up


def stream(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\r\n" for line in lines)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("manifest for x:1 not found: manifest unknown: manifest unknown", "image-unavailable"),
        (
            "pull access denied for x, repository does not exist or may require 'docker login': denied: requested "
            "access to the resource is denied",
            "image-unavailable",
        ),
        ("Head https://x/v2/a: unauthorized: authentication required", "image-denied"),
        ("no matching manifest for linux/amd64 in the manifest list entries", "wrong-platform"),
        ("write /var/lib/docker/tmp/GetImageBlob1: no space left on device", "disk-full"),
        ('Get "https://x/v2/": dial tcp 127.0.0.1:1: connect: connection refused', "registry-unreachable"),
        ('Get "https://x/v2/": dial tcp: lookup x on 10.0.0.1:53: no such host', "registry-unreachable"),
        ('Get "https://x/v2/": net/http: request canceled (Client.Timeout exceeded)', "registry-unreachable"),
        ("received unexpected HTTP status: 500 Internal Server Error", "registry-unreachable"),
        ("toomanyrequests: You have reached your pull rate limit", "registry-unreachable"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_failed_pull_has_the_error_of_its_cause(
    caller: Caller, fake_engine: FakeEngine, words: str, code: str, inside: bool
) -> None:
    lines = stream({"status": "Pulling from x", "id": "1"}, {"errorDetail": {"message": words}, "error": words})
    fake_engine.on("POST /images/create", (200, lines) if inside else (500, {"message": words}))
    answer = caller.call(routes.PULL, message=messages.Pull("x:1"))
    last = json.loads(answer.body.splitlines()[-1])["error"] if inside else answer.json["error"]
    assert answer.status == (200 if inside else errors.ERRORS[code].status)
    assert last["code"] == code and words in last["message"]


def test_pull_that_the_engine_cuts_off_is_outcome_unknown(caller: Caller, fake_engine: FakeEngine) -> None:
    def half(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"20\r\n" + b" " * 10)
        handler.wfile.flush()
        hang_up(handler)

    fake_engine.on("POST /images/create", half)
    answer = caller.call(routes.PULL, message=messages.Pull("x:1"))
    assert json.loads(answer.body.splitlines()[-1])["error"]["code"] == "outcome-unknown"


def test_silent_registry_is_given_up(tmp_path: Path, fake_engine: FakeEngine) -> None:
    def silent(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(stream({"status": "Pulling from x"}))
        handler.wfile.flush()
        time.sleep(1)

    engine = Engine(fake_engine.url, silence_seconds=0.3)
    fake_engine.on("POST /images/create", silent)
    with pytest.raises(errors.RegistryUnreachable):
        list(engine.pull("x", "1", {}))
    fake_engine.on("POST /images/create", lambda handler: time.sleep(1))
    with pytest.raises(errors.RegistryUnreachable):
        list(engine.pull("x", "1", {}))


def test_pull_without_resulting_image_fails(caller: Caller, fake_engine: FakeEngine) -> None:
    fake_engine.on("POST /images/create", (200, stream({"status": "Status: Downloaded newer image"})))
    fake_engine.on("GET /images/", (404, {"message": "No such image"}))
    assert caller.call(routes.PULL, message=messages.Pull("x")).code == "no-such-image"


@pytest.mark.parametrize(
    ("image", "query"),
    [
        ("x", "fromImage=x&tag=latest"),
        ("r:5/x/y", "fromImage=r%3A5%2Fx%2Fy&tag=latest"),
        ("x:2", "fromImage=x&tag=2"),
        ("x:2@sha256:" + "0" * 64, "fromImage=x&tag=sha256%3A" + "0" * 64),
    ],
)
def test_pull_requests_one_image_and_never_all_tags(
    caller: Caller, fake_engine: FakeEngine, image: str, query: str
) -> None:
    requested: list[str] = []

    def note(handler: Handler) -> None:
        requested.append(handler.path)
        handler.say(200, b"")

    fake_engine.on("POST /images/create", note)
    caller.call(routes.PULL, message=messages.Pull(image))
    assert [path.partition("?")[2] for path in requested] == [query]


def test_progress_is_the_sum_of_the_layers(caller: Caller, fake_engine: FakeEngine) -> None:
    downloading = {"status": "Downloading", "progressDetail": {"current": 5, "total": 10}}
    fake_engine.on(
        "POST /images/create",
        (
            200,
            stream(
                {"status": "Pulling from library/x", "id": "latest"},
                {"status": "Pulling fs layer", "id": "a"},
                {"status": "Already exists", "id": "b"},
                downloading | {"id": "a"},
                {"status": "Download complete", "id": "a"},
                {"status": "Pull complete", "id": "a"},
                {"status": "Pulling fs layer", "id": "c"},
                downloading | {"id": "c"},
            ),
        ),
    )
    lines = [
        messages.read(messages.PullLine, line)
        for line in caller.call(routes.PULL, message=messages.Pull("x")).body.splitlines()
    ]
    assert lines[3].layer == messages.LayerProgress("a", "Downloading", 5, 10)
    progress = PullProgress(lambda _: None, time.monotonic)
    assert progress.image(iter(lines)) == messages.Image(str(IMAGE["Id"]), str(IMAGE["Id"]), 1)
    assert progress.progress() == messages.Progress(bytes_done=15, bytes_total=20, layers_done=2, layers_total=3)
