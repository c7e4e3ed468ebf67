"""The pinned requirements files are complete, consistent with each other, and free of this machine's settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra.local.world import CHECKOUT

LISTS = {
    "functions/requirements.in": "requirements.txt",
    "shim/requirements.in": "shim/requirements.txt",
    "tests/requirements.in": "tests/requirements.txt",
    "infra/local/requirements.in": "infra/local/requirements.txt",
}
HASH = r"    --hash=sha256:[0-9a-f]{64}(?: \\)?\n"
PIN = re.compile(rf"^([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+) \\\n((?:{HASH})+)", re.MULTILINE)


def normalized(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and hashes of each package."""
    text = (CHECKOUT / file).read_text()
    return {
        normalized(name): (version, frozenset(re.findall(r"sha256:\w+", hashes)))
        for name, version, hashes in PIN.findall(text)
    }


@pytest.mark.parametrize("file", LISTS.values())
def test_every_line_is_a_version_or_a_hash(file: str) -> None:
    rest = PIN.sub("", (CHECKOUT / file).read_text())
    assert [line for line in rest.splitlines() if not line.startswith("#")] == []
    assert not re.search(r"https?://|file:|--index|--extra-index|--find-links", (CHECKOUT / file).read_text())


@pytest.mark.parametrize(("source", "file"), LISTS.items())
def test_every_direct_dependency_is_pinned(source: str, file: str) -> None:
    lines = [line for line in (CHECKOUT / source).read_text().splitlines() if line and not line.startswith("#")]
    names = {normalized(re.split(r"[\[=<>~! ]", line, maxsplit=1)[0]) for line in lines}
    assert names, f"{source} lists nothing"
    assert names - pins(file).keys() == set(), "run infra/local/lock"


def test_a_package_has_the_same_version_and_hashes_in_every_file() -> None:
    first_pins: dict[str, tuple[str, tuple[str, frozenset[str]]]] = {}
    for file in LISTS.values():
        for name, pin in pins(file).items():
            first, known = first_pins.setdefault(name, (file, pin))
            assert pin == known, f"{name} differs between {first} and {file}; run infra/local/lock"


def test_every_requirements_file_is_one_that_bootstrap_installs() -> None:
    bootstrap = (CHECKOUT / "infra/local/bootstrap").read_text()
    [words] = re.findall(r'^requirements="([^"]*)"', bootstrap, re.MULTILINE)
    assert sorted(words.split()) == sorted(LISTS.values())
    ignored = {"node_modules", ".git"}
    present = {path.relative_to(CHECKOUT) for path in CHECKOUT.rglob("requirements.txt")}
    assert {path for path in present if not ignored & {*path.parts}} == set(map(Path, LISTS.values()))
