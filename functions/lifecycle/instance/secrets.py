"""An instance's secret variables: kept sealed, opened where a container is made, struck out of what it said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from functions.domain.errors import BadRequest, NotAllowedNow
from functions.domain.instance.model import Instance
from functions.domain.instance.spec import Spec
from functions.lifecycle.dependencies import Vault

# A document holds at most 1 MiB, and all variables may stand in it three times: spec, the one before, as sent.
MAX_BYTES = 131_072


def set_secrets(vault: Vault, instance: Instance, spec: Spec, given: Mapping[str, str | None]) -> Spec:
    """`spec` of `instance` with exactly the variables `given`; the value of None is the one that is kept already.

    Raises NotAllowedNow where there is none, SecretsUnreadable.
    """
    kept = decrypt(vault, instance, spec) if None in given.values() else {}
    if missing := [name for name, value in given.items() if value is None and name not in kept]:
        raise NotAllowedNow(f"secretVariables.{missing[0]} has no value, and none is kept")
    values = {name: kept[name] if value is None else value for name, value in given.items()}
    return replace(spec, secrets=vault.seal(values, _associated_data(instance)) if values else None)


def require_size(vault: Vault, instance: Instance, spec: Spec) -> None:
    """Raises BadRequest where open and secret variables of `spec` share a name, or are too large together."""
    values = decrypt(vault, instance, spec)
    if twice := sorted(set(values) & set(spec.environment)):
        raise BadRequest(f"{twice[0]} is both in environmentVariables and in secretVariables")
    together = [*values.items(), *spec.environment.items()]
    if sum(len(name) + len(value.encode()) for name, value in together) > MAX_BYTES:
        raise BadRequest(f"all variables together are larger than {MAX_BYTES} bytes")


def decrypt(vault: Vault, instance: Instance, spec: Spec) -> dict[str, str]:
    """The variables of one version of `instance`. Raises SecretsUnreadable."""
    return vault.open(spec.secrets, _associated_data(instance)) if spec.secrets else {}


def secret_values(vault: Vault, instance: Instance) -> list[str]:
    """Every value that a container of `instance` may know. Raises SecretsUnreadable."""
    versions = [instance.spec, *([instance.previous_version.spec] if instance.previous_version else [])]
    return [value for spec in versions for value in decrypt(vault, instance, spec).values()]


def _associated_data(instance: Instance) -> str:
    return f"instance\n{instance.account}\n{instance.id}"
