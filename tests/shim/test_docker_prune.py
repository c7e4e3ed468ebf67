"""Pruning, on an engine that is this test's alone."""

from __future__ import annotations

import pytest

from shim.contract import messages, routes
from tests.shim.droplet import Droplet, busybox_image
from tests.shim.own_engine import OwnEngine

pytestmark = pytest.mark.docker


def pruned(droplet: Droplet, *keep: str) -> messages.Pruned:
    answer = droplet.caller.call(routes.PRUNE, message=messages.Prune(list(keep)))
    assert answer.status == 200, answer.body
    return messages.read(messages.Pruned, answer.body)


def test_images_that_nothing_uses_or_names_are_removed_and_no_others(
    own_engine: OwnEngine, own_droplet: Droplet
) -> None:
    # What other tests left.
    pruned(own_droplet)
    made = [busybox_image(own_engine.url) for _ in range(4)]
    used, stopped, kept, unused = (next(one) for one in made)
    docker = own_droplet.docker
    repository, _ = unused.split(":")
    docker.tag(unused, repository, "another-name")
    # Imported from the same file, they are one layer each and an image of their own.
    running = own_droplet.make(used, "sleep", "600")
    theirs = docker.create_container_from_config({"Image": stopped, "Cmd": ["true"]}, "theirs")["Id"]  # type: ignore[no-untyped-call]
    answer = pruned(own_droplet, kept, "never-pulled:1")
    assert sorted(answer.removed) == sorted([unused, f"{repository}:another-name"])
    assert answer.freed_bytes > 500_000
    assert {tag for image in docker.images() for tag in image["RepoTags"]} == {used, stopped, kept}
    assert pruned(own_droplet, kept) == messages.Pruned([], 0)
    own_droplet.caller.acted(routes.REMOVE, running.name)
    docker.remove_container(theirs)
    assert sorted(pruned(own_droplet, kept).removed) == sorted([used, stopped])


def test_a_name_that_is_none_prunes_nothing(own_droplet: Droplet, own_engine: OwnEngine) -> None:
    image = next(busybox_image(own_engine.url))
    answer = own_droplet.caller.call(routes.PRUNE, message=messages.Prune(["a b"]))
    assert (answer.status, answer.code) == (400, "bad-request")
    assert [image] in [found["RepoTags"] for found in own_droplet.docker.images()]
