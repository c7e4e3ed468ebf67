"""From the start of a function's process to its first answer, beside a bare function of functions-framework.

    tests/bench/run cold
    python -m tests.bench.cold --rounds 5 --store firestore

The first request carries no token, and is refused without a look at the store. The second is an authenticated one that
reads the store, where the function has one. Both times count from the start of the process. The functions and their
peer take turns; ratios are of medians. Then the packages whose import takes longest, by `python -X importtime`.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from functions.adapters.settings import REQUIRED
from functions.lifecycle.dependencies import Create
from functions.lifecycle.repository import toolbox_ref
from tests.adapters.emulators import free_port
from tests.bench.functions import backends, toolboxes
from tests.bench.functions.served import ROOT, SERVICE_EMAIL, ServedFunction, environment
from tests.fakes.issuer import Issuer
from tests.fakes.stored import encode

ROUNDS = 3
BARE = "bare"
SHOWN_PACKAGES = 12
ACCOUNT = "account-0"
PUSH = {"message": {"data": base64.b64encode(json.dumps({"kind": "toolbox", "id": "1"}).encode()).decode()}}
BOX = toolboxes.toolbox_id(0)
# The path of each function's requests, and what the authenticated one is answered with; None: there is no such one.
PATHS: dict[str, tuple[str, str, int | None]] = {
    "toolboxes_user": ("GET", "/toolboxes-user/", 200),
    "toolbox_tools": ("GET", f"/toolbox-tools/{BOX}/tools", 200),
    "toolbox_dtma_console": ("GET", f"/toolbox-dtma-console/{BOX}", None),
    "converge": ("POST", "/", 204),
    "webhooks": ("POST", "/webhooks/backend", None),
    "sweep": ("POST", "/", 200),
    "enrol": ("POST", "/", None),
    "notify": ("POST", "/", None),
    "digitalocean_options": ("GET", "/nothing", None),
}


@dataclass
class Boots:
    """Of each boot: seconds to the first and the second answer, CPU seconds until then, memory in MiB."""

    first: list[float] = field(default_factory=list)
    first_cpu: list[float] = field(default_factory=list)
    second: list[float] = field(default_factory=list)
    second_cpu: list[float] = field(default_factory=list)
    mebibytes: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--store", choices=backends.STORES, default="sqlite")
    options = parser.parse_args(arguments)
    issuer = Issuer()
    with tempfile.TemporaryDirectory() as made, backends.backends(options.store, Path(made)) as used:
        toolbox = toolboxes.toolbox(0, ["0" * 64] * toolboxes.CERTIFICATES, datetime.now(UTC))
        used.store.commit([Create(toolbox_ref(toolbox.id), encode(toolbox))])
        settings = {target: environment(target, used.environment, issuer.settings) for target in REQUIRED}
        boots = {target: Boots() for target in (BARE, *REQUIRED)}
        for _ in range(options.rounds):
            for target in boots:
                _boot(target, settings.get(target, settings["sweep"]), issuer, Path(made), boots[target])
        _print(boots, options.store)
        _print_imports(settings["toolbox_tools"] | {"FUNCTION_TARGET": "toolbox_tools"})
    issuer.close()


def _boot(target: str, settings: Mapping[str, str], issuer: Issuer, directory: Path, boots: Boots) -> None:
    began = time.monotonic()
    source = "" if target in REQUIRED else "tests/bench/functions/bare.py"
    served = ServedFunction(target, settings, free_port(), directory / f"{target}.log", source)
    try:
        served.wait()
        boots.first.append(time.monotonic() - began)
        boots.first_cpu.append(served.cpu_seconds())
        expected = PATHS[target][2] if target in PATHS else None
        if expected:
            _authenticated(target, served, issuer, expected)
            boots.second.append(time.monotonic() - began)
            boots.second_cpu.append(served.cpu_seconds())
        boots.mebibytes.append(served.mebibytes())
    finally:
        served.end()


def _authenticated(target: str, served: ServedFunction, issuer: Issuer, expected: int) -> None:
    method, path, _ = PATHS[target]
    service = target in ("converge", "sweep")
    claims: dict[str, Any] = {"email": SERVICE_EMAIL, "email_verified": True} if service else {}
    headers = {"Authorization": f"Bearer {issuer.token(ACCOUNT, **claims)}"}
    body = PUSH if target == "converge" else None
    answer = requests.request(method, served.url + path, headers=headers, json=body, timeout=60)
    if answer.status_code != expected:
        raise RuntimeError(f"{target} answered {answer.status_code}: {answer.text[:300]}")


def _print(boots: Mapping[str, Boots], store: str) -> None:
    bare = boots[BARE]
    first, first_cpu = statistics.median(bare.first), statistics.median(bare.first_cpu)
    memory = statistics.median(bare.mebibytes)
    print(f"bare function: {first:.2f} s, {first_cpu:.2f} s of CPU, {memory:.0f} MiB")
    print(f"ratios to it, without the store, and with an authenticated read ({store}):")
    for target in REQUIRED:
        boot = boots[target]
        line = (
            f"  {target:21} {statistics.median(boot.first) / first:.2f} (CPU "
            f"{statistics.median(boot.first_cpu) / first_cpu:.2f})"
        )
        if boot.second:
            line += (
                f"   with a read {statistics.median(boot.second) / first:.2f} (CPU "
                f"{statistics.median(boot.second_cpu) / first_cpu:.2f})"
            )
        print(f"{line}   {statistics.median(boot.mebibytes):.0f} MiB, {statistics.median(boot.mebibytes) / memory:.2f}")


def _print_imports(settings: Mapping[str, str]) -> None:
    """The time in each package's own modules, in an import of functions/main.py, and how many modules there are."""
    code = "import runpy; runpy.run_path('functions/main.py', run_name='main')"
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        cwd=ROOT,
        env=dict(settings),
        capture_output=True,
        text=True,
        check=True,
    )
    own: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    for line in ran.stderr.splitlines():
        words = line.removeprefix("import time:").split("|")
        if len(words) == 3 and words[0].strip().isdigit():
            package = ".".join(words[2].strip().split(".")[: 2 if words[2].strip().startswith("functions") else 1])
            own[package] += int(words[0])
            modules[package] += 1
    total = sum(own.values())
    print(f"import of toolbox_tools: {total / 1000:.0f} ms, {sum(modules.values())} modules; of these")
    for package, microseconds in own.most_common(SHOWN_PACKAGES):
        print(f"  {package:22} {microseconds / 1000:6.1f} ms {microseconds / total:4.0%}   {modules[package]} modules")


if __name__ == "__main__":
    main(sys.argv[1:])
