"""Prints the value of CONTROL_KEYS, the public keys that shims accept, from files of private or public keys (PEM):

openssl genpkey -algorithm ed25519 -out command.pem
infra/local/bootstrap python -m infra.deploy.control_keys command.pem [OLD.pem...]
"""

from __future__ import annotations

import json
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from shim.contract import tokens


def control_keys(keys: Iterable[Ed25519PublicKey]) -> str:
    """The JSON object of the setting: the raw public keys in base64url, by key id."""
    return json.dumps({tokens.kid(key): urlsafe_b64encode(key.public_bytes_raw()).decode().rstrip("=") for key in keys})


def read(path: Path) -> Ed25519PublicKey:
    """The public key of a PEM file. Raises ValueError if the file holds no Ed25519 key."""
    pem = path.read_bytes()
    key = load_pem_private_key(pem, None) if b"PRIVATE" in pem else load_pem_public_key(pem)
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    if not isinstance(public, Ed25519PublicKey):
        raise ValueError(f"{path} holds no Ed25519 key. Make one with: openssl genpkey -algorithm ed25519")
    return public


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("Usage: python -m infra.deploy.control_keys KEY.pem...")
    print(control_keys(map(read, map(Path, sys.argv[1:]))))


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(str(error))
