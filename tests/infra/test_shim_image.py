"""The shim is published as one image for every architecture, and known by the digest of the list of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from infra.deploy.publication import ARCHITECTURES, NotPublished, Publication, tag_of
from infra.deploy.shim_image import publish
from infra.local import engine, images, registry
from shim.engine import Engine
from shim.images import Images

REPOSITORY = "registry.example/acme/toolboxes-shim"
PUBLICATION = Publication(REPOSITORY, tag_of("1.0.0", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)))
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


def listed(*platforms: str) -> str:
    pairs = [platform.split("/") for platform in platforms]
    return json.dumps({"manifests": [{"platform": {"os": system, "architecture": one}} for system, one in pairs]})


def test_an_image_for_each_architecture_is_pushed_before_the_list_of_both() -> None:
    name = f"{REPOSITORY}:1.0.0-20260102-030405"
    assert PUBLICATION.commands() == [
        ("push", f"{name}-amd64"),
        ("push", f"{name}-arm64"),
        ("manifest", "create", name, f"{name}-amd64", f"{name}-arm64"),
        ("manifest", "push", "--purge", name),
    ]


@pytest.mark.parametrize(("architecture", "other"), [("amd64", "arm64"), ("arm64", "amd64")])
def test_each_is_built_for_its_own_architecture_on_a_debian_of_it(architecture: str, other: str) -> None:
    built = images.shim(architecture, REPOSITORY, PUBLICATION.part(architecture))
    words = built.words("none")
    assert words[words.index("--platform") + 1] == f"linux/{architecture}"
    assert f"BASE={images.debian(architecture).reference}" in words
    assert images.debian(architecture).reference != images.debian(other).reference
    assert f"{REPOSITORY}:{PUBLICATION.part(architecture)}" in words


def test_what_is_told_is_the_lists_digest_and_nothing_else() -> None:
    digest = f"sha256:{'1' * 64}"
    assert PUBLICATION.reference(digest) == f"{REPOSITORY}@{digest}"
    for said in ("", "denied", digest[:-1], f"Pushed {digest}"):
        with pytest.raises(NotPublished):
            PUBLICATION.reference(said)


def test_what_was_read_back_holds_each_architecture_once() -> None:
    PUBLICATION.check(listed("linux/arm64", "linux/amd64"))
    for said in (listed("linux/amd64"), listed("linux/amd64", "linux/amd64"), listed("linux/amd64", "windows/arm64")):
        with pytest.raises(NotPublished):
            PUBLICATION.check(said)
    with pytest.raises(NotPublished):
        PUBLICATION.check(json.dumps({"config": {}}))


@pytest.mark.parametrize(
    "repository", ["", "host/shim:1", f"host/shim@sha256:{'0' * 64}", "host/Shim", "--help", "a b"]
)
def test_what_the_setting_would_not_take_is_not_published(repository: str) -> None:
    with pytest.raises(ValueError, match="no repository"):
        Publication(repository, "1")


def test_only_the_local_registry_is_spoken_to_without_tls() -> None:
    local = Publication(f"{registry.ADDRESS}/shim", "1")
    assert "--insecure" in local.look(f"{local.repository}@none")
    assert not [words for words in PUBLICATION.commands() if "--insecure" in words]
    assert not [words for words in Publication(f"{registry.ADDRESS}0/shim", "1").commands() if "--insecure" in words]


@pytest.fixture
def publication(tmp_path: Path) -> Iterator[Publication]:
    """Its images are built, as small as any."""
    made = Publication(f"{registry.ADDRESS}/test-of-a-list", tag_of("1", datetime.now(UTC)))
    names = {one: f"{made.repository}:{made.part(one)}" for one in ARCHITECTURES}
    for architecture, name in names.items():
        (tmp_path / "Dockerfile").write_text(f"FROM scratch\nCOPY Dockerfile /{architecture}\n")
        engine.docker("build", "--platform", f"linux/{architecture}", "--tag", name, tmp_path)
    yield made
    for name in names.values():
        engine.docker("image", "rm", "--force", name)


@pytest.mark.docker
def test_what_is_published_is_one_list_by_whose_digest_an_engine_pulls_its_own_image(publication: Publication) -> None:
    reference = publish(publication)
    name, digest = reference.split("@")
    manifests = f"http://{registry.ADDRESS}/v2/{name.partition('/')[2]}/manifests"
    answer = requests.get(f"{manifests}/{digest}", headers={"Accept": LIST}, timeout=10)
    assert answer.headers["Content-Type"] == LIST
    assert f"sha256:{hashlib.sha256(answer.content).hexdigest()}" == digest
    parts = {one["platform"]["architecture"]: one["digest"] for one in answer.json()["manifests"]}
    assert {*parts} == {*ARCHITECTURES}

    engine.docker("image", "rm", *(f"{name}:{publication.part(one)}" for one in ARCHITECTURES))
    engine.docker("pull", reference)
    try:
        # As a shim sees it before it is replaced by it.
        assert Images(Engine(f"unix://{engine.SOCKET}")).inspect(reference).digest == digest
    finally:
        engine.docker("image", "rm", reference)
