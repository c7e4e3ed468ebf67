"""cloud-init itself, of the release that droplets have, judges the user-data that they get."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from functions.domain.toolbox.user_data import render
from infra.local import engine, images
from tests.domain.test_user_data import TEMPLATE, VALUES

pytestmark = pytest.mark.docker


def judged(user_data: str) -> subprocess.CompletedProcess[str]:
    words = [
        engine.CLIENT, f"--host=unix://{engine.SOCKET}", "run", "--rm", "--interactive", images.DROPLET.reference,
        "sh", "-c", "cat >/user-data && cloud-init schema --config-file /user-data",
    ]  # fmt: skip
    return subprocess.run(words, input=user_data, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("swap_mib", [0, 2048])
def test_the_user_data_is_valid_by_its_schema(swap_mib: int) -> None:
    done = judged(render(TEMPLATE, replace(VALUES, swap_mib=swap_mib)))
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_not_valid_would_be_found() -> None:
    done = judged(render(TEMPLATE.replace("permissions:", "permission:"), VALUES))
    assert done.returncode == 1
    assert "permission" in done.stdout + done.stderr
