"""The content of a volume is saved to S3 storage and loaded again, with presigned URLs only."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import moto.server as moto
import pytest

from shim.contract import messages, routes
from shim.contract.messages import CopyLine, Load, Save, Volume
from tests.shim.caller import Answer
from tests.shim.droplet import Droplet, free_port

pytestmark = pytest.mark.docker
PART = 5 << 20


class Bucket:
    """Multipart uploads as the control plane makes them. Only it has the keys; the shim gets presigned URLs."""

    def __init__(self, endpoint: str) -> None:
        self.s3 = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s"
        )
        self.s3.create_bucket(Bucket="bucket")
        self.upload = self.s3.create_multipart_upload(Bucket="bucket", Key="v")["UploadId"]

    def puts(self, count: int) -> list[str]:
        part = {"Bucket": "bucket", "Key": "v", "UploadId": self.upload}
        return [self.s3.generate_presigned_url("upload_part", part | {"PartNumber": n + 1}) for n in range(count)]

    def complete(self, etags: list[str]) -> str:
        parts = {"Parts": [{"PartNumber": n + 1, "ETag": etag} for n, etag in enumerate(etags)]}
        self.s3.complete_multipart_upload(Bucket="bucket", Key="v", UploadId=self.upload, MultipartUpload=parts)
        return str(self.s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "v"}))


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    port = free_port()
    server = moto.ThreadedMotoServer("127.0.0.1", port)
    server.start()
    yield Bucket(f"http://127.0.0.1:{port}")
    server.stop()


@pytest.fixture
def full(droplet: Droplet, busybox: str) -> messages.Container:
    """A running container with 12 MB and a file of another owner in its volume `data`."""
    script = ("seq 1 1700000 > /data/numbers; echo kept > /data/é; chown 7:8 /data/é; touch /data/done; sleep 600",)
    made = droplet.make(busybox, "sh", "-c", *script, volumes=[Volume("data", "/data")])
    for _ in range(100):
        if execute(droplet, made.name, "cat", "/data/done").exit_code == 0:
            return made
        time.sleep(0.1)
    raise AssertionError("never written")


def execute(droplet: Droplet, name: str, *command: str) -> messages.Executed:
    return messages.read(
        messages.Executed, droplet.caller.call(routes.EXECUTE, name, messages.Execute(list(command))).body
    )


def copy(droplet: Droplet, route: routes.Route, name: str, message: Any, volume: str = "data") -> Answer:
    target = route.target(name, volume=volume)
    return droplet.caller.raw(route.method, target, messages.dump(message))


def lines(answer: Answer) -> list[CopyLine]:
    assert answer.status == 200, answer.body
    return [messages.read(CopyLine, line) for line in answer.body.splitlines()]


def test_volume_is_saved_in_parts_and_loaded_into_another(
    droplet: Droplet, busybox: str, bucket: Bucket, full: messages.Container, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "shim")
    progress = lines(copy(droplet, routes.SAVE, full.name, Save(PART, bucket.puts(5))))
    assert [line.bytes_done for line in progress[:-1]][:2] == [PART, 2 * PART]
    saved = progress[-1].done
    assert saved and len(saved.etags) == len(progress) - 1 == 3 and saved.size_bytes > 12_000_000
    url = bucket.complete(saved.etags)
    other = droplet.make(busybox, "sleep", "600", volumes=[Volume("data", "/elsewhere")], start=False)
    load = Load([url], saved.size_bytes, saved.sha256)
    assert lines(copy(droplet, routes.LOAD, other.name, load))[-1].done == messages.Copied(
        saved.size_bytes, saved.sha256
    )
    droplet.caller.perform(routes.START, other.name)
    assert execute(droplet, other.name, "cat", "/elsewhere/é").stdout == "kept\n"
    sizes = [
        execute(droplet, container.name, "stat", "-c", "%s %u:%g", *paths).stdout
        for container, paths in ((full, ("/data/numbers", "/data/é")), (other, ("/elsewhere/numbers", "/elsewhere/é")))
    ]
    assert sizes[0] == sizes[1] and "7:8" in sizes[0]
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("shim")]
    assert logged and not [line for line in logged if "Signature" in line]


def test_volume_larger_than_its_parts_is_not_saved(droplet: Droplet, bucket: Bucket, full: messages.Container) -> None:
    error = lines(copy(droplet, routes.SAVE, full.name, Save(PART, bucket.puts(2))))[-1].error
    assert error and error["code"] == "storage-refused" and "2 parts" in error["message"]


def test_storage_errors_do_not_contain_the_url(droplet: Droplet, bucket: Bucket, full: messages.Container) -> None:
    missing = bucket.s3.generate_presigned_url("get_object", {"Bucket": "none", "Key": "s3cret"})
    away = f"http://127.0.0.1:{free_port()}/s3cret?X-Amz-Signature=s3cret"
    droplet.caller.perform(routes.STOP, full.name, messages.Stop(0))
    for url, code in ((missing, "storage-refused"), (away, "storage-unreachable")):
        for route, message in ((routes.SAVE, Save(PART, [url])), (routes.LOAD, Load([url], 1, "0"))):
            answer = copy(droplet, route, full.name, message)
            error = answer.json["error"] if answer.status != 200 else lines(answer)[-1].error
            assert error and error["code"] == code and "s3cret" not in error["message"]


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"size_bytes": 1}])
def test_load_of_other_content_is_refused(
    droplet: Droplet, bucket: Bucket, full: messages.Container, wrong: dict[str, Any]
) -> None:
    saved = lines(copy(droplet, routes.SAVE, full.name, Save(PART, bucket.puts(5))))[-1].done
    assert saved
    load = Load([bucket.complete(saved.etags)], saved.size_bytes, saved.sha256)
    running = copy(droplet, routes.LOAD, full.name, load)
    assert (running.status, running.code) == (409, "still-running")
    droplet.caller.perform(routes.STOP, full.name, messages.Stop(0))
    answer = copy(droplet, routes.LOAD, full.name, dataclasses.replace(load, **wrong))
    error = answer.json["error"] if answer.status != 200 else lines(answer)[-1].error
    assert error and error["code"] == "storage-refused"
    assert lines(copy(droplet, routes.LOAD, full.name, load))[-1].done


def test_unknown_volume_is_no_such_volume(droplet: Droplet, full: messages.Container) -> None:
    for volume in ("other", f"{uuid.uuid4()}-data", "..", "data/..", "é"):
        answer = copy(droplet, routes.SAVE, full.name, Save(PART, ["http://127.0.0.1:1/"]), volume)
        assert answer.code in ("no-such-volume", "unknown-route")
    for urls in ([], ["file:///etc/passwd"], ["http://"], ["http://[", "x"], ["http://a/ b"]):
        assert copy(droplet, routes.SAVE, full.name, Save(PART, urls)).code == "bad-request"
