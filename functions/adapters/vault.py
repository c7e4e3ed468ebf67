"""Secrets sealed by envelope: a data key of their own opens the values, and a key-encryption key wraps that.

AES-256-GCM for both. What they are bound to is authenticated with them, so that what is sealed for one instance
opens for no other. https://cloud.google.com/kms/docs/envelope-encryption
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from functions.domain.errors import Misconfigured, SecretsUnreadable
from functions.domain.secrets import Sealed

KEY_BYTES = 32
NONCE_BYTES = 12


class KeyVault:
    """`keys` are key-encryption keys by name: the first seals, all of them open."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = {name: AESGCM(key) for name, key in keys.items()}
        self._sealing = next(iter(keys))

    def seal(self, values: Mapping[str, str], bound_to: str) -> Sealed:
        data_key = AESGCM.generate_key(KEY_BYTES * 8)
        content = json.dumps(dict(values)).encode()
        wrapped = _encrypt(self._keys[self._sealing], data_key, f"{self._sealing}\n{bound_to}")
        return Sealed(sorted(values), self._sealing, wrapped, _encrypt(AESGCM(data_key), content, bound_to))

    def open(self, sealed: Sealed, bound_to: str) -> dict[str, str]:
        key = self._keys.get(sealed.key)
        if key is None:
            raise SecretsUnreadable(f"the key {sealed.key!r} that seals these secrets is not configured")
        try:
            data_key = _decrypt(key, sealed.data_key, f"{sealed.key}\n{bound_to}")
            content = _decrypt(AESGCM(data_key), sealed.values, bound_to)
        except (InvalidTag, ValueError) as error:
            raise SecretsUnreadable("these secrets are not what was sealed here") from error
        return dict(json.loads(content))


class NoVault:
    """For a function that is not given the keys, and has no business with secrets."""

    def seal(self, values: Mapping[str, str], bound_to: str) -> Sealed:
        raise Misconfigured("this function cannot seal secrets")

    def open(self, sealed: Sealed, bound_to: str) -> dict[str, str]:
        raise Misconfigured("this function cannot open secrets")


def _encrypt(key: AESGCM, content: bytes, bound_to: str) -> str:
    nonce = os.urandom(NONCE_BYTES)
    return base64.b64encode(nonce + key.encrypt(nonce, content, bound_to.encode())).decode()


def _decrypt(key: AESGCM, text: str, bound_to: str) -> bytes:
    content = base64.b64decode(text, validate=True)
    return key.decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], bound_to.encode())
