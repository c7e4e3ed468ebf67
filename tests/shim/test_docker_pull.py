"""Pulls from a real registry by a real engine."""

from __future__ import annotations

import pytest

from shim import messages, protocol
from tests.shim.droplet import Droplet, Registry, create, free_port

pytestmark = pytest.mark.docker


def pulled(droplet: Droplet, image: str) -> list[messages.PullLine]:
    answer = droplet.caller.call(protocol.PULL, message=messages.Pull(image))
    if answer.status != 200:
        return [messages.PullLine(error=answer.json["error"])]
    return [messages.read(messages.PullLine, line) for line in answer.body.splitlines()]


def test_a_pull_ends_with_the_image_as_inspected(droplet: Droplet, registry: Registry, busybox: str) -> None:
    reference = registry.push(droplet.docker, busybox, "some/probe")
    last = pulled(droplet, reference)[-1].image
    try:
        said = droplet.docker.inspect_image(reference)  # type: ignore[no-untyped-call]
        assert last and last.id == said["Id"] and f"{reference[:-2]}@{last.digest}" in said["RepoDigests"]
        made = droplet.caller.acted(protocol.CREATE, message=create(reference, "true")).container
        assert made and made.image_digest == last.digest and made.image == reference
        by_digest = f"{reference}@{last.digest}"
        assert pulled(droplet, by_digest)[-1].image == last
        droplet.caller.acted(protocol.REMOVE, made.name)
    finally:
        droplet.docker.remove_image(reference, force=True)


def test_an_image_that_does_not_exist_is_told_in_the_registrys_words(
    droplet: Droplet, registry: Registry, busybox: str
) -> None:
    registry.push(droplet.docker, busybox, "some/probe")
    for image in (f"127.0.0.1:{registry.port}/some/probe:2", f"127.0.0.1:{registry.port}/some/other:1"):
        error = pulled(droplet, image)[-1].error
        assert error and error["code"] == "image-unavailable" and "manifest unknown" in error["message"]


def test_a_registry_that_is_down_is_told_apart(droplet: Droplet) -> None:
    error = pulled(droplet, f"127.0.0.1:{free_port()}/some/probe:1")[-1].error
    assert error and error["code"] == "registry-unreachable" and "connection refused" in error["message"]
