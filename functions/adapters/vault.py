"""Encryption of secret values before they are stored, so that neither Firestore nor a backup of it can reveal them.

Envelope encryption (https://cloud.google.com/kms/docs/envelope-encryption): each set of values has a data key of its
own, and a key-encryption key from the settings encrypts the data key. A key-encryption key can so be replaced, and no
single key protects many values. Both use AES-256-GCM.

The associated data names the owner, such as the instance. It is authenticated with the values: ciphertext that somebody
copies from one document into another does not decrypt there.
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
# NIST SP 800-38D recommends 96 bits. A random nonce is safe, since each data key encrypts one message.
NONCE_BYTES = 12


class KeyVault:
    """Implements lifecycle.dependencies.Vault.

    `keys` are key-encryption keys of 32 bytes by their names. The first one encrypts; all of them decrypt, so that
    values sealed with an earlier key stay readable after a new key was put before it.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = {name: AESGCM(key) for name, key in keys.items()}
        self._sealing_key = next(iter(keys))

    def seal(self, values: Mapping[str, str], associated_data: str) -> Sealed:
        data_key = AESGCM.generate_key(KEY_BYTES * 8)
        plaintext = json.dumps(dict(values)).encode()
        # The key's name is authenticated too: a document cannot be made to name another key.
        encrypted_key = _encrypt(self._keys[self._sealing_key], data_key, f"{self._sealing_key}\n{associated_data}")
        encrypted_values = _encrypt(AESGCM(data_key), plaintext, associated_data)
        return Sealed(sorted(values), self._sealing_key, encrypted_key, encrypted_values)

    def open(self, sealed: Sealed, associated_data: str) -> dict[str, str]:
        key = self._keys.get(sealed.key)
        if key is None:
            raise SecretsUnreadable(
                f"The key {sealed.key!r} that encrypts these secrets is not in SECRET_KEYS. Add it after the first key."
            )
        try:
            data_key = _decrypt(key, sealed.data_key, f"{sealed.key}\n{associated_data}")
            plaintext = _decrypt(AESGCM(data_key), sealed.values, associated_data)
        except (InvalidTag, ValueError) as error:
            raise SecretsUnreadable(
                f"These secrets do not decrypt with the key {sealed.key!r}: SECRET_KEYS has another value under this "
                "name, or the stored secrets were changed. Restore the key, or set the secrets again."
            ) from error
        return dict(json.loads(plaintext))


class NoVault:
    """The vault of a function that handles no secrets and is therefore not given the keys."""

    def seal(self, values: Mapping[str, str], associated_data: str) -> Sealed:
        raise Misconfigured("This function cannot encrypt secrets: it has no SECRET_KEYS.")

    def open(self, sealed: Sealed, associated_data: str) -> dict[str, str]:
        raise Misconfigured("This function cannot decrypt secrets: it has no SECRET_KEYS.")


def _encrypt(key: AESGCM, plaintext: bytes, associated_data: str) -> str:
    nonce = os.urandom(NONCE_BYTES)
    return base64.b64encode(nonce + key.encrypt(nonce, plaintext, associated_data.encode())).decode()


def _decrypt(key: AESGCM, text: str, associated_data: str) -> bytes:
    ciphertext = base64.b64decode(text, validate=True)
    return key.decrypt(ciphertext[:NONCE_BYTES], ciphertext[NONCE_BYTES:], associated_data.encode())
