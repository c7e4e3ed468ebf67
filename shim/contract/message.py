"""What a message of the contract is: a dataclass, and JSON on the wire.

`read` parses strictly: a missing, unknown, repeated or mistyped field is refused by its path. Both sides use it:
the shim for what it is told, the functions for what a droplet, which its owner's containers may have taken over,
claims. Standard library only.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections import Counter
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from typing import Any, ClassVar, TypeVar, cast, dataclass_transform

M = TypeVar("M", bound="Message")
MAX_ITEMS = 10_000
MAX_NUMBER = 1e300
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Message:
    """Each subclass is a frozen dataclass by that alone."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True)(cls)


class Malformed(ValueError):
    """A sentence that names the field and what is wrong with it."""


def read(kind: type[M], text: bytes) -> M:
    """Parse JSON `text` as the message `kind`. Raises Malformed."""
    try:
        value = json.loads(text or b"{}", object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error) if isinstance(error, Malformed) else "the body is not JSON") from None
    return cast(M, _read(kind, value, kind.__name__))


def dump(message: Message) -> bytes:
    """A message as JSON; one without fields is an empty body."""
    return json.dumps(message, default=vars, separators=(",", ":")).encode() if vars(message) else b""


def text(raw: bytes) -> str:
    """What a container said, as a string that `read` lets through: NUL and what is not UTF-8 become U+FFFD."""
    return raw.decode("utf-8", "replace").replace("\0", "\ufffd")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        repeated, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise Malformed(f"the key {repeated!r} stands twice")
    return read


def _read(kind: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _read(arguments[0], value, path)
    if isinstance(kind, type) and issubclass(kind, Message):
        return _read_message(kind, value, path)
    if origin is list:
        _expect(isinstance(value, list) and len(value) <= MAX_ITEMS, path, f"a list of at most {MAX_ITEMS}")
        return [_read(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(value)]
    if origin is dict:
        _expect(isinstance(value, dict) and len(value) <= MAX_ITEMS, path, f"an object of at most {MAX_ITEMS}")
        return {key: _read(arguments[1], item, f"{path}.{key}") for key, item in value.items()}
    if kind is float:
        # Also no NaN, no infinity and no whole number that a float cannot hold: JSON parsers let them through.
        _expect(type(value) in (int, float) and abs(value) < MAX_NUMBER, path, "a number")
        return float(value)
    # `type is`, since True is an int to isinstance.
    _expect(type(value) is kind, path, {str: "a string", int: "a whole number", bool: "true or false"}[kind])
    if kind is str:
        # A lone surrogate passes for JSON, and then nothing can encode it.
        _expect("\0" not in value and not _SURROGATE.search(value), path, "a string of Unicode without NUL")
    return value


def _read_message(kind: Any, value: Any, path: str) -> Any:
    _expect(isinstance(value, dict), path, "an object")
    hints, required = _shape(kind)
    if unknown := sorted(value.keys() - hints.keys()):
        raise Malformed(f"{path} has no field {unknown[0]!r}")
    if missing := sorted(required - value.keys()):
        raise Malformed(f"{path} lacks the field {missing[0]!r}")
    return kind(**{key: _read(hints[key], item, f"{path}.{key}") for key, item in value.items()})


@cache
def _shape(kind: Any) -> tuple[dict[str, Any], set[str]]:
    """Its fields with their types, and which of them must be there."""
    required = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    return typing.get_type_hints(kind), required


def _expect(held: bool, path: str, what: str) -> None:
    if not held:
        raise Malformed(f"{path} must be {what}")
