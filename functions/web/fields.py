"""The values that requests are made of: each with its rule as code and, as far as one can, as a schema says it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from functions.domain.account.registry import HOST
from functions.domain.instance.spec import memory_bytes, nano_cpus
from functions.lifecycle.instance.host_ports import ANY_HOST_PORT
from shim.contract import names

_HOST_PORTS = names.HOST_PORTS
# Firestore keeps names that begin and end so for itself.
_VARIABLE = rf"(?!__.*__$){names.ENVIRONMENT_NAME.pattern}"
_WITHOUT_NUL = Field(json_schema_extra={"not": {"pattern": r"\x00"}})
_NAME = r"[^/\\\x00-\x1f\x7f-\x9f]{1,128}"


def _said(pattern: str, **more: Any) -> Any:
    """A rule of pydantic's own cannot look ahead, so a schema shows the pattern that a function of ours checks."""
    return Field(json_schema_extra={"pattern": f"^{pattern}$", **more})


def _matching(pattern: str, told: str) -> AfterValidator:
    """`told` ends the sentence that begins with what was sent."""
    rule = re.compile(pattern)

    def check(text: str) -> str:
        if not rule.fullmatch(text):
            raise ValueError(f"{text[:80]!r} {told}")
        return text

    return AfterValidator(check)


def _digits(text: object) -> object:
    """Of a query string."""
    if isinstance(text, str) and not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("must be a whole number")
    return text


def _integral(number: object) -> object:
    """To JSON 1.0 is the same number as 1."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _name(text: str) -> str:
    """1 to 128 characters of any script, NFC; nothing that a path or a log line could trip over."""
    name = unicodedata.normalize("NFC", text)
    if not 1 <= len(name) <= 128:
        raise ValueError("a name has 1 to 128 characters")
    if any(character in "/\\" or unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise ValueError("a name has no slash, backslash or control character")
    if name in (".", "..") or names.UUID.fullmatch(name.lower()):
        raise ValueError("a name is not '.', '..' or of an id's form")
    return name


def _variable_name(name: str) -> str:
    if not names.ENVIRONMENT_NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is not an environment variable's name")
    if not re.fullmatch(_VARIABLE, name):
        raise ValueError(f"{name[:80]!r} is reserved: a name does not both begin and end with two underscores")
    return name


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL cannot be in it")
    return text


def _secret(value: SecretStr) -> SecretStr:
    _text(value.get_secret_value())
    return value


def _host_port(port: int) -> int:
    if port not in ANY_HOST_PORT and port not in _HOST_PORTS:
        raise ValueError("a host port is from 20000 to 29999, or left out to have one chosen")
    return port


def _read_by(read: Callable[[str], int]) -> AfterValidator:
    def check(text: str) -> str:
        read(text)
        return text

    return AfterValidator(check)


# A whole number in a query string, and in JSON. They stand last, before them the bounds, which a schema shows then.
DIGITS, WHOLE = BeforeValidator(_digits), BeforeValidator(_integral)

ToolboxId = Annotated[str, Field(pattern=f"^{names.UUID.pattern}$", description="a toolbox's id")]
InstanceKey = Annotated[str, Field(min_length=1, max_length=128, description="an instance's id or name")]
RegistryHost = Annotated[str, Field(pattern=f"^{HOST.pattern}$", max_length=255, description="a registry's host")]

_UUID_ANY_CASE = names.UUID.pattern.replace("a-f", "a-fA-F")
_NO_NAME = {"anyOf": [{"enum": [".", ".."]}, {"pattern": f"^{_UUID_ANY_CASE}$"}]}
Name = Annotated[str, AfterValidator(_name), _said(_NAME, **{"not": _NO_NAME})]
Image = Annotated[
    str,
    Field(max_length=512),
    _matching(names.IMAGE_REFERENCE.pattern, "is not an image reference like registry.example/name:tag"),
    _said(names.IMAGE_REFERENCE.pattern, format="image"),
]
Text = Annotated[str, AfterValidator(_text), _WITHOUT_NUL]
Argument = Annotated[Text, Field(max_length=8192)]
# What is run has a name.
_FIRST: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 8192, "not": {"pattern": r"\x00"}}
FIRST_GIVEN = Field(json_schema_extra={"prefixItems": [_FIRST]})
VariableName = Annotated[str, AfterValidator(_variable_name)]
VARIABLES = Field(max_length=512, json_schema_extra={"propertyNames": {"pattern": f"^{_VARIABLE}$"}})
Value = Annotated[Text, Field(max_length=32768)]
Secret = Annotated[SecretStr, Field(max_length=32768), AfterValidator(_secret), _WITHOUT_NUL]
Environment = Annotated[dict[VariableName, Value], VARIABLES]
# Of null the value stays that is kept: a record shows each so, and can be sent again.
Secrets = Annotated[dict[VariableName, Secret | None], VARIABLES]
GivenSecrets = Annotated[dict[VariableName, Secret], VARIABLES]
VolumeName = Annotated[
    str,
    _matching(names.VOLUME_NAME.pattern, "is not a volume name: 1 to 64 of a-z, 0-9, _, . and -"),
    _said(names.VOLUME_NAME.pattern),
]
ContainerPath = Annotated[
    str,
    _matching(names.CONTAINER_PATH.pattern, "is not an absolute path in the container"),
    _said(names.CONTAINER_PATH.pattern),
]
HttpPath = Annotated[
    str,
    _matching(r"/[!-~]{0,511}", "is not a path: it begins with a slash and has no white space"),
    _said(r"/[!-~]{0,511}"),
]
Port = Annotated[int, Field(ge=1, le=65535), WHOLE]
_ANY_OF_HOST_PORTS = [
    {"type": "integer", "minimum": _HOST_PORTS.start, "maximum": _HOST_PORTS.stop - 1},
    {"enum": list(ANY_HOST_PORT)},
]
HostPort = Annotated[
    int, AfterValidator(_host_port), Field(json_schema_extra={"anyOf": _ANY_OF_HOST_PORTS}), WHOLE
]  # fmt: skip
Memory = Annotated[str, _read_by(memory_bytes), _said("[1-9][0-9]{0,14}[bkmgBKMG]?", format="memory")]
Cpu = Annotated[str, _read_by(nano_cpus), _said(r"[0-9]{1,3}(\.[0-9]{1,9})?", format="cpu")]
Username = Annotated[str, Field(pattern=r"^[!-9;-~]{1,255}$", description="visible ASCII without a colon")]
