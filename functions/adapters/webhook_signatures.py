"""Standard Webhooks' signatures: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

The only import of the library of that name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from functions.domain.errors import Unauthorized

HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
# Id, time and body are signed with dots between them: an id that had one could be read in two ways.
_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,255}")


class WebhookVerifier:
    """Believes what any of several secrets has signed: while one is exchanged for another, both hold.

    The library refuses what was signed more than five minutes ago, or is to be in more than five minutes.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [Webhook(secret) for secret in secrets]

    def __call__(self, headers: Mapping[str, str], body: bytes) -> str:
        """The message's id. Raises Unauthorized."""
        given = {name.lower(): value for name, value in headers.items() if name.lower() in HEADERS}
        if not _ID.fullmatch(given.get("webhook-id", "")):
            raise Unauthorized("a webhook-id of printable ASCII characters without a dot is required")
        if not any(_signed(secret, given, body) for secret in self._secrets):
            raise Unauthorized("the webhook's signature or its time does not hold")
        return given["webhook-id"]


class WebhookSigner:
    """Signs with every secret, so that the receiver may exchange one for another."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [Webhook(secret) for secret in secrets]

    def __call__(self, message_id: str, body: bytes) -> dict[str, str]:
        """The headers that go with the body."""
        now = datetime.now(UTC)
        signatures = " ".join(secret.sign(message_id, now, body.decode()) for secret in self._secrets)
        return dict(zip(HEADERS, (message_id, str(int(now.timestamp())), signatures), strict=True))


def _signed(secret: Webhook, headers: dict[str, str], body: bytes) -> bool:
    try:
        secret.verify(body, headers, json_parse=False)
    # ValueError: what is no base64, no number, no pair, or no UTF-8.
    except (WebhookVerificationError, ValueError):
        return False
    return True
