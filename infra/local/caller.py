"""An account's calls of a world, through its gateway alone, as a frontend makes them."""

from __future__ import annotations

from typing import Any

import requests

from infra.local.issuer import Issuer
from infra.local.world import World

ANSWER_SECONDS = 60


class Caller:
    """Raises requests.HTTPError where a call is refused, with what was answered."""

    def __init__(self, of: World, account: str) -> None:
        self._gateway, self._session = of.gateway, requests.Session()
        self._session.headers["Authorization"] = f"Bearer {Issuer(of).token(account)}"

    def __call__(self, method: str, path: str, **options: Any) -> Any:
        """What the answer says; None for a 404."""
        answer = self._session.request(method, self._gateway + path, timeout=ANSWER_SECONDS, **options)
        if answer.status_code == requests.codes.not_found:
            return None
        if not answer.ok:
            raise requests.HTTPError(f"{method} {answer.url}: {answer.status_code} {answer.text}")
        return answer.json()
