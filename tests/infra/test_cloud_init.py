"""The user-data of droplets is validated by cloud-init itself, of the release that droplets have."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from functions.domain.toolbox.droplet import render
from infra.local import engine, images
from tests.domain.toolbox.test_user_data import TEMPLATE, VALUES

pytestmark = pytest.mark.docker


def validate(user_data: str) -> subprocess.CompletedProcess[str]:
    words = [
        engine.CLIENT, f"--host=unix://{engine.SOCKET}", "run", "--rm", "--interactive", images.DROPLET.reference,
        "sh", "-c", "cat >/user-data && cloud-init schema --config-file /user-data",
    ]  # fmt: skip
    return subprocess.run(words, input=user_data, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("swap_mib", [0, 2048])
def test_user_data_is_valid_by_the_schema_of_cloud_init(swap_mib: int) -> None:
    done = validate(render(TEMPLATE, replace(VALUES, swap_mib=swap_mib)))
    assert done.returncode == 0, done.stdout + done.stderr


def test_invalid_user_data_is_refused_with_the_wrong_key() -> None:
    done = validate(render(TEMPLATE.replace("permissions:", "permission:"), VALUES))
    assert done.returncode == 1
    assert "permission" in done.stdout + done.stderr
