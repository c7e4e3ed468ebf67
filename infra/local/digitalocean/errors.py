"""The errors of the local DigitalOcean's API, with DigitalOcean's ids and sentences, and their injection on request."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, ClassVar

KINDS = ("slow", "limited", "failing", "lost")


class ApiError(Exception):
    """An error answer. `id` and `status` are the real API's; the message is a sentence."""

    id: ClassVar[str]
    status: ClassVar[int]

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unauthorized(ApiError):
    id, status = "unauthorized", 401


class NotFound(ApiError):
    id, status = "not_found", 404


class Conflict(ApiError):
    id, status = "conflict", 409


class Unprocessable(ApiError):
    id, status = "unprocessable_entity", 422


class TooManyRequests(ApiError):
    """A 429 whose Retry-After header is `retry_after` seconds."""

    id, status = "too_many_requests", 429

    def __init__(self, retry_after: float) -> None:
        super().__init__("API Rate limit exceeded.")
        self.retry_after = round(retry_after)


class ServerError(ApiError):
    id, status = "server_error", 500


@dataclass
class Fault:
    """What happens to the next `times` calls of this method and path.

    `slow` delays the answer by `seconds`; `limited` answers 429 with a Retry-After of `seconds`; `failing` answers
    500; `lost` does the work and closes the connection without an answer.
    """

    kind: str
    method: str
    path: str
    times: int = 1
    seconds: float = 0

    def __post_init__(self) -> None:
        assert self.kind in KINDS, f"kind is {self.kind!r}; it can be {', '.join(KINDS)}"


class Faults:
    """The injected faults of one service. Safe to share between threads."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def replace(self, faults: list[dict[str, Any]]) -> None:
        """Inject these faults, and none of the earlier ones. Each has the fields of Fault."""
        replacement = [Fault(**fields) for fields in faults]
        with self._lock:
            self._faults = replacement

    def apply(self, method: str, path: str) -> bool:
        """Apply the first fault for this call, before it is handled; returns whether its answer must be lost.

        Raises TooManyRequests, ServerError.
        """
        with self._lock:
            fault = next((f for f in self._faults if (f.method, f.path) == (method, path) and f.times > 0), None)
            if fault is None:
                return False
            fault.times -= 1
        if fault.kind == "slow":
            time.sleep(fault.seconds)
        elif fault.kind == "limited":
            raise TooManyRequests(fault.seconds)
        elif fault.kind == "failing":
            raise ServerError("Server was unable to give you a response.")
        return fault.kind == "lost"
