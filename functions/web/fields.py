"""The types of values in requests: each rule as code and, as far as JSON Schema can express it, as schema."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from functions.domain.account.model import HOST
from functions.domain.instance.host_port import ANY_HOST_PORT
from functions.domain.instance.spec import memory_bytes, nano_cpus
from shim.contract import names

_HOST_PORTS = names.HOST_PORTS
# Firestore reserves field names that begin and end with two underscores.
_VARIABLE = rf"(?!__.*__$){names.ENVIRONMENT_NAME.pattern}"
_WITHOUT_NUL = Field(json_schema_extra={"not": {"pattern": r"\x00"}})
_NAME = r"[^/\\\x00-\x1f\x7f-\x9f]{1,128}"


def _schema_pattern(pattern: str, **more: Any) -> Any:
    """A pattern for the schema alone: pydantic's own engine has no look-ahead, so a function checks the value."""
    return Field(json_schema_extra={"pattern": f"^{pattern}$", **more})


def _matching(pattern: str, predicate: str) -> AfterValidator:
    """`predicate` ends the error message that begins with the value."""
    rule = re.compile(pattern)

    def check(text: str) -> str:
        if not rule.fullmatch(text):
            raise ValueError(f"{text[:80]!r} {predicate}")
        return text

    return AfterValidator(check)


def _digits(text: object) -> object:
    if isinstance(text, str) and not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError(f"{text[:80]!r} is not a whole number of at most nine digits")
    return text


def _integral(number: object) -> object:
    """In JSON 1.0 and 1 are the same number."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _name(text: str) -> str:
    """1 to 128 characters of any script in NFC, without those that break a path or a log line."""
    name = unicodedata.normalize("NFC", text)
    if not 1 <= len(name) <= 128:
        raise ValueError(f"a name has 1 to 128 characters, this one has {len(name)}")
    if any(character in "/\\" or unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise ValueError("a name contains no slash, backslash or control character")
    if name in (".", "..") or names.UUID.fullmatch(name.lower()):
        raise ValueError("a name must not be '.', '..' or of the form of a UUID, which would be read as an id")
    return name


def _variable_name(name: str) -> str:
    if not names.ENVIRONMENT_NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is not the name of an environment variable")
    if not re.fullmatch(_VARIABLE, name):
        raise ValueError(f"{name[:80]!r} is reserved: a name cannot both begin and end with two underscores")
    return name


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError("the text contains a NUL character")
    return text


def _secret(value: SecretStr) -> SecretStr:
    _text(value.get_secret_value())
    return value


def _host_port(port: int) -> int:
    if port not in ANY_HOST_PORT and port not in _HOST_PORTS:
        raise ValueError(f"host port {port} is outside of 20000 to 29999; leave it out to have one allocated")
    return port


def _parsed_by(parse: Callable[[str], int]) -> AfterValidator:
    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


# A whole number in a query string, and in JSON. They stand after the bounds, else the schema shows no bounds.
DIGITS, WHOLE = BeforeValidator(_digits), BeforeValidator(_integral)

ToolboxId = Annotated[str, Field(pattern=f"^{names.UUID.pattern}$", description="A toolbox's id.")]
InstanceKey = Annotated[str, Field(min_length=1, max_length=128, description="An instance's id or name.")]
RegistryHost = Annotated[str, Field(pattern=f"^{HOST.pattern}$", max_length=255, description="A registry's host.")]

_UUID_ANY_CASE = names.UUID.pattern.replace("a-f", "a-fA-F")
_NOT_A_NAME = {"anyOf": [{"enum": [".", ".."]}, {"pattern": f"^{_UUID_ANY_CASE}$"}]}
Name = Annotated[str, AfterValidator(_name), _schema_pattern(_NAME, **{"not": _NOT_A_NAME})]
Image = Annotated[
    str,
    Field(max_length=512),
    _matching(names.IMAGE_REFERENCE.pattern, "is not an image reference like registry.example/name:tag"),
    _schema_pattern(names.IMAGE_REFERENCE.pattern, format="image"),
]
Text = Annotated[str, AfterValidator(_text), _WITHOUT_NUL]
Argument = Annotated[Text, Field(max_length=8192)]
# The first argument is the program, so it is not empty.
_PROGRAM: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 8192, "not": {"pattern": r"\x00"}}
PROGRAM_FIRST = Field(json_schema_extra={"prefixItems": [_PROGRAM]})
VariableName = Annotated[str, AfterValidator(_variable_name)]
VARIABLES = Field(max_length=512, json_schema_extra={"propertyNames": {"pattern": f"^{_VARIABLE}$"}})
Value = Annotated[Text, Field(max_length=32768)]
Secret = Annotated[SecretStr, Field(max_length=32768), AfterValidator(_secret), _WITHOUT_NUL]
Environment = Annotated[dict[VariableName, Value], VARIABLES]
# Null keeps the stored value: a record shows every secret as null, and can so be sent again.
Secrets = Annotated[dict[VariableName, Secret | None], VARIABLES]
SecretValues = Annotated[dict[VariableName, Secret], VARIABLES]
VolumeName = Annotated[
    str,
    _matching(names.VOLUME_NAME.pattern, "is not a volume name: 1 to 64 of a-z, 0-9, _, . and -"),
    _schema_pattern(names.VOLUME_NAME.pattern),
]
ContainerPath = Annotated[
    str,
    _matching(names.CONTAINER_PATH.pattern, "is not an absolute path in the container"),
    _schema_pattern(names.CONTAINER_PATH.pattern),
]
HttpPath = Annotated[
    str,
    _matching(r"/[!-~]{0,511}", "is not an HTTP path: it begins with a slash and contains no white space"),
    _schema_pattern(r"/[!-~]{0,511}"),
]
Port = Annotated[int, Field(ge=1, le=65535), WHOLE]
_ANY_OF_HOST_PORTS = [
    {"type": "integer", "minimum": _HOST_PORTS.start, "maximum": _HOST_PORTS.stop - 1},
    {"enum": list(ANY_HOST_PORT)},
]
HostPort = Annotated[int, AfterValidator(_host_port), Field(json_schema_extra={"anyOf": _ANY_OF_HOST_PORTS}), WHOLE]
Memory = Annotated[str, _parsed_by(memory_bytes), _schema_pattern("[1-9][0-9]{0,14}[bkmgBKMG]?", format="memory")]
Cpu = Annotated[str, _parsed_by(nano_cpus), _schema_pattern(r"[0-9]{1,3}(\.[0-9]{1,9})?", format="cpu")]
Username = Annotated[str, Field(pattern=r"^[!-9;-~]{1,255}$", description="Visible ASCII without a colon.")]
