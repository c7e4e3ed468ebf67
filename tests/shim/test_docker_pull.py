"""A real engine pulls from a real registry."""

from __future__ import annotations

import pytest

from shim.contract import messages, routes
from tests.shim.droplet import Droplet, Registry, busybox_image, create, free_port

pytestmark = pytest.mark.docker


def pulled(droplet: Droplet, image: str, *credentials: str) -> list[messages.PullLine]:
    known = messages.Credentials(*credentials) if credentials else None
    answer = droplet.caller.call(routes.PULL, message=messages.Pull(image, known))
    if answer.status != 200:
        return [messages.PullLine(error=answer.json["error"])]
    return [messages.read(messages.PullLine, line) for line in answer.body.splitlines()]


def test_pull_ends_with_the_inspected_image(droplet: Droplet, registry: Registry, busybox: str) -> None:
    reference = registry.push(droplet.docker, busybox, "some/probe")
    last = pulled(droplet, reference)[-1].image
    try:
        inspected = droplet.docker.inspect_image(reference)  # type: ignore[no-untyped-call]
        assert last and last.id == inspected["Id"] and f"{reference[:-2]}@{last.digest}" in inspected["RepoDigests"]
        made = droplet.caller.perform(routes.CREATE, message=create(reference, "true")).container
        assert made and made.image_digest == last.digest and made.image == reference
        by_digest = f"{reference}@{last.digest}"
        assert pulled(droplet, by_digest)[-1].image == last
        droplet.caller.perform(routes.REMOVE, made.name)
    finally:
        droplet.docker.remove_image(reference, force=True)


def test_missing_image_has_the_registrys_message(droplet: Droplet, registry: Registry, busybox: str) -> None:
    registry.push(droplet.docker, busybox, "some/probe")
    for image in (f"127.0.0.1:{registry.port}/some/probe:2", f"127.0.0.1:{registry.port}/some/other:1"):
        error = pulled(droplet, image)[-1].error
        assert error and error["code"] == "image-unavailable" and "manifest unknown" in error["message"]


def test_registry_that_is_down_is_registry_unreachable(droplet: Droplet) -> None:
    error = pulled(droplet, f"127.0.0.1:{free_port()}/some/probe:1")[-1].error
    assert error and error["code"] == "registry-unreachable" and "connection refused" in error["message"]


def test_credentials_are_used_for_one_pull_only(
    droplet: Droplet, closed_registry: Registry, busybox: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    reference = closed_registry.push(droplet.docker, busybox, "some/secret", {"username": "u", "password": "s3cret"})
    for wrong in ((), ("u", "wrong"), ("another", "s3cret")):
        error = pulled(droplet, reference, *wrong)[-1].error
        assert error and error["code"] == "image-denied" and "wrong" not in error["message"]
    assert pulled(droplet, reference, "u", "s3cret")[-1].image
    droplet.docker.remove_image(reference)
    error = pulled(droplet, reference)[-1].error
    assert error and error["code"] == "image-denied"
    assert "s3cret" not in caplog.text


def test_image_for_another_platform_is_wrong_platform(droplet: Droplet, registry: Registry, busybox: str) -> None:
    registry.push(droplet.docker, busybox, "some/probe")
    reference = registry.push_for_architecture("some/probe", "s390x")
    error = pulled(droplet, reference)[-1].error
    assert error and error["code"] == "wrong-platform"
    assert droplet.caller.call(routes.CREATE, message=create(reference, "true")).code == "wrong-platform"
    droplet.docker.remove_image(reference)


def test_full_disk_is_disk_full_and_containers_keep_running(
    small_droplet: Droplet, registry: Registry, droplet: Droplet, engine_socket: str
) -> None:
    large = busybox_image(engine_socket, ballast=40 << 20)
    reference = registry.push(droplet.docker, next(large), "some/large")
    next(large, None)
    small = next(busybox_image(small_droplet.url))
    made = small_droplet.make(small, "sleep", "600")
    error = pulled(small_droplet, reference)[-1].error
    assert error and error["code"] == "disk-full"
    found = small_droplet.caller.perform(routes.INSPECT, made.name).container
    assert found and found.state == "running"
    assert small_droplet.caller.perform(routes.STOP, made.name, messages.Stop(1)).changed
