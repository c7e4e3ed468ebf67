"""The local issuer of JWTs: signs the tokens of callers and of the platform with a key that each world generates once.

The functions verify these tokens like those of any issuer, by the public keys at `jwks_url`. As a program it prints a
token for an account, valid for one hour: `python -m infra.local.issuer ACCOUNT [--admin]`.
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

    def __init__(self, world: World) -> None:
        self.url = f"{world.gateway}/issuer"
        self.jwks_url = f"{self.url}/jwks.json"
        key = secret.private_key(world.directory / "issuer.pem", lambda: rsa.generate_private_key(65537, 2048))
        assert isinstance(key, rsa.RSAPrivateKey)
        self._key = key

    def token(self, account: str, seconds: int = HOUR, *, admin: bool = False) -> str:
        """A caller's token that is valid for `seconds`; with a negative number it has expired already."""
        claims: dict[str, object] = {"sub": account, "aud": CALLER_AUDIENCE, "role": "authenticated"}
        if admin:
            claims["app_metadata"] = {"role": ADMIN_VALUE}
        return self._sign(claims, seconds)

    def service_token(self) -> str:
        """An identity token of the platform, as Cloud Scheduler and Pub/Sub push send it."""
        return self._sign(
            {"sub": SERVICE_EMAIL, "aud": SERVICE_AUDIENCE, "email": SERVICE_EMAIL, "email_verified": True}, HOUR
        )

    def jwks(self) -> str:
        """The JSON Web Key Set with the public key."""
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        return json.dumps({"keys": [public | {"kid": self._kid, "alg": ALGORITHM, "use": "sig"}]})

    @property
    def _kid(self) -> str:
        return hashlib.sha256(str(self._key.public_key().public_numbers().n).encode()).hexdigest()[:16]

    def _sign(self, claims: dict[str, object], seconds: int) -> str:
        now = int(time.time())
        times = {"iss": self.url, "iat": now, "exp": now + seconds}
        return jwt.encode(claims | times, self._key, ALGORITHM, headers={"kid": self._kid})


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[2:] not in ([], ["--admin"]):
        sys.exit("Usage: infra/local/token ACCOUNT [--admin]")
    print(Issuer(world.current()).token(sys.argv[1], admin=len(sys.argv) == 3))


if __name__ == "__main__":
    main()
