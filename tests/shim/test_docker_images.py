"""Images are listed and removed, on an engine that only these tests use."""

from __future__ import annotations

import pytest

from functions.domain.instance.spec import DropletImage, removable_references
from shim.contract import messages, routes
from tests.shim.droplet import Droplet, Registry, busybox_image
from tests.shim.own_engine import OwnEngine

pytestmark = pytest.mark.docker


def listed(droplet: Droplet) -> list[messages.ListedImage]:
    return messages.read(messages.Images, droplet.caller.call(routes.IMAGES).body).images


def removed(droplet: Droplet, *references: str) -> messages.RemovedImages:
    answer = droplet.caller.call(routes.REMOVE_IMAGES, message=messages.RemoveImages(list(references)))
    assert answer.status == 200, answer.body
    return messages.read(messages.RemovedImages, answer.body)


def test_listed_images_are_removed_unless_a_container_uses_them(own_engine: OwnEngine, own_droplet: Droplet) -> None:
    # Imported from the same file, the images have different ids and one layer each.
    used, stopped, unused = (next(busybox_image(own_engine.url)) for _ in range(3))
    docker, (repository, _) = own_droplet.docker, unused.split(":")
    docker.tag(unused, repository, "another-name")
    running = own_droplet.make(used, "sleep", "600")
    theirs = docker.create_container_from_config({"Image": stopped, "Cmd": ["true"]}, "theirs")["Id"]  # type: ignore[no-untyped-call]
    found = {reference: image.used for image in listed(own_droplet) for reference in image.references}
    assert found.items() >= {used: True, stopped: True, unused: False, f"{repository}:another-name": False}.items()
    answer = removed(own_droplet, used, stopped, unused, f"{repository}:another-name", "never-pulled:1")
    assert sorted(answer.removed) == sorted([unused, f"{repository}:another-name"])
    assert answer.freed_bytes > 500_000
    assert removed(own_droplet, unused) == messages.RemovedImages([], 0)
    own_droplet.caller.perform(routes.REMOVE, running.name)
    docker.remove_container(theirs)
    assert sorted(removed(own_droplet, used, stopped).removed) == sorted([used, stopped])


def test_image_with_another_name_left_frees_nothing(own_engine: OwnEngine, own_droplet: Droplet) -> None:
    image = next(busybox_image(own_engine.url))
    own_droplet.docker.tag(image, image.split(":")[0], "2")
    assert removed(own_droplet, image) == messages.RemovedImages([image], 0)
    own_droplet.docker.remove_image(image.split(":")[0] + ":2")


def test_functions_remove_what_was_pulled_and_no_instance_names(
    own_engine: OwnEngine, own_droplet: Droplet, registry: Registry
) -> None:
    images = [next(busybox_image(own_engine.url)) for _ in range(3)]
    imported, named, unused = (
        images[0],
        *(
            registry.push(own_droplet.docker, image, name)
            for image, name in zip(images[1:], ("named", "unused"), strict=True)
        ),
    )
    for reference in (named, unused):
        own_droplet.docker.pull(reference)
    on_droplet = [DropletImage(image.references, image.used) for image in listed(own_droplet)]
    references = removable_references(on_droplet, [named])
    assert unused in references and {named, imported}.isdisjoint(references)
    assert unused in removed(own_droplet, *references).removed
    left = {reference for image in listed(own_droplet) for reference in image.references}
    assert unused not in left and {named, imported} <= left


def test_reference_that_is_no_image_removes_nothing(own_engine: OwnEngine, own_droplet: Droplet) -> None:
    image = next(busybox_image(own_engine.url))
    answer = own_droplet.caller.call(routes.REMOVE_IMAGES, message=messages.RemoveImages([image, "a b"]))
    assert (answer.status, answer.code) == (400, "bad-request")
    assert image in {reference for entry in listed(own_droplet) for reference in entry.references}
