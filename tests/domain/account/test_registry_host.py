"""The registry of an image: by the rule of https://github.com/distribution/reference, splitDockerDomain."""

import pytest

from functions.domain.account.model import registry_host


@pytest.mark.parametrize(
    ("image", "host"),
    [
        ("server", "docker.io"),
        ("server:5000", "docker.io"),
        ("team/server", "docker.io"),
        ("docker.io/team/server", "docker.io"),
        ("index.docker.io/team/server", "docker.io"),
        ("Foo/server", "foo"),
        ("LOCALHOST/server", "localhost"),
        ("localhost/server", "localhost"),
        ("Registry.Example/server", "registry.example"),
        ("registry:5000/server", "registry:5000"),
        ("[::1]:5000/server", "[::1]:5000"),
        ("registry_1:5000/server", "registry_1:5000"),
        ("a.b-/server", "a.b-"),
    ],
)
def test_the_first_part_of_an_image_is_a_host_where_the_engine_takes_it_for_one(image: str, host: str) -> None:
    assert registry_host(image) == host
