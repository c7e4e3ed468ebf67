"""An account's private registries: their credentials kept sealed, and opened for a pull.

registries/{hash(account, host)}          Registry
"""

from __future__ import annotations

import hashlib

from functions.domain.caller import Caller
from functions.domain.errors import Conflict, Contended, NotAllowedNow, NotFound
from functions.domain.registry import Registry, host_of
from functions.lifecycle.documents import Loaded, dump, load
from functions.lifecycle.hold import ATTEMPTS, backoff
from functions.lifecycle.ports import Create, Delete, Ports, Query, Ref, Replace, Write
from functions.lifecycle.replay import RequestKey, recall
from shim.contract import messages

REGISTRIES = "registries"
MAX_REGISTRIES = 50
PASSWORD = "password"  # noqa: S105  the name of the sealed value


def put(ports: Ports, caller: Caller, host: str, username: str, password: str) -> Registry:
    """Keep these credentials for `host`, in place of any before. Raises NotAllowedNow where there are too many."""
    ref = _ref(caller.account, host)
    sealed = ports.vault.seal({PASSWORD: password}, _bound_to(caller.account, host))
    for attempt in range(ATTEMPTS):
        now, found = ports.now(), _load(ports, caller.account, host)
        if found is None and len(page(ports, caller)) >= MAX_REGISTRIES:
            raise NotAllowedNow(f"an account has at most {MAX_REGISTRIES} registries")
        since = found.value.created_at if found else now
        registry = Registry(caller.account, host, username, sealed, since, now)
        write: Write = Replace(ref, dump(registry), found.version) if found else Create(ref, dump(registry))
        try:
            ports.store.commit([write])
        except Conflict:
            backoff(ports, attempt)
            continue
        return registry
    raise Contended(f"registry {host} is being changed by others; ask again")


def get(ports: Ports, caller: Caller, host: str) -> Registry:
    found = _load(ports, caller.account, host)
    if found is None:
        raise NotFound(f"no credentials are kept for {host}")
    return found.value


def page(ports: Ports, caller: Caller) -> list[Registry]:
    """All of the account's, newest first."""
    query = Query(REGISTRIES, (("account", "==", caller.account),), limit=MAX_REGISTRIES)
    found = [loaded.value for snapshot in ports.store.query(query) if (loaded := load(Registry, snapshot))]
    return sorted(found, key=lambda registry: registry.created_at, reverse=True)


def delete(ports: Ports, caller: Caller, host: str, request: RequestKey | None = None) -> None:
    """Forget the credentials; forgetting what is not kept succeeds. A repeat leaves what was kept since.

    Raises KeyReused, Contended.
    """
    known, expired = recall(ports, request)
    if known:
        return
    writes: list[Write] = [Delete(_ref(caller.account, host))]
    writes += [request.done(host, ports.now(), expired, (204, {}))] if request else []
    try:
        ports.store.commit(writes)
    except Conflict:
        raise Contended("another request under this Idempotency-Key came at the same time; ask again") from None


def credentials(ports: Ports, account: str, image: str) -> messages.Credentials | None:
    """What to pull `image` with, None where nothing is kept for its host. Raises SecretsUnreadable."""
    found = _load(ports, account, host_of(image))
    if found is None:
        return None
    kept = found.value
    return messages.Credentials(kept.username, ports.vault.open(kept.password, _bound_to(account, kept.host))[PASSWORD])


def _load(ports: Ports, account: str, host: str) -> Loaded[Registry] | None:
    return load(Registry, ports.store.get([_ref(account, host)])[0])


def _ref(account: str, host: str) -> Ref:
    return Ref(REGISTRIES, hashlib.sha256(f"{account}\n{host}".encode()).hexdigest())


def _bound_to(account: str, host: str) -> str:
    return f"registry\n{account}\n{host}"
