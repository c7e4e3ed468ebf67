"""Stored forms of the small values that several kinds of documents hold."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from functions.domain.instance.model import Failure, Reason
from functions.domain.lease import Lease
from functions.domain.secrets import Sealed
from functions.lifecycle.dependencies import Document


class ReasonMap(TypedDict):
    code: str
    message: str


class FailureMap(TypedDict):
    generation: int
    reason: ReasonMap


class LeaseMap(TypedDict):
    holder: str
    ends_at: datetime


class SealedMap(TypedDict):
    """Sealed secrets: base64, apart from the names of the variables and of the key-encryption key."""

    names: list[str]
    key: str
    data_key: str
    values: str


def encode_reason(reason: Reason) -> ReasonMap:
    return {"code": reason.code, "message": reason.message}


def decode_reason(stored: ReasonMap) -> Reason:
    return Reason(stored["code"], stored["message"])


def encode_failure(failure: Failure) -> FailureMap:
    return {"generation": failure.generation, "reason": encode_reason(failure.reason)}


def decode_failure(stored: FailureMap) -> Failure:
    return Failure(stored["generation"], decode_reason(stored["reason"]))


def encode_lease(lease: Lease) -> LeaseMap:
    return {"holder": lease.holder, "ends_at": lease.ends_at}


def decode_lease(stored: LeaseMap) -> Lease:
    return Lease(stored["holder"], stored["ends_at"])


def encode_sealed(sealed: Sealed) -> SealedMap:
    return {
        "names": list(sealed.names),
        "key": sealed.key,
        "data_key": sealed.data_key,
        "values": sealed.values,
    }


def decode_sealed(stored: SealedMap) -> Sealed:
    return Sealed(list(stored["names"]), stored["key"], stored["data_key"], stored["values"])


def rename(stored: Document, names: dict[str, str]) -> Document:
    """Return a copy of a stored map with the keys in `names` renamed, for upgrades. A key that is absent is skipped."""
    return {names.get(key, key): value for key, value in stored.items()}
