"""An instance's secret variables: encrypted in its document, decrypted where a container is created or redacted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from functions.domain.errors import BadRequest, NotAllowedNow
from functions.domain.instance.model import Instance
from functions.domain.instance.spec import Spec
from functions.lifecycle.dependencies import Vault

# Of all variables in plain text. What the whole spec may have as it is stored is domain/instance/size.py's.
MAX_BYTES = 131_072


def set_secrets(vault: Vault, instance: Instance, spec: Spec, requested: Mapping[str, str | None]) -> Spec:
    """Return `spec` with exactly the `requested` variables; one whose value is None keeps its stored value.

    Raises NotAllowedNow where no value is stored, SecretsUnreadable.
    """
    stored = decrypt(vault, instance, spec) if None in requested.values() else {}
    if missing := [name for name, value in requested.items() if value is None and name not in stored]:
        raise NotAllowedNow(f"secretVariables.{missing[0]} is null, and no value of it is stored. Send one.")
    values = {name: stored[name] if value is None else value for name, value in requested.items()}
    return replace(spec, secrets=vault.seal(values, _associated_data(instance)) if values else None)


def require_variables(vault: Vault, instance: Instance, spec: Spec) -> None:
    """Raise BadRequest where the plain and the secret variables share a name, or are too large together."""
    secret = decrypt(vault, instance, spec)
    if both := sorted(set(secret) & set(spec.environment)):
        raise BadRequest(f"{both[0]} is both in environmentVariables and in secretVariables. Send it in one of them.")
    size = sum(len(name) + len(value.encode()) for name, value in [*secret.items(), *spec.environment.items()])
    if size > MAX_BYTES:
        raise BadRequest(f"All variables together have {size} bytes; at most {MAX_BYTES} are allowed. Shorten them.")


def decrypt(vault: Vault, instance: Instance, spec: Spec) -> dict[str, str]:
    """Return the secret variables of one version of `instance`. Raises SecretsUnreadable."""
    return vault.open(spec.secrets, _associated_data(instance)) if spec.secrets else {}


def secret_values(vault: Vault, instance: Instance) -> list[str]:
    """Return every secret value that a container of `instance` may know. Raises SecretsUnreadable."""
    versions = [instance.spec, *([instance.previous_version.spec] if instance.previous_version else [])]
    return [value for spec in versions for value in decrypt(vault, instance, spec).values()]


def _associated_data(instance: Instance) -> str:
    """Return what the values are encrypted with: copied into another account's document they cannot be decrypted."""
    return f"instance\n{instance.account}\n{instance.id}"
