"""Credentials for an account's private registries: stored encrypted, and decrypted for a pull only.

registries/{hash(account, host)}          Registry
"""

from __future__ import annotations

import hashlib

from functions.domain.account.model import Caller, Registry, registry_host
from functions.domain.errors import Conflict, Contended, NotAllowedNow, NotFound
from functions.domain.instance.spec import RegistryCredentials
from functions.lifecycle.dependencies import Delete, Dependencies, Query, Ref
from functions.lifecycle.idempotency import CONTENDED, WITHOUT_KEY, CommitHook
from functions.lifecycle.repository import Loaded, encode, load, overwrite, query, update_with_retry

REGISTRIES = "registries"
MAX_REGISTRIES = 50
PASSWORD = "password"  # noqa: S105  the name of the sealed value


def put(deps: Dependencies, caller: Caller, host: str, username: str, password: str) -> Registry:
    """Store credentials for `host`, instead of earlier ones. Raises NotAllowedNow at MAX_REGISTRIES, and Contended."""
    ref = _ref(caller.account, host)
    sealed = deps.vault.seal({PASSWORD: password}, _associated_data(caller.account, host))

    def attempt() -> Registry:
        now, found = deps.now(), _load(deps, caller.account, host)
        if found is None and len(page(deps, caller)) >= MAX_REGISTRIES:
            raise NotAllowedNow(f"The account has {MAX_REGISTRIES} registries, which is the limit. Delete one first.")
        since = found.value.created_at if found else now
        registry = Registry(caller.account, host, username, sealed, since, now)
        deps.store.commit([overwrite(ref, encode(deps, registry), found)])
        return registry

    return update_with_retry(deps, attempt, f"The registry {host} is being changed by other requests. Try again.")


def get(deps: Dependencies, caller: Caller, host: str) -> Registry:
    """The account's credentials for `host`. Raises NotFound."""
    found = _load(deps, caller.account, host)
    if found is None:
        raise NotFound(f"The account has no credentials for {host}.")
    return found.value


def page(deps: Dependencies, caller: Caller) -> list[Registry]:
    """All registries of the account, newest first."""
    of_account = Query(REGISTRIES, (("account", "==", caller.account),), limit=MAX_REGISTRIES)
    found = [loaded.value for loaded in query(deps, Registry, of_account)]
    return sorted(found, key=lambda registry: registry.created_at, reverse=True)


def delete(deps: Dependencies, caller: Caller, host: str, commit: CommitHook = WITHOUT_KEY) -> None:
    """Delete the credentials; it succeeds where there are none.

    Raises Repeated, Contended.
    """
    try:
        deps.store.commit([Delete(_ref(caller.account, host)), *commit.intent_and_outcome(host, None)])
    except Conflict:
        commit.refused()
        raise Contended(CONTENDED) from None


def credentials(deps: Dependencies, account: str, image: str) -> RegistryCredentials | None:
    """The credentials to pull `image` with, None where the account has none for its host. Raises SecretsUnreadable."""
    found = _load(deps, account, registry_host(image))
    if found is None:
        return None
    registry = found.value
    return RegistryCredentials(
        registry.username, deps.vault.open(registry.password, _associated_data(account, registry.host))[PASSWORD]
    )


def _load(deps: Dependencies, account: str, host: str) -> Loaded[Registry] | None:
    return load(deps, Registry, _ref(account, host))


def _ref(account: str, host: str) -> Ref:
    return Ref(REGISTRIES, hashlib.sha256(f"{account}\n{host}".encode()).hexdigest())


def _associated_data(account: str, host: str) -> str:
    return f"registry\n{account}\n{host}"
