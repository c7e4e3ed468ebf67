"""Idempotency-Key: a request that is sent again is answered again, and not done again.

`requests/{hash(account, key)}` is created in the commit that records the intent, and takes the final answer in the
commit that settles it. A first attempt that died in between is found by what it wanted: its instance or
toolbox.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic

from functions.domain.errors import Conflict, Contended, KeyReused
from functions.lifecycle.dependencies import Create, Dependencies, Document, Put, Ref, Replace, Snapshot, Write
from functions.lifecycle.repository import D

REQUESTS = "requests"
KEPT_FOR = timedelta(hours=24)

# An answer's status and body.
StoredAnswer = tuple[int, Mapping[str, Any]]
Render = Callable[[D], StoredAnswer]


@dataclass(frozen=True, slots=True)
class EarlierAttempt:
    """An earlier attempt. `answer` is (status, body) where it was final; else the document `about` tells it."""

    about: str
    answer: tuple[int, dict[str, Any]] | None


@dataclass(frozen=True)
class RequestKey:
    """One request's key. `fingerprint` is an HMAC of method, path and body."""

    account: str
    key: str
    fingerprint: str

    @property
    def ref(self) -> Ref:
        return Ref(REQUESTS, hashlib.sha256(f"{self.account}\n{self.key}".encode()).hexdigest())

    def known(self, snapshot: Snapshot | None, now: datetime) -> EarlierAttempt | None:
        """What is on record of this key, None where it is new or has expired. Raises KeyReused."""
        if snapshot is None or snapshot.data["expire_at"] <= now:
            return None
        if snapshot.data["fingerprint"] != self.fingerprint:
            raise KeyReused("this Idempotency-Key was sent with another request before")
        answer = snapshot.data["answer"]
        return EarlierAttempt(snapshot.data["about"], (answer["status"], answer["body"]) if answer else None)

    def asked(self, about: str, now: datetime, expired: Snapshot | None) -> Write:
        """To be written with the intent; refused where another attempt was first."""
        return self._first(self._document(about, now, None), expired)

    def done(self, about: str, now: datetime, expired: Snapshot | None, told: StoredAnswer) -> Write:
        """As `asked`, where the one commit is all that is to be done."""
        return self._first(self._document(about, now, told), expired)

    def _first(self, document: Document, expired: Snapshot | None) -> Write:
        return Replace(self.ref, document, expired.version) if expired else Create(self.ref, document)

    def answer(self, about: str, now: datetime, status: int, body: Mapping[str, Any]) -> Write:
        """To be written once the answer is known."""
        return Put(self.ref, self._document(about, now, (status, body)))

    def _document(self, about: str, now: datetime, told: StoredAnswer | None) -> Document:
        return {
            "account": self.account,
            "fingerprint": self.fingerprint,
            "about": about,
            "answer": {"status": told[0], "body": dict(told[1])} if told else None,
            "created_at": now,
            "expire_at": now + KEPT_FOR,
        }


@dataclass(frozen=True)
class Replay(RequestKey, Generic[D]):
    """`render` makes the final answer."""

    render: Render[D]

    def answered(self, settled: D) -> Write:
        """To be written with what settles it."""
        return self.answer(settled.id, settled.updated_at, *self.render(settled))

    def asked_and_answered(self, wanted: D, expired: Snapshot | None) -> Write:
        """As `asked`, where the intent on record is all that is answered with."""
        return self.done(wanted.id, wanted.updated_at, expired, self.render(wanted))


def find_earlier(deps: Dependencies, replay: RequestKey | None) -> tuple[EarlierAttempt | None, Snapshot | None]:
    """What is known of the key, and the record that an expired one left behind."""
    if replay is None:
        return None, None
    [snapshot] = deps.store.get([replay.ref])
    return replay.known(snapshot, deps.now()), snapshot


# What has no document of its own to tell an Idempotency-Key's answer by: begun on record, and answered once.


def begin_once(deps: Dependencies, request: RequestKey | None, find: Callable[[], str]) -> EarlierAttempt:
    """The first attempt as it is on record; where this is the first, it is now, about what `find` gives.

    Raises KeyReused, Contended.
    """
    known, expired = find_earlier(deps, request)
    if known:
        return known
    about = find()
    if request:
        try:
            deps.store.commit([request.asked(about, deps.now(), expired)])
        except Conflict:
            raise Contended("another request under this Idempotency-Key came at the same time; ask again") from None
    return EarlierAttempt(about, None)


def run_once(
    deps: Dependencies, request: RequestKey | None, find: Callable[[], str], act: Callable[[str], StoredAnswer]
) -> StoredAnswer:
    """What `act` answers, or answered before.

    Where no answer was kept it is called again with what `find` gave the first attempt: by that it has to see what is
    done already.
    """
    known = begin_once(deps, request, find)
    if known.answer:
        return known.answer
    status, body = act(known.about)
    if request:
        deps.store.commit([request.answer(known.about, deps.now(), status, body)])
    return status, body
