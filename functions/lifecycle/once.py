"""What has no document of its own to tell an Idempotency-Key's answer by: begun on record, and answered once."""

from __future__ import annotations

from collections.abc import Callable

from functions.domain.errors import Conflict, Contended
from functions.lifecycle.ports import Ports
from functions.lifecycle.replay import Known, RequestKey, Told, recall


def begun(ports: Ports, request: RequestKey | None, find: Callable[[], str]) -> Known:
    """The first attempt as it is on record; where this is the first, it is now, about what `find` gives.

    Raises KeyReused, Contended.
    """
    known, expired = recall(ports, request)
    if known:
        return known
    about = find()
    if request:
        try:
            ports.store.commit([request.asked(about, ports.now(), expired)])
        except Conflict:
            raise Contended("another request under this Idempotency-Key came at the same time; ask again") from None
    return Known(about, None)


def once(ports: Ports, request: RequestKey | None, find: Callable[[], str], act: Callable[[str], Told]) -> Told:
    """What `act` answers, or answered before.

    Where no answer was kept it is called again with what `find` gave the first attempt: by that it has to see what is
    done already.
    """
    known = begun(ports, request, find)
    if known.answer:
        return known.answer
    status, body = act(known.about)
    if request:
        ports.store.commit([request.answer(known.about, ports.now(), status, body)])
    return status, body
