"""The stored forms of an account (`accounts/{hash}`) and of its registries' credentials (`registries/{hash}`)."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from functions.adapters.documents.values import SealedMap, decode_sealed, encode_sealed, rename
from functions.domain.account.model import Account, AccountStatus, Registry
from functions.lifecycle.dependencies import Document


class AccountDocument(TypedDict):
    """The sweep queries `due_at`."""

    account: str
    status: str
    since: datetime | None
    due_at: datetime | None
    revision: str


class RegistryDocument(TypedDict):
    """Queries filter by `account`."""

    account: str
    host: str
    username: str
    password: SealedMap
    created_at: datetime
    updated_at: datetime


def encode_account(account: Account) -> AccountDocument:
    """Convert an account to its document."""
    return {
        "account": account.account,
        "status": account.status.value,
        "since": account.since,
        "due_at": account.due_at,
        "revision": account.revision,
    }


def decode_account(stored: AccountDocument) -> Account:
    """Convert a document to its account."""
    return Account(
        account=stored["account"],
        status=AccountStatus(stored["status"]),
        since=stored["since"],
        due_at=stored["due_at"],
        revision=stored["revision"],
    )


def encode_registry(registry: Registry) -> RegistryDocument:
    """Convert a registry's credentials to their document."""
    return {
        "account": registry.account,
        "host": registry.host,
        "username": registry.username,
        "password": encode_sealed(registry.password),
        "created_at": registry.created_at,
        "updated_at": registry.updated_at,
    }


def decode_registry(stored: RegistryDocument) -> Registry:
    """Convert a document to a registry's credentials."""
    return Registry(
        account=stored["account"],
        host=stored["host"],
        username=stored["username"],
        password=decode_sealed(stored["password"]),
        created_at=stored["created_at"],
        updated_at=stored["updated_at"],
    )


def upgrade_from_1(document: Document) -> Document:
    """Schema 2 of an account calls its standing `status`."""
    return rename(document, {"standing": "status"})
