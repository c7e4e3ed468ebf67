"""The tag of an image reference, and which images can be removed from a droplet."""

from __future__ import annotations

import pytest

from functions.domain.instance.spec import DropletImage, image_tag, removable_references

DIGEST = "sha256:" + "1" * 64


def image(*references: str, used: bool = False) -> DropletImage:
    return DropletImage(list(references), used)


def test_pulled_image_that_nothing_needs_is_removed_by_all_its_references() -> None:
    unused = image("nginx:1", f"nginx@{DIGEST}")
    assert removable_references([unused], ["redis:7"]) == ["nginx:1", f"nginx@{DIGEST}"]


@pytest.mark.parametrize(
    "needed", ["nginx", "nginx:latest", "docker.io/library/nginx", "index.docker.io/library/nginx:latest",
              f"nginx@{DIGEST}", f"nginx:9@{DIGEST}"],
)  # fmt: skip
def test_image_that_an_instance_names_in_any_form_stays(needed: str) -> None:
    assert removable_references([image("nginx:latest", f"nginx@{DIGEST}")], [needed]) == []


def test_image_that_is_used_or_was_not_pulled_stays() -> None:
    assert removable_references([image("a:1", f"a@{DIGEST}", used=True), image("b:1"), image()], []) == []


def test_registry_with_a_port_is_not_a_tag() -> None:
    local = image("127.0.0.1:5000/a:1", f"127.0.0.1:5000/a@{DIGEST}")
    assert removable_references([local], ["127.0.0.1:5000/a:1"]) == []
    assert removable_references([local], ["127.0.0.1:5000/a"])


@pytest.mark.parametrize(
    ("image", "tag"),
    [("nginx", None), ("nginx:1.2", "1.2"), ("host:5000/a/b", None), ("host:5000/a/b:x@sha256:00", "x")],
)
def test_image_tag_is_what_follows_the_name(image: str, tag: str | None) -> None:
    assert image_tag(image) == tag
