"""Imports point down only, and each SDK is imported in one place. The README draws the same picture."""

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Which modules of the project a module below a folder may import.
CONTRACT = "shim.contract"
# The domain and the lifecycle have types of their own; adapters convert them to the contract's messages.
NAMES = ["shim.contract.names", "shim.contract.errors"]
ALLOWED = {
    "functions/domain": ["functions.domain", *NAMES],
    "functions/lifecycle": ["functions.domain", "functions.lifecycle", *NAMES],
    "functions/web": ["functions.domain", "functions.lifecycle", "functions.web", CONTRACT],
    # Adapters know of the lifecycle only the interfaces that they implement.
    "functions/adapters": ["functions.domain", "functions.adapters", "functions.lifecycle.dependencies", CONTRACT],
    "functions/main.py": ["functions"],
    "shim/contract": [CONTRACT],
    "shim": ["shim"],
}
# The files that may import an SDK.
ONLY_IN = {
    "docker": "shim/docker.py",
    "google.cloud.firestore": "functions/adapters/store_firestore.py",
    "google.cloud.pubsub": "functions/adapters/queue_pubsub.py",
    "flask": ("functions/web", "functions/main.py", "shim/app.py", "shim/__main__.py"),
    # docker-py raises the errors of requests when the engine's socket fails.
    "requests": "shim/docker.py",
    "sqlite3": "functions/adapters/sqlite.py",
    "pydo": "functions/adapters/digitalocean.py",
    "azure": "functions/adapters/digitalocean.py",
    "cryptography.hazmat.primitives.ciphers": "functions/adapters/vault.py",
}
IMPURE = ("os", "time", "random", "logging", "uuid", "socket", "subprocess")


def modules() -> list[str]:
    return sorted(str(p.relative_to(ROOT)) for top in ("functions", "shim") for p in (ROOT / top).rglob("*.py"))


def imported(path: str) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def below(name: str, tops: str | Sequence[str], separator: str = ".") -> bool:
    places = [tops] if isinstance(tops, str) else tops
    return any(name == top or name.startswith(top + separator) for top in places)


@pytest.mark.parametrize("path", modules())
def test_a_module_imports_only_lower_layers(path: str) -> None:
    allowed = (
        next(names for place, names in ALLOWED.items() if below(path, place, "/")) if "/__init__" not in path else []
    )
    for name in imported(path):
        if below(name, ("functions", "shim", "infra", "tests")):
            assert below(name, allowed), f"{path} imports {name}"


@pytest.mark.parametrize("path", modules())
def test_an_sdk_is_imported_only_where_it_belongs(path: str) -> None:
    for name in imported(path):
        for sdk, places in ONLY_IN.items():
            if below(name, sdk):
                assert below(path, places, "/"), f"{path} imports {name}"


@pytest.mark.parametrize("path", [path for path in modules() if path.startswith("functions/domain/")])
def test_the_domain_has_no_clock_no_environment_and_no_logging(path: str) -> None:
    assert not [name for name in imported(path) if below(name, IMPURE)]


@pytest.mark.parametrize("module", ("names", "errors", "routes", "messages", "wire"))
def test_the_contract_needs_the_standard_library_alone(module: str) -> None:
    for name in imported(f"shim/contract/{module}.py"):
        assert name.partition(".")[0] in {*sys.stdlib_module_names, "shim"}
