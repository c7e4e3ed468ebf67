"""What a droplet answers is its owner's word: parsed as the contract's message, bounded, believed only about itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import requests

from functions.domain.errors import ShimIncompatible, ToolboxRefused
from shim.contract import errors as shim_errors
from shim.contract import messages, routes

MAX_ANSWER_BYTES = 8 << 20
# Of a stream; a log's line is at most 64 KiB, which JSON may make six times as much.
MAX_LINE_BYTES = 1 << 20


class AnswerLines:
    """Implements lifecycle.ports.Lines, of messages of one kind: the error in one is raised as itself."""

    def __init__(self, kind: type[Any], answer: requests.Response) -> None:
        self._kind, self._answer, self._texts = kind, answer, _texts(answer)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        line = read(self._kind, next(self._texts))
        if line.error:
            raise error_of(HTTPStatus.OK, json.dumps({"error": line.error}).encode())
        return line

    def close(self) -> None:
        self._answer.close()


def _texts(answer: requests.Response) -> Iterator[bytes]:
    pending = b""
    try:
        for chunk in answer.iter_content(65536):
            *whole, pending = (pending + chunk).split(b"\n")
            if len(pending) > MAX_LINE_BYTES:
                raise ToolboxRefused(f"a line of the toolbox's answer is larger than {MAX_LINE_BYTES} bytes")
            yield from whole
    except requests.RequestException as error:
        raise shim_errors.OutcomeUnknown(f"the toolbox's answer broke off: {cause(error)}") from error


def require_our_contract(answer: requests.Response) -> None:
    """Raise ShimIncompatible where the answer is from a shim that speaks another contract."""
    theirs = answer.headers.get(routes.CONTRACT_HEADER, "none")
    if theirs != str(routes.CONTRACT):
        answer.close()
        raise ShimIncompatible(
            f"the toolbox's shim speaks contract {theirs[:20]} and this service {routes.CONTRACT}; upgrade the shim"
        )


def content(answer: requests.Response) -> bytes:
    """Read the whole body, within the limits of size and time. Raises OutcomeUnknown."""
    try:
        return b"".join(_bounded(answer))
    except requests.RequestException as error:
        raise shim_errors.OutcomeUnknown(f"the toolbox's answer broke off: {cause(error)}") from error


def _bounded(answer: requests.Response) -> Iterator[bytes]:
    taken = 0
    for chunk in answer.iter_content(65536):
        taken += len(chunk)
        if taken > MAX_ANSWER_BYTES:
            raise ToolboxRefused(f"the toolbox's answer is larger than {MAX_ANSWER_BYTES} bytes")
        yield chunk


def read(kind: type[Any], text: bytes) -> Any:
    """Read a message of the contract. Raises ToolboxRefused where the text is not one."""
    try:
        return messages.read(kind, text)
    except messages.Malformed as error:
        raise ToolboxRefused(f"the toolbox's answer is not of the contract: {error}") from None


def error_of(status: int, text: bytes) -> Exception:
    """The shim's error as its own class; what it should not say is a refusal that quotes it."""
    try:
        said = json.loads(text)["error"]
        code, message = str(said["code"]), str(said["message"])[:2000]
    except (ValueError, KeyError, TypeError):
        return ToolboxRefused(f"the toolbox answered HTTP {status} without the contract's error")
    if code == shim_errors.Incompatible.code:
        return ShimIncompatible(message)
    kind = shim_errors.ERRORS.get(code)
    return kind(message) if kind else ToolboxRefused(f"the toolbox answered {code[:60]}: {message}")


def cause(error: Exception) -> str:
    """Describe an error in at most 300 characters."""
    return str(error)[:300]
