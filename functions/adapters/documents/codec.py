"""The one place that knows how domain values are stored in Firestore, and which schema each document has.

The stored form is a contract with every version of the functions that was ever deployed, while the domain models and
the shim's messages change with the code. So stored documents have types of their own (one module per noun here), the
conversion is written out field by field, and mypy compares both sides. Renaming a domain field changes nothing that is
stored; a change of the stored form needs a new schema number and an upgrade.

Converting by hand was preferred to pydantic, which cannot rename a field on the way without a second model of it. By
hand a save takes half of pydantic's time and a load 1.2 times, about 20 microseconds for an instance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from functions.adapters.documents import account, event, instance, rollout, toolbox
from functions.domain.account.model import Account, Registry
from functions.domain.errors import DocumentUnreadable
from functions.domain.event import Event
from functions.domain.instance.model import Instance, Rotation
from functions.domain.rollout.model import Rollout
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Document

# What every document is written as. Schema 1 is what was written before documents had a number.
SCHEMA = 2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredKind:
    """How one type of value is stored.

    `upgrades` maps each older schema to the function that turns a document of it into one of the next schema. Such a
    function gets a shallow copy, and replaces nested maps rather than changing them.
    """

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    upgrades: Mapping[int, Callable[[Document], Document]]


def _unchanged(document: Document) -> Document:
    return document


KINDS: Mapping[type, StoredKind] = {
    Instance: StoredKind(instance.encode_instance, instance.decode_instance, {1: instance.upgrade_from_1}),
    Rotation: StoredKind(instance.encode_rotation, instance.decode_rotation, {1: _unchanged}),
    Toolbox: StoredKind(toolbox.encode_toolbox, toolbox.decode_toolbox, {1: toolbox.upgrade_from_1}),
    Account: StoredKind(account.encode_account, account.decode_account, {1: account.upgrade_from_1}),
    Registry: StoredKind(account.encode_registry, account.decode_registry, {1: _unchanged}),
    Rollout: StoredKind(rollout.encode_rollout, rollout.decode_rollout, {1: _unchanged}),
    Event: StoredKind(event.encode_event, event.decode_event, {1: event.upgrade_from_1}),
}


class DocumentCodec:
    """Implements lifecycle.dependencies.Documents."""

    def encode(self, value: object) -> Document:
        """Return the document to store for `value`, one of `KINDS`, in the present schema."""
        document = cast(Document, KINDS[type(value)].encode(value))
        document["schema"] = SCHEMA
        return document

    def decode(self, kind: type[T], document: Document) -> T:
        """Return the value of type `kind` that `document` holds, upgraded first where its schema is an older one.

        The upgraded form is stored by the next save of the value, not by reading it: a read then costs no write, and
        no two versions of the functions rewrite each other's documents while both are deployed.

        Raises errors.DocumentUnreadable for a newer schema than this code knows, and for a malformed document.
        """
        stored_kind = KINDS[kind]
        if document.get("schema") != SCHEMA:
            document = _upgrade(kind, stored_kind, document)
        try:
            return cast(T, stored_kind.decode(document))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DocumentUnreadable(
                f"The stored document of {_name(kind, document)} is malformed ({type(error).__name__}: {error}). "
                "Restore it from a backup, or correct it by hand."
            ) from error


def _upgrade(kind: type, stored_kind: StoredKind, document: Document) -> Document:
    schema = document.get("schema", 1)
    if schema not in range(1, SCHEMA):
        raise DocumentUnreadable(
            f"The stored document of {_name(kind, document)} has schema {schema!r}, and this version of the functions "
            f"reads schemas 1 to {SCHEMA}. Deploy the newer version of the functions."
        )
    document = dict(document)
    try:
        for older in range(schema, SCHEMA):
            document = stored_kind.upgrades[older](document)
    except (KeyError, TypeError, AttributeError) as error:
        raise DocumentUnreadable(
            f"The stored document of {_name(kind, document)} cannot be upgraded from schema {schema} to {SCHEMA} "
            f"({type(error).__name__}: {error}). Correct it by hand."
        ) from error
    return document


def _name(kind: type, document: Document) -> str:
    """Name a document for an error message, without the values in it: some of them are secret."""
    key = document.get("id") or document.get("instance_id") or document.get("account") or document.get("image")
    return f"{kind.__name__.lower()} {key!r}"
