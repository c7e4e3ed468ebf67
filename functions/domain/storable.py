"""What a document of the store can hold: Firestore's rules, which the embedded store follows too.

https://firebase.google.com/docs/firestore/quotas and https://firebase.google.com/docs/firestore/storage-size

Both stores check a document here before they write it, so that neither accepts what the other refuses, and so that the
error is one of the error tree. Firestore's own client raises ValueError, TypeError or InvalidArgument, depending on the
value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from functions.domain.errors import Unstorable

MAX_DOCUMENT_BYTES = 1_048_576
# Of one key, in UTF-8.
MAX_KEY_BYTES = 1_500
_RESERVED = re.compile(r"__.*__", re.DOTALL)
# What a map needs beside its keys and values.
_MAP_BYTES = 32
_INTEGERS = range(-(2**63), 2**63)


def require_storable(document: Mapping[str, Any]) -> None:
    """Check the values and the size of a document. Raises Unstorable."""
    if (size := stored_bytes(document)) > MAX_DOCUMENT_BYTES:
        raise Unstorable(
            f"A document has {size} bytes, and the store holds at most {MAX_DOCUMENT_BYTES}. Make it smaller."
        )


def stored_bytes(value: Any) -> int:
    """Count the bytes that a value takes in the store, a little too many for nested maps. Raises Unstorable."""
    return _value_bytes(value, in_list=False)


def require_id(id: str) -> None:
    """Check a document's id. Raises ValueError: the ids are the system's own, so another one is a bug."""
    if "/" in id or id in ("", ".", "..") or _RESERVED.fullmatch(id):
        raise ValueError(f"A document id must not contain a slash, nor be empty, '.', '..' or __…__; it is {id!r}.")


def _value_bytes(value: Any, in_list: bool) -> int:
    match value:
        case str():
            return _text_bytes(value) + 1
        case None | bool():
            return 1
        case int() if value in _INTEGERS:
            return 8
        case float():
            return 8
        case datetime() if value.tzinfo is not None:
            return 8
        case list() | tuple() if not in_list:
            return sum(_value_bytes(item, in_list=True) for item in value)
        case dict():
            return _map_bytes(value)
    # Without the value, which may be secret.
    where = " in a list" if in_list else ""
    raise Unstorable(f"The store cannot hold this value of type {type(value).__name__}{where}. Leave it out.")


def _map_bytes(document: dict[Any, Any]) -> int:
    size = _MAP_BYTES
    for key, value in document.items():
        # A page of a list has thousands of values, most of them of these types.
        if value is None or value is True or value is False:
            size += 1
        elif type(value) is str and value.isascii():
            size += len(value) + 1
        else:
            size += _value_bytes(value, in_list=False)
        size += _key_bytes(key)
    return size


def _key_bytes(key: Any) -> int:
    if type(key) is str and key.isascii() and 0 < len(key) <= MAX_KEY_BYTES and key[0] != "_":
        return len(key) + 1
    size = _text_bytes(key) if isinstance(key, str) else 0
    if not 1 <= size <= MAX_KEY_BYTES or _RESERVED.fullmatch(key):
        raise Unstorable(
            f"The store cannot hold the key {key!r:.80}: a key is a text of 1 to {MAX_KEY_BYTES} bytes that does not "
            "both begin and end with two underscores. Use another."
        )
    return size + 1


def _text_bytes(text: str) -> int:
    # Faster than encoding, and most texts are ASCII.
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise Unstorable("A text has a lone surrogate, which has no UTF-8. Remove it.") from None
