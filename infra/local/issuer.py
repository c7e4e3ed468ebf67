"""The local issuer: signs callers' and services' tokens with a key that each world makes once.

The functions verify its tokens as they would any issuer's, by the keys at `jwks_url`. As a program it prints an
hour's token for the account that is named: `python -m infra.local.issuer ACCOUNT [--admin]`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from infra.local import secret, world
from infra.local.world import World

ALGORITHM = "RS256"
CALLER_AUDIENCE = "authenticated"
SERVICE_AUDIENCE = "toolboxes-services"
SERVICE_EMAIL = f"toolboxes-services@{world.PROJECT}.iam.gserviceaccount.com"
ADMIN_CLAIM, ADMIN_VALUE = "app_metadata.role", "admin"
HOUR = 3600


class Issuer:
    """One world's issuer."""

    def __init__(self, of: World) -> None:
        self.url = f"{of.gateway}/issuer"
        self.jwks_url = f"{self.url}/jwks.json"
        key = secret.private_key(of.directory / "issuer.pem", lambda: rsa.generate_private_key(65537, 2048))
        assert isinstance(key, rsa.RSAPrivateKey)
        self._key = key

    def token(self, account: str, seconds: int = HOUR, *, admin: bool = False) -> str:
        """A caller's token; already expired where `seconds` is negative."""
        told = {"app_metadata": {"role": ADMIN_VALUE}} if admin else {}
        return self._signed({"sub": account, "aud": CALLER_AUDIENCE, "role": "authenticated"} | told, seconds)

    def service_token(self) -> str:
        """The platform's own identity token, as its scheduler and its Pub/Sub would carry it."""
        claims = {"sub": SERVICE_EMAIL, "aud": SERVICE_AUDIENCE, "email": SERVICE_EMAIL, "email_verified": True}
        return self._signed(claims, HOUR)

    def jwks(self) -> str:
        """The public key, as JSON."""
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        return json.dumps({"keys": [public | {"kid": self._kid, "alg": ALGORITHM, "use": "sig"}]})

    @property
    def _kid(self) -> str:
        return hashlib.sha256(str(self._key.public_key().public_numbers().n).encode()).hexdigest()[:16]

    def _signed(self, claims: dict[str, object], seconds: int) -> str:
        now = int(time.time())
        times = {"iss": self.url, "iat": now, "exp": now + seconds}
        return jwt.encode(claims | times, self._key, ALGORITHM, headers={"kid": self._kid})


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[2:] not in ([], ["--admin"]):
        sys.exit("Usage: infra/local/token ACCOUNT [--admin]")
    print(Issuer(world.current()).token(sys.argv[1], admin=len(sys.argv) == 3))


if __name__ == "__main__":
    main()
