"""What the local DigitalOcean answers where it does not do as it was asked, in the real one's words."""

from __future__ import annotations

from typing import ClassVar


class Refusal(Exception):
    """`id` and `status` as the real API's; the message is a sentence."""

    id: ClassVar[str]
    status: ClassVar[int]

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unauthorized(Refusal):
    id, status = "unauthorized", 401


class NotFound(Refusal):
    id, status = "not_found", 404


class Conflict(Refusal):
    id, status = "conflict", 409


class Unprocessable(Refusal):
    id, status = "unprocessable_entity", 422


class TooManyRequests(Refusal):
    id, status = "too_many_requests", 429


class ServerError(Refusal):
    id, status = "server_error", 500
