"""What a message of the contract is: a frozen dataclass with bounds in its annotations, and JSON on the wire.

`read` compiles each class once into closures and parses strictly: a missing, unknown, repeated, mistyped or too large
field is refused by its path. Both sides use it: the shim for commands, and the functions for the answers of a droplet,
which its owner's containers may have taken over.

Plain dataclasses rather than msgspec structs, after measuring both: msgspec accepts repeated keys, NUL and lone
surrogates, so that each message would have to be walked a second time. A container is read in 34 microseconds here with
all checks, and in 11 by msgspec.convert without them; and it would be one more package in the memory of each droplet.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Callable, Hashable
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar, cast, dataclass_transform

M = TypeVar("M", bound="Message")
INT64 = range(-(1 << 63), 1 << 63)
MAX_ITEMS = 10_000
MAX_CHARACTERS = 16_384
MAX_NUMBER = 1e300
# JSON admits a lone surrogate, which no encoder can write again, and NUL, which ends a string in the kernel.
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
Reader = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Within:
    """The bounds of a whole number; `steps` includes its start and not its stop. Without it a number is an int64."""

    steps: range


@dataclass(frozen=True, slots=True)
class AtMost:
    """The length of a string in characters, of a list in items, or of an object in keys."""

    length: int


@dataclass(frozen=True, slots=True)
class Matching:
    """A string that matches the whole of `pattern`. `description` completes "must be ..."."""

    pattern: re.Pattern[str]
    description: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """The only values that a text field may have."""

    values: tuple[str, ...]


class Malformed(ValueError):
    """A sentence that names the field and what is wrong with it. Never repeats a value of an environment."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(f"{path} {problem}".strip())
        self.problem, self.path = problem, path

    def below(self, path: str) -> Malformed:
        """The same, for a value that holds the one at fault."""
        return Malformed(self.problem, path + self.path)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Message:
    """The base of all messages. Each subclass becomes a frozen dataclass without a decorator."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True)(cls)

    def check(self) -> None:
        """Bounds that span several fields. Raises Malformed. Called by `read`."""


_encode = json.JSONEncoder(default=vars, separators=(",", ":"), ensure_ascii=False).encode


def dump(message: Message) -> bytes:
    """A message as JSON. A message without fields is an empty body."""
    return _encode(message).encode() if vars(message) else b""


def read(kind: type[M], body: bytes) -> M:
    """Parse JSON `body` as the message `kind`; an empty body is an empty object. Raises Malformed."""
    try:
        value = json.loads(body or b"{}", object_pairs_hook=_unique)
    except Malformed:
        raise
    # Nesting deeper than the interpreter's stack is a RecursionError, and a number of 5,000 digits a ValueError.
    except (ValueError, RecursionError):
        raise Malformed("the body is not JSON") from None
    try:
        message: M = _reader(cast(Hashable, kind))(value)
    except Malformed as error:
        raise error.below(kind.__name__) from None
    return message


def text(raw: bytes) -> str:
    """Output of a container as a string that `read` accepts: NUL and what is not UTF-8 become U+FFFD."""
    return raw.decode("utf-8", "replace").replace("\0", "\ufffd")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        known: set[str] = set()
        repeated = next(key for key, _ in pairs if key in known or known.add(key))  # type: ignore[func-returns-value]
        raise Malformed(f"the key {repeated[:64]!r} occurs twice in one object")
    return value


@cache
def _reader(hint: Any) -> Reader:
    """The function that checks a JSON value of this type and converts it. Raises Malformed."""
    bounds: tuple[Any, ...] = ()
    if typing.get_origin(hint) is Annotated:
        hint, *annotated = typing.get_args(hint)
        bounds = tuple(annotated)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        present = _reader(Annotated[(arguments[0], *bounds)] if bounds else arguments[0])
        return lambda value: None if value is None else present(value)
    if isinstance(hint, type) and issubclass(hint, Message):
        return _message_reader(hint)
    longest = next((bound.length for bound in bounds if isinstance(bound, AtMost)), None)
    if origin is list:
        return _list_reader(_reader(arguments[0]), longest or MAX_ITEMS)
    if origin is dict:
        return _dict_reader(_reader(arguments[0]), _reader(arguments[1]), longest or MAX_ITEMS)
    if hint is str:
        return _string_reader(bounds, longest or MAX_CHARACTERS)
    if hint is int:
        return _int_reader(next((bound.steps for bound in bounds if isinstance(bound, Within)), INT64))
    return {float: _read_float, bool: _read_bool}[hint]


def _message_reader(kind: type[Message]) -> Reader:
    hints = typing.get_type_hints(kind, include_extras=True)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}
    required = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    checks = kind.check is not Message.check

    def read_message(value: Any) -> Message:
        if type(value) is not dict:
            raise Malformed("must be an object")
        values = {}
        for key, item in value.items():
            reader = readers.get(key)
            if reader is None:
                raise Malformed(f"has no field {key[:64]!r}")
            try:
                values[key] = reader(item)
            except Malformed as error:
                raise error.below(f".{key}") from None
        if not required <= values.keys():
            raise Malformed(f"lacks the field {min(required - values.keys())!r}")
        message = kind(**values)
        if checks:
            message.check()
        return message

    return read_message


def _list_reader(item_reader: Reader, longest: int) -> Reader:
    def read_list(value: Any) -> list[Any]:
        if type(value) is not list or len(value) > longest:
            raise Malformed(f"must be a list of at most {longest} items")
        items: list[Any] = []
        for item in value:
            try:
                items.append(item_reader(item))
            except Malformed as error:
                raise error.below(f"[{len(items)}]") from None
        return items

    return read_list


def _dict_reader(key_reader: Reader, item_reader: Reader, longest: int) -> Reader:
    def read_dict(value: Any) -> dict[str, Any]:
        if type(value) is not dict or len(value) > longest:
            raise Malformed(f"must be an object of at most {longest} keys")
        items: dict[str, Any] = {}
        for key, item in value.items():
            try:
                items[key_reader(key)] = item_reader(item)
            except Malformed as error:
                raise error.below(f".{key[:64]!r}") from None
        return items

    return read_dict


def _string_reader(bounds: tuple[Any, ...], longest: int) -> Reader:
    matching = [bound for bound in bounds if isinstance(bound, Matching)]
    choices = [bound.values for bound in bounds if isinstance(bound, OneOf)]
    find_unusable = _UNUSABLE.search

    def read_string(value: Any) -> str:
        if type(value) is not str or len(value) > longest or find_unusable(value):
            raise Malformed(f"must be a string of at most {longest} characters of Unicode without NUL")
        for pattern in matching:
            if not pattern.pattern.fullmatch(value):
                raise Malformed(f"must be {pattern.description}, not {value[:64]!r}")
        for values in choices:
            if value not in values:
                raise Malformed(f"must be one of {', '.join(values)}, not {value[:64]!r}")
        return value

    return read_string


def _int_reader(bounds: range) -> Reader:
    lowest, highest = bounds.start, bounds.stop - 1

    def read_int(value: Any) -> int:
        # `type is`, since True is an int to isinstance.
        if type(value) is not int or not lowest <= value <= highest:
            raise Malformed(f"must be a whole number between {lowest} and {highest}")
        return value

    return read_int


def _read_float(value: Any) -> float:
    # Comparing refuses NaN, infinity and whole numbers that a float cannot hold, which JSON parsers let through.
    if type(value) not in (int, float) or not abs(value) < MAX_NUMBER:
        raise Malformed("must be a number")
    return float(value)


def _read_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise Malformed("must be true or false")
    return value
