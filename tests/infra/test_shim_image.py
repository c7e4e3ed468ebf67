"""The shim is published as one manifest list for all architectures and referred to by the digest of that list."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from infra.deploy.shim_image import ARCHITECTURES, NotPublished, Publication, publish, unique_tag
from infra.local import engine, images, registry
from shim.docker import Engine
from shim.images import Images

REPOSITORY = "registry.example/acme/toolboxes-shim"
PUBLICATION = Publication(REPOSITORY, unique_tag("1.0.0", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)))
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


def manifest_list(*platforms: str) -> str:
    pairs = [platform.split("/") for platform in platforms]
    items = [{"platform": {"os": system, "architecture": architecture}} for system, architecture in pairs]
    return json.dumps({"manifests": items})


def test_image_of_each_architecture_is_pushed_before_the_list() -> None:
    name = f"{REPOSITORY}:1.0.0-20260102-030405"
    assert PUBLICATION.commands() == [
        ("push", f"{name}-amd64"),
        ("push", f"{name}-arm64"),
        ("manifest", "create", name, f"{name}-amd64", f"{name}-arm64"),
        ("manifest", "push", "--purge", name),
    ]


@pytest.mark.parametrize(("architecture", "other"), [("amd64", "arm64"), ("arm64", "amd64")])
def test_each_image_is_built_on_a_debian_of_its_own_architecture(architecture: str, other: str) -> None:
    built = images.shim(architecture, REPOSITORY, PUBLICATION.architecture_tag(architecture))
    words = built.build_command("none")
    assert words[words.index("--platform") + 1] == f"linux/{architecture}"
    assert f"BASE={images.debian(architecture).reference}" in words
    assert images.debian(architecture).reference != images.debian(other).reference
    assert f"{REPOSITORY}:{PUBLICATION.architecture_tag(architecture)}" in words


def test_output_without_a_plain_digest_is_not_published() -> None:
    digest = f"sha256:{'1' * 64}"
    assert PUBLICATION.reference(digest) == f"{REPOSITORY}@{digest}"
    for output in ("", "denied", digest[:-1], f"Pushed {digest}"):
        with pytest.raises(NotPublished):
            PUBLICATION.reference(output)


def test_published_list_must_hold_each_architecture_once() -> None:
    PUBLICATION.check(manifest_list("linux/arm64", "linux/amd64"))
    for platforms in (["linux/amd64"], ["linux/amd64", "linux/amd64"], ["linux/amd64", "windows/arm64"]):
        with pytest.raises(NotPublished):
            PUBLICATION.check(manifest_list(*platforms))
    with pytest.raises(NotPublished):
        PUBLICATION.check(json.dumps({"config": {}}))


@pytest.mark.parametrize(
    "repository", ["", "host/shim:1", f"host/shim@sha256:{'0' * 64}", "host/Shim", "--help", "a b"]
)
def test_repository_that_shim_image_would_not_accept_raises_value_error(repository: str) -> None:
    with pytest.raises(ValueError, match="is not a repository"):
        Publication(repository, "1")


def test_only_the_local_registry_is_called_without_tls() -> None:
    local = Publication(f"{registry.ADDRESS}/shim", "1")
    assert "--insecure" in local.inspect_command(f"{local.repository}@none")
    assert not [words for words in PUBLICATION.commands() if "--insecure" in words]
    assert not [words for words in Publication(f"{registry.ADDRESS}0/shim", "1").commands() if "--insecure" in words]


@pytest.fixture
def publication(tmp_path: Path) -> Iterator[Publication]:
    """A publication whose images are built. Each of them holds a single file."""
    made = Publication(f"{registry.ADDRESS}/test-of-a-list", unique_tag("1", datetime.now(UTC)))
    names = {name: f"{made.repository}:{made.architecture_tag(name)}" for name in ARCHITECTURES}
    for architecture, name in names.items():
        (tmp_path / "Dockerfile").write_text(f"FROM scratch\nCOPY Dockerfile /{architecture}\n")
        engine.docker("build", "--platform", f"linux/{architecture}", "--tag", name, tmp_path)
    yield made
    for name in names.values():
        engine.docker("image", "rm", "--force", name)


@pytest.mark.docker
def test_engine_pulls_its_own_image_by_the_digest_of_the_published_list(publication: Publication) -> None:
    reference = publish(publication)
    name, digest = reference.split("@")
    manifests = f"http://{registry.ADDRESS}/v2/{name.partition('/')[2]}/manifests"
    answer = requests.get(f"{manifests}/{digest}", headers={"Accept": LIST}, timeout=10)
    assert answer.headers["Content-Type"] == LIST
    assert f"sha256:{hashlib.sha256(answer.content).hexdigest()}" == digest
    parts = {item["platform"]["architecture"]: item["digest"] for item in answer.json()["manifests"]}
    assert {*parts} == {*ARCHITECTURES}

    engine.docker("image", "rm", *(f"{name}:{publication.architecture_tag(part)}" for part in ARCHITECTURES))
    engine.docker("pull", reference)
    try:
        # The shim looks up the image of its successor in the same way.
        assert Images(Engine(f"unix://{engine.SOCKET}")).inspect(reference).digest == digest
    finally:
        engine.docker("image", "rm", reference)
