"""Request bodies: what may be in them, and the domain's own words for it. Any other key is refused by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from functions.domain.instance import container
from functions.domain.instance.model import CatalogEntry
from functions.domain.instance.spec import Mcp, ResourceLimits, Spec
from functions.lifecycle.instance.change import Changes
from functions.lifecycle.instance.deploy import NewInstance
from functions.lifecycle.instance.host_ports import ANY_HOST_PORT
from functions.web.fields import (
    WHOLE,
    Argument,
    ContainerPath,
    Cpu,
    Environment,
    HostPort,
    HttpPath,
    Image,
    Memory,
    Name,
    Port,
    Secrets,
    VolumeName,
)
from functions.web.route import Empty
from shim.contract import names


class PortMapping(Empty):
    containerPort: Port
    hostPort: HostPort | None = None
    protocol: Literal["tcp", "udp"] = "tcp"


class VolumeMount(Empty):
    name: VolumeName
    path: ContainerPath


class Limits(Empty):
    memory: Memory = ResourceLimits().memory
    cpu: Cpu = ResourceLimits().cpu
    pids: Annotated[int, Field(ge=names.PIDS[0], le=names.PIDS[-1]), WHOLE] = ResourceLimits().pids


_CHECK = container.HealthCheck(command=[])


class HealthCheck(Empty):
    """Times in seconds."""

    command: Annotated[list[Argument], Field(min_length=1, max_length=64)]
    interval: Annotated[int, Field(ge=1, le=3600), WHOLE] = _CHECK.interval
    timeout: Annotated[int, Field(ge=1, le=600), WHOLE] = _CHECK.timeout
    retries: Annotated[int, Field(ge=1, le=20), WHOLE] = _CHECK.retries
    start_period: Annotated[int, Field(ge=0, le=3600), WHOLE] = _CHECK.start_period


class McpEndpoint(Empty):
    port: Port
    path: HttpPath


class Configuration(Empty):
    """What may stand in the deploy body itself or below its `baseConfigOverrideJson`."""

    dockerImage: Image | None = None
    command: Annotated[list[Argument], Field(max_length=256)] | None = None
    environmentVariables: Environment | None = None
    secretVariables: Secrets | None = None
    portMappings: Annotated[list[PortMapping], Field(max_length=32)] | None = None
    volumes: Annotated[list[VolumeMount], Field(max_length=16)] | None = None
    resourceLimits: Limits | None = None
    restartPolicy: Literal["unless-stopped", "on-failure", "no"] | None = None
    healthCheck: HealthCheck | None = None
    mcp: McpEndpoint | None = None
    init: bool | None = None

    @field_validator("portMappings")
    @classmethod
    def _ports_once(cls, ports: list[PortMapping] | None) -> list[PortMapping] | None:
        chosen = [p for p in ports or [] if p.hostPort and p.hostPort not in ANY_HOST_PORT]
        _once("container port", [f"{p.containerPort}/{p.protocol}" for p in ports or []])
        _once("host port", [f"{p.hostPort}/{p.protocol}" for p in chosen])
        return ports

    @field_validator("volumes")
    @classmethod
    def _paths_once(cls, volumes: list[VolumeMount] | None) -> list[VolumeMount] | None:
        _once("volume path", [volume.path for volume in volumes or []])
        return volumes


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
    mcpPort: Port | None = None
    mcpCapabilities: Any = None
    templateId: Annotated[str, Field(max_length=256)] | None = None


# The image stands in either place.
_GIVEN: dict[str, Any] = {"required": ["dockerImage"], "properties": {"dockerImage": {"type": "string"}}}
_NESTED: dict[str, Any] = {
    "required": ["baseConfigOverrideJson"],
    "properties": {"baseConfigOverrideJson": {"type": "object", **_GIVEN}},
}


class Deploy(Configuration):
    model_config = ConfigDict(json_schema_extra={"anyOf": [_GIVEN, _NESTED]})

    instanceNameOnToolbox: Name
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
        return self

    def _configured(self, key: str) -> Any:
        outer = getattr(self, key)
        return getattr(self.baseConfigOverrideJson, key, None) if outer is None else outer

    def wanted(self) -> NewInstance:
        nested, sent = self.baseConfigOverrideJson or Override(), self.baseConfigOverrideJson
        configured = {key: self._configured(key) for key in Configuration.model_fields}
        spec = _respecified(Spec(configured["dockerImage"], ports=_ports(configured["portMappings"] or [])), configured)
        if spec.mcp is None and nested.mcpPort and nested.mcpEndpoint:
            spec = replace(spec, mcp=Mcp(nested.mcpPort, nested.mcpEndpoint))
        catalogue = CatalogEntry(
            tool_catalog_id=self.toolCatalogId,
            base_config_override_json=_as_sent(sent) if sent else None,
            mcp_transport=nested.mcpTransport,
            mcp_endpoint=nested.mcpEndpoint,
            mcp_capabilities_json=None if nested.mcpCapabilities is None else json.dumps(nested.mcpCapabilities),
        )
        secrets = _plain(configured["secretVariables"] or {})
        return NewInstance(self.instanceNameOnToolbox, spec, catalogue, self.start, secrets)


def _once(what: str, keys: list[str]) -> None:
    if twice := sorted(key for key in set(keys) if keys.count(key) > 1):
        raise ValueError(f"{what} {twice[0]} is mapped twice")


def _plain(secrets: dict[str, SecretStr | None]) -> dict[str, str | None]:
    """In the clear, on their way to the vault or to a shim."""
    return {name: value.get_secret_value() if value else None for name, value in secrets.items()}


def _as_sent(override: Override) -> str:
    """Kept and shown; of secrets their names."""
    sent = override.model_dump(mode="json", exclude_unset=True)
    if sent.get("secretVariables"):
        sent["secretVariables"] = dict.fromkeys(sent["secretVariables"])
    return json.dumps(sent)


def _ports(mappings: list[PortMapping]) -> list[container.Port]:
    return [container.Port(p.containerPort, p.hostPort or 0, p.protocol) for p in mappings]


# From each key of a body but the ports, which are chosen and claimed, to the spec's own field.
_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "dockerImage": ("image", str),
    "command": ("command", list),
    "environmentVariables": ("environment", dict),
    "volumes": ("volumes", lambda given: [container.Volume(v.name, v.path) for v in given]),
    "resourceLimits": ("limits", lambda given: ResourceLimits(given.memory, given.cpu, given.pids)),
    "restartPolicy": ("restart_policy", str),
    "healthCheck": ("health_check", lambda given: container.HealthCheck(**given.model_dump())),
    "mcp": ("mcp", lambda given: Mcp(given.port, given.path)),
    "init": ("init", bool),
}


def _respecified(spec: Spec, given: dict[str, Any]) -> Spec:
    """`spec` with what is given in place of what stood there; a key that is null is as good as left out."""
    changes = {field: read(given[key]) for key, (field, read) in _FIELDS.items() if given.get(key) is not None}
    return replace(spec, **changes)
