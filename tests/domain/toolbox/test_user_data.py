"""A droplet's user-data holds the values of its configuration in their places, and no secret that works twice."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from functions.domain.errors import Misconfigured
from functions.domain.toolbox.droplet import MAX_BYTES, UserData, render
from shim.contract import tokens

TEMPLATE = (Path(__file__).parents[3] / "infra/cloud-init.yaml").read_text()
# Longer than words of English, of paths and of options: what a key or a token could be.
OPAQUE = re.compile(r"[A-Za-z0-9+=_-]{20,}")


def public_key() -> tuple[str, str]:
    key = Ed25519PrivateKey.generate().public_key()
    return tokens.kid(key), base64.urlsafe_b64encode(key.public_bytes_raw()).decode().rstrip("=")


VALUES = UserData(
    toolbox_id="0a1b2c3d-0000-4000-8000-000000000001",
    enrol_url="https://functions.example/enrol",
    notify_url="https://functions.example/notify",
    enrolment_token="tOkEn" * 8,
    control_keys=dict(public_key() for _ in range(2)),
    shim_image=f"registry.example:5000/toolboxes/shim@sha256:{'0123456789abcdef' * 4}",
    swap_mib=2048,
)


def files(rendered: str) -> dict[str, dict[str, Any]]:
    return {file["path"]: file for file in yaml.safe_load(rendered)["write_files"]}


def test_shim_configuration_holds_exactly_the_given_values() -> None:
    file = files(render(TEMPLATE, VALUES))["/etc/toolboxes/shim.json"]
    assert file["permissions"] == "0600"
    assert json.loads(file["content"]) == {
        "toolbox_id": VALUES.toolbox_id,
        "control_keys": VALUES.control_keys,
        "enrol_url": VALUES.enrol_url,
        "notify_url": VALUES.notify_url,
        "enrolment_token": VALUES.enrolment_token,
        "shim_repository": "registry.example:5000/toolboxes/shim",
    }


def test_enrolment_token_is_the_only_secret() -> None:
    """The template is public; every opaque word that rendering adds to it must be a public value or the token."""
    words = set(OPAQUE.findall(render(TEMPLATE, VALUES))) - set(OPAQUE.findall(TEMPLATE))
    public = {VALUES.toolbox_id, *VALUES.control_keys.values(), VALUES.shim_image[-64:]}
    assert words == public | {VALUES.enrolment_token}


@pytest.mark.parametrize("swap_mib", [0, 1024])
def test_swap_file_has_the_configured_size(swap_mib: int) -> None:
    rendered = yaml.safe_load(render(TEMPLATE, replace(VALUES, swap_mib=swap_mib)))
    assert rendered["swap"] == {"filename": "/swapfile", "size": f"{swap_mib}M"}


def test_installer_names_the_shim_by_digest_and_keeps_its_own_variables() -> None:
    script = files(render(TEMPLATE, VALUES))["/usr/local/sbin/toolboxes-install"]["content"]
    assert script.startswith("#!/bin/sh\n")
    assert script.count(VALUES.shim_image) == 2
    assert '--yes --no-install-recommends "$@"' in script
    assert "--restart always --network host" in script


@pytest.mark.parametrize(
    "value", ['"}\n  - path: /etc/passwd', "a: b # c", "$shim_image ${swap_mib} $$", "ü\u2028\x85", "{{ v1.region }}"]
)
def test_value_cannot_break_out_of_its_place(value: str) -> None:
    hostile = replace(VALUES, toolbox_id=value, enrol_url=value, notify_url=value, enrolment_token=value)
    rendered = render(TEMPLATE, hostile)
    assert files(rendered).keys() == files(render(TEMPLATE, VALUES)).keys()
    assert json.loads(files(rendered)["/etc/toolboxes/shim.json"]["content"])["enrolment_token"] == value


@pytest.mark.parametrize("image", ["shim:latest", "shim", "", f"shim@sha256:{'a' * 63}", f"a;b@sha256:{'a' * 64}"])
def test_image_without_a_digest_is_refused(image: str) -> None:
    with pytest.raises(Misconfigured, match="digest"):
        render(TEMPLATE, replace(VALUES, shim_image=image))


def test_user_data_beyond_digitaloceans_limit_is_refused() -> None:
    keys = dict(public_key() for _ in range(200))
    assert len(render(TEMPLATE, replace(VALUES, control_keys=keys))) < MAX_BYTES
    with pytest.raises(Misconfigured, match="more than"):
        render(TEMPLATE, replace(VALUES, enrol_url="https://" + "a" * MAX_BYTES))


def test_user_data_is_ascii_so_that_characters_are_bytes() -> None:
    assert render(TEMPLATE, replace(VALUES, enrol_url="https://exämple")).isascii()
