"""Idempotency keys: a request that is sent again gets the first attempt's answer, and nothing is done twice.

`requests/{hash(account, key)}` holds the fingerprint of the request, the id of what it is about, and the final answer
unless that is large.
It is created in the commit that records the intent, so that neither exists without the other, and takes the answer in
the commit that settles the document. Where the worker of a first attempt died in between, a repeat finds the intent by
that id and carries it on.

The rest of the lifecycle passes a `CommitHook` into its commits and knows neither keys nor answers. The web
makes the answers: it passes `render`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, NamedTuple, Protocol, TypeVar

from functions.domain.errors import (
    Conflict,
    Contended,
    KeyReused,
    NameTaken,
    NoRoom,
    NotAllowedNow,
    NotFound,
    PortTaken,
    QuotaExceeded,
)
from functions.domain.secrets import Sealed
from functions.lifecycle.dependencies import Create, Delete, Dependencies, Document, Put, Ref, Replace, Snapshot, Write
from functions.lifecycle.repository import D, Loaded, save_or_conflict

REQUESTS = "requests"
STORED_FOR = timedelta(hours=24)
# Of an answer's JSON, which is ASCII. A larger one is made again of the present record.
MAX_ANSWER_CHARACTERS = 16_384
# Encrypted and in base64 it is a third larger, and a document holds 1 MiB.
MAX_CONFIDENTIAL_CHARACTERS = 720_000
CONTENDED = "Another request with this Idempotency-Key arrived at the same time. Try again."

T = TypeVar("T")


class StoredAnswer(NamedTuple):
    """An answer's status and JSON body."""

    status: int
    body: Mapping[str, Any]


class Repeated(Exception):
    """Another attempt under the same key was recorded first. This one has written nothing."""


class CommitHook(Protocol):
    """What an idempotent request adds to the commits of the lifecycle."""

    def intent(self, about: str) -> Sequence[Write]:
        """For the commit that records the intent about `about`; refused where another attempt was first."""

    def intent_and_outcome(self, about: str, outcome: object) -> Sequence[Write]:
        """As `intent`, with the final answer, for a commit after which nothing remains to be done."""

    def settled(self, about: str, outcome: object) -> Sequence[Write]:
        """For the commit that settles the request: stores the final answer."""

    def withdrawn(self) -> Sequence[Write]:
        """For a commit after which the request counts as never sent, since it had no effect."""

    def refused(self) -> None:
        """Call it after a refused commit. Raises Repeated where another attempt under this key is recorded by now."""


class WithoutKey:
    """The hook of a request without an idempotency key."""

    def intent(self, about: str) -> Sequence[Write]:
        return ()

    def intent_and_outcome(self, about: str, outcome: object) -> Sequence[Write]:
        return ()

    def settled(self, about: str, outcome: object) -> Sequence[Write]:
        return ()

    def withdrawn(self) -> Sequence[Write]:
        return ()

    def refused(self) -> None:
        """A refused commit had another cause."""


WITHOUT_KEY = WithoutKey()


@dataclass(frozen=True)
class RequestKey:
    """One request's key. `fingerprint` is an HMAC of its method, path and body."""

    account: str
    key: str
    fingerprint: str

    @property
    def ref(self) -> Ref:
        """The idempotency record of this key."""
        return Ref(REQUESTS, hashlib.sha256(f"{self.account}\n{self.key}".encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class EarlierAttempt:
    """An earlier attempt under a key, about the document `about`; `answer` is None until it is final."""

    about: str
    answer: StoredAnswer | None


class KeyedRequest:
    """The hook of a request under an idempotency key.

    `render` makes the final answer of what the lifecycle returned. A `confidential` answer is stored encrypted.
    """

    def __init__(
        self,
        deps: Dependencies,
        key: RequestKey,
        render: Callable[[Any], StoredAnswer],
        *,
        confidential: bool = False,
    ) -> None:
        self._deps, self._key, self._render, self._confidential = deps, key, render, confidential
        # An expired record that has not been deleted yet: it is replaced instead of created.
        self._expired: Snapshot | None = None

    def earlier(self) -> EarlierAttempt | None:
        """The earlier attempt that is recorded, None where the key is new or has expired. Raises KeyReused."""
        [snapshot] = self._deps.store.get([self._key.ref])
        # TTL policies delete late, so the record of an expired key can still be there.
        if snapshot is None or snapshot.data["expire_at"] <= self._deps.now():
            self._expired = snapshot
            return None
        if snapshot.data["fingerprint"] != self._key.fingerprint:
            raise KeyReused(
                "This Idempotency-Key was sent with another request before. Use a new key for each new request."
            )
        answer = snapshot.data["answer"]
        return EarlierAttempt(snapshot.data["about"], self._opened(answer) if answer else None)

    def intent(self, about: str) -> Sequence[Write]:
        return [self._first(self._document(about, None))]

    def intent_and_outcome(self, about: str, outcome: object) -> Sequence[Write]:
        return [self._first(self._document(about, self._render(outcome)))]

    def settled(self, about: str, outcome: object) -> Sequence[Write]:
        return [Put(self._key.ref, self._document(about, self._render(outcome)))]

    def withdrawn(self) -> Sequence[Write]:
        return [Delete(self._key.ref)]

    def refused(self) -> None:
        if self.earlier():
            raise Repeated

    def _first(self, document: Document) -> Write:
        ref, expired = self._key.ref, self._expired
        return Replace(ref, document, expired.version) if expired else Create(ref, document)

    def _document(self, about: str, answer: StoredAnswer | None) -> Document:
        now = self._deps.now()
        return {
            "account": self._key.account,
            "fingerprint": self._key.fingerprint,
            "about": about,
            "answer": self._stored(answer) if answer else None,
            "created_at": now,
            "expire_at": now + STORED_FOR,
        }

    def _stored(self, answer: StoredAnswer) -> dict[str, Any] | None:
        """The answer as it is stored: its body as JSON text, since a document cannot hold every shape of JSON.

        None where it is too large: the record keeps only what it is about, and a repeat answers from that.
        """
        text = json.dumps(answer.body)
        if self._confidential:
            # What can be read again is not confidential, so this one is stored unless a document cannot hold it.
            if len(text) > MAX_CONFIDENTIAL_CHARACTERS:
                return None
            body: Any = asdict(self._deps.vault.seal({"answer": text}, self._associated_data))
        elif len(text) > MAX_ANSWER_CHARACTERS:
            return None
        else:
            body = text
        return {"status": answer.status, "body": body}

    def _opened(self, answer: Mapping[str, Any]) -> StoredAnswer:
        body = answer["body"]
        if self._confidential:
            body = self._deps.vault.open(Sealed(**body), self._associated_data)["answer"]
        return StoredAnswer(answer["status"], json.loads(body))

    @property
    def _associated_data(self) -> str:
        return f"request\n{self._key.account}\n{self._key.ref.id}"


# What can stand in a repeat's way because its first attempt is recorded meanwhile.
_SELF_INFLICTED = (Contended, NameTaken, NoRoom, NotAllowedNow, NotFound, PortTaken, QuotaExceeded)


def run_once(
    request: KeyedRequest | None, first: Callable[[CommitHook], T], resume: Callable[[str, CommitHook], T]
) -> T | StoredAnswer:
    """Run `first` unless an earlier attempt is recorded; then return its answer, or what `resume` makes of it.

    `resume` gets the id of what the earlier attempt is about. Raises KeyReused, and what `first` and `resume` raise.
    """
    if request is None:
        return first(WITHOUT_KEY)
    if earlier := request.earlier():
        return earlier.answer or resume(earlier.about, request)
    try:
        return first(request)
    except Repeated:
        earlier = request.earlier()
        if earlier is None:
            raise Contended(CONTENDED) from None
    except _SELF_INFLICTED:
        earlier = request.earlier()
        if earlier is None:
            raise
    return earlier.answer or resume(earlier.about, request)


def save_intent(
    deps: Dependencies, commit: CommitHook, document: D, base: Loaded[D] | None, writes: Sequence[Write]
) -> Loaded[D]:
    """Commit a changed document together with its idempotency key.

    For use within `update_with_retry`. Raises Conflict where another writer was first, Repeated where that was an
    attempt under the same key.
    """
    try:
        return save_or_conflict(deps, document, base, [*writes, *commit.intent(document.id)])
    except Conflict:
        commit.refused()
        raise


def record_intent(deps: Dependencies, commit: CommitHook, about: str) -> None:
    """Record a request that changes no document of its own. Raises Repeated, Contended."""
    if writes := commit.intent(about):
        try:
            deps.store.commit(writes)
        except Conflict:
            commit.refused()
            raise Contended(CONTENDED) from None


def record_outcome(deps: Dependencies, commit: CommitHook, about: str, outcome: object) -> None:
    """Store the final answer of a request that settles no document."""
    if writes := commit.settled(about, outcome):
        deps.store.commit(writes)
