"""Request bodies: what may be in them, and the domain's own words for it. Any other key is refused by its name."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from functions.domain.instance import Catalogue
from functions.domain.spec import Mcp, ResourceLimits, Spec, memory_bytes, nano_cpus
from functions.lifecycle.deploy import NewInstance
from functions.lifecycle.host_ports import ANY_HOST_PORT
from functions.lifecycle.update import Changes
from functions.web.route import Empty
from shim import protocol
from shim.protocol import messages

# Firestore keeps such keys for itself.
RESERVED = re.compile(r"__.*__")


def _name(text: str) -> str:
    """1 to 128 characters of any script, NFC; nothing that a path or a log line could trip over."""
    name = unicodedata.normalize("NFC", text)
    if not 1 <= len(name) <= 128:
        raise ValueError("a name has 1 to 128 characters")
    if any(character in "/\\" or unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise ValueError("a name has no slash, backslash or control character")
    if name in (".", "..") or protocol.UUID.fullmatch(name.lower()):
        raise ValueError("a name is not '.', '..' or of an id's form")
    return name


def _image(text: str) -> str:
    if len(text) > 512 or not protocol.IMAGE_REFERENCE.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not an image reference like registry.example/name:tag")
    return text


def _variable_name(name: str) -> str:
    if not protocol.ENVIRONMENT_NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is not an environment variable's name")
    if RESERVED.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is reserved: a name does not both begin and end with two underscores")
    return name


def _secret(value: SecretStr) -> SecretStr:
    _text(value.get_secret_value())
    return value


def _volume_name(text: str) -> str:
    if not protocol.VOLUME_NAME.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not a volume name: 1 to 64 of a-z, 0-9, _, . and -")
    return text


def _path(text: str) -> str:
    if not protocol.CONTAINER_PATH.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not an absolute path in the container")
    return text


def _host_port(port: int) -> int:
    if port not in ANY_HOST_PORT and port not in protocol.HOST_PORTS:
        raise ValueError("a host port is from 20000 to 29999, or left out to have one chosen")
    return port


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL cannot be in it")
    return text


def _memory(text: str) -> str:
    memory_bytes(text)
    return text


def _cpu(text: str) -> str:
    nano_cpus(text)
    return text


def _http_path(text: str) -> str:
    if not text.startswith("/") or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError("a path begins with a slash and has no white space")
    return text


Argument = Annotated[str, Field(max_length=8192), AfterValidator(_text)]
VariableName = Annotated[str, AfterValidator(_variable_name)]
Environment = dict[VariableName, Annotated[str, Field(max_length=32768), AfterValidator(_text)]]
Secret = Annotated[SecretStr, Field(max_length=32768), AfterValidator(_secret)]
# Of null the value stays that is kept: a record shows each so, and can be sent again.
Secrets = dict[VariableName, Secret | None]
ContainerPath = Annotated[str, AfterValidator(_path)]
HttpPath = Annotated[str, Field(max_length=512), AfterValidator(_http_path)]


class PortMapping(Empty):
    containerPort: Annotated[int, Field(ge=1, le=65535)]
    hostPort: Annotated[int, AfterValidator(_host_port)] | None = None
    protocol: Literal["tcp", "udp"] = "tcp"


class VolumeMount(Empty):
    name: Annotated[str, AfterValidator(_volume_name)]
    path: ContainerPath


class Limits(Empty):
    memory: Annotated[str, AfterValidator(_memory)] = ResourceLimits().memory
    cpu: Annotated[str, AfterValidator(_cpu)] = ResourceLimits().cpu
    pids: Annotated[int, Field(ge=16, le=4096)] = ResourceLimits().pids


class HealthCheck(Empty):
    """Times in seconds."""

    command: Annotated[list[Argument], Field(min_length=1, max_length=64)]
    interval: Annotated[int, Field(ge=1, le=3600)] = 30
    timeout: Annotated[int, Field(ge=1, le=600)] = 10
    retries: Annotated[int, Field(ge=1, le=20)] = 3
    start_period: Annotated[int, Field(ge=0, le=3600)] = 10


class McpEndpoint(Empty):
    port: Annotated[int, Field(ge=1, le=65535)]
    path: HttpPath


class Configuration(Empty):
    """What may stand in the deploy body itself or below its `baseConfigOverrideJson`."""

    dockerImage: Annotated[str, AfterValidator(_image)] | None = None
    command: Annotated[list[Argument], Field(max_length=256)] | None = None
    environmentVariables: Annotated[Environment, Field(max_length=512)] | None = None
    secretVariables: Annotated[Secrets, Field(max_length=512)] | None = None
    portMappings: Annotated[list[PortMapping], Field(max_length=32)] | None = None
    volumes: Annotated[list[VolumeMount], Field(max_length=16)] | None = None
    resourceLimits: Limits | None = None
    restartPolicy: Literal["unless-stopped", "on-failure", "no"] | None = None
    healthCheck: HealthCheck | None = None
    mcp: McpEndpoint | None = None
    init: bool | None = None


class Patch(Configuration):
    """What is to change; a key that is left out stays."""

    def changes(self) -> Changes:
        given = {key: getattr(self, key) for key in self.model_fields_set}
        ports = given.get("portMappings")
        secrets = None if given.get("secretVariables") is None else _plain(given["secretVariables"])
        return Changes(lambda spec: _respecified(spec, given), None if ports is None else _ports(ports), secrets)


class Override(Configuration):
    mcpTransport: Annotated[str, Field(max_length=64)] | None = None
    mcpEndpoint: HttpPath | None = None
    mcpPort: Annotated[int, Field(ge=1, le=65535)] | None = None
    mcpCapabilities: Any = None
    templateId: Annotated[str, Field(max_length=256)] | None = None


class Deploy(Configuration):
    instanceNameOnToolbox: Annotated[str, AfterValidator(_name)]
    toolCatalogId: Annotated[str, Field(max_length=256)] | None = None
    baseConfigOverrideJson: Override | None = None
    start: bool = True

    @model_validator(mode="after")
    def _one_place(self) -> Deploy:
        """A key may stand in either place; in both only with one value, else nobody could say which holds."""
        nested = self.baseConfigOverrideJson or Override()
        for key in Configuration.model_fields:
            outer, inner = getattr(self, key), getattr(nested, key)
            if outer is not None and inner is not None and outer != inner:
                raise ValueError(f"{key} differs between the body and its baseConfigOverrideJson")
        if self._configured("dockerImage") is None:
            raise ValueError("dockerImage is required")
        for what, used in self._used_twice():
            raise ValueError(f"{what} {used} is mapped twice")
        return self

    def _configured(self, key: str) -> Any:
        outer = getattr(self, key)
        return getattr(self.baseConfigOverrideJson, key, None) if outer is None else outer

    def _used_twice(self) -> list[tuple[str, str]]:
        ports, volumes = self._configured("portMappings") or [], self._configured("volumes") or []
        chosen = [p for p in ports if p.hostPort and p.hostPort not in ANY_HOST_PORT]
        keys = {
            "container port": [f"{p.containerPort}/{p.protocol}" for p in ports],
            "host port": [f"{p.hostPort}/{p.protocol}" for p in chosen],
            "volume path": [v.path for v in volumes],
        }
        return [(what, key) for what, used in keys.items() for key in sorted(set(used)) if used.count(key) > 1]

    def wanted(self) -> NewInstance:
        nested, sent = self.baseConfigOverrideJson or Override(), self.baseConfigOverrideJson
        configured = {key: self._configured(key) for key in Configuration.model_fields}
        spec = _respecified(Spec(configured["dockerImage"], ports=_ports(configured["portMappings"] or [])), configured)
        if spec.mcp is None and nested.mcpPort and nested.mcpEndpoint:
            spec = replace(spec, mcp=Mcp(nested.mcpPort, nested.mcpEndpoint))
        catalogue = Catalogue(
            tool_catalog_id=self.toolCatalogId,
            base_config_override_json=_as_sent(sent) if sent else None,
            mcp_transport=nested.mcpTransport,
            mcp_endpoint=nested.mcpEndpoint,
            mcp_capabilities_json=None if nested.mcpCapabilities is None else json.dumps(nested.mcpCapabilities),
        )
        secrets = _plain(configured["secretVariables"] or {})
        return NewInstance(self.instanceNameOnToolbox, spec, catalogue, self.start, secrets)


def _plain(secrets: dict[str, SecretStr | None]) -> dict[str, str | None]:
    """In the clear, on their way to the vault or to a shim."""
    return {name: value.get_secret_value() if value else None for name, value in secrets.items()}


def _as_sent(override: Override) -> str:
    """Kept and shown; of secrets their names."""
    sent = override.model_dump(mode="json", exclude_unset=True)
    if sent.get("secretVariables"):
        sent["secretVariables"] = dict.fromkeys(sent["secretVariables"])
    return json.dumps(sent)


def _ports(mappings: list[PortMapping]) -> list[messages.Port]:
    return [messages.Port(p.containerPort, p.hostPort or 0, p.protocol) for p in mappings]


# From each key of a body but the ports, which are chosen and claimed, to the spec's own field.
_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "dockerImage": ("image", str),
    "command": ("command", list),
    "environmentVariables": ("environment", dict),
    "volumes": ("volumes", lambda given: [messages.Volume(v.name, v.path) for v in given]),
    "resourceLimits": ("limits", lambda given: ResourceLimits(given.memory, given.cpu, given.pids)),
    "restartPolicy": ("restart_policy", str),
    "healthCheck": ("health_check", lambda given: messages.HealthCheck(**given.model_dump())),
    "mcp": ("mcp", lambda given: Mcp(given.port, given.path)),
    "init": ("init", bool),
}


def _respecified(spec: Spec, given: dict[str, Any]) -> Spec:
    """`spec` with what is given in place of what stood there; a key that is null is as good as left out."""
    changes = {field: read(given[key]) for key, (field, read) in _FIELDS.items() if given.get(key) is not None}
    return replace(spec, **changes)
