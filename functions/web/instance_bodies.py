"""The bodies of deploy and PATCH: an instance's configuration as callers send it, and its conversion to the domain."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic.alias_generators import to_camel

from functions.domain.instance import container
from functions.domain.instance.host_port import ANY_HOST_PORT
from functions.domain.instance.model import CatalogEntry
from functions.domain.instance.spec import Mcp, ResourceLimits, Spec
from functions.lifecycle.instance.change import Changes
from functions.lifecycle.instance.deploy import NewInstance
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
from functions.web.route import Body
from shim.contract import names


class PortMapping(Body):
    container_port: Port = Field(description="Port inside the container.")
    host_port: HostPort | None = Field(
        default=None, description="Port on the droplet, 20000 to 29999. Null, 0 and 30000 have a free port chosen."
    )
    protocol: Literal["tcp", "udp"] = Field(default="tcp", description="Transport protocol.")


class VolumeMount(Body):
    name: VolumeName = Field(description="Name of the volume within the instance. It is created on first use.")
    path: ContainerPath = Field(description="Where it is mounted in the container.")


class Limits(Body):
    memory: Memory = Field(default=ResourceLimits().memory, description="Memory in Docker's notation, `16m` to `256g`.")
    cpu: Cpu = Field(default=ResourceLimits().cpu, description="CPU in cores, `0.01` to `64`.")
    pids: Annotated[int, Field(ge=names.PIDS[0], le=names.PIDS[-1]), WHOLE] = Field(
        default=ResourceLimits().pids, description="Largest number of processes and threads."
    )


_DEFAULTS = container.HealthCheck(command=[])


class HealthCheck(Body):
    """A command that Docker runs in the container; times are in seconds."""

    command: Annotated[list[Argument], Field(min_length=1, max_length=64)] = Field(
        description="Arguments of the command, without a shell. Exit code 0 means healthy."
    )
    interval: Annotated[int, Field(ge=1, le=3600), WHOLE] = Field(
        default=_DEFAULTS.interval, description="Seconds between two checks."
    )
    timeout: Annotated[int, Field(ge=1, le=600), WHOLE] = Field(
        default=_DEFAULTS.timeout, description="Seconds until a check has failed."
    )
    retries: Annotated[int, Field(ge=1, le=20), WHOLE] = Field(
        default=_DEFAULTS.retries, description="Failures in a row until unhealthy."
    )
    start_period: Annotated[int, Field(ge=0, le=3600), WHOLE] = Field(
        _DEFAULTS.start_period,
        alias="start_period",
        description="Seconds after the start in which a failure does not count.",
    )


class McpEndpoint(Body):
    port: Port = Field(description="Port inside the container that the MCP server listens on.")
    path: HttpPath = Field(description="HTTP path of the MCP server.")


class Configuration(Body):
    """The keys that can stand in the body itself or below its `baseConfigOverrideJson`."""

    docker_image: Image | None = Field(default=None, description="Image reference, by tag or digest.")
    command: Annotated[list[Argument], Field(max_length=256)] | None = Field(
        default=None, description="Arguments in place of the image's own command."
    )
    environment_variables: Environment | None = Field(default=None, description="Environment variables by name.")
    secret_variables: Secrets | None = Field(
        default=None,
        description="Environment variables, stored encrypted and never shown. Null keeps a value.",
    )
    port_mappings: Annotated[list[PortMapping], Field(max_length=32)] | None = Field(
        default=None, description="Ports to publish on the droplet."
    )
    volumes: Annotated[list[VolumeMount], Field(max_length=16)] | None = Field(
        default=None, description="Volumes to mount. Their data outlives the container."
    )
    resource_limits: Limits | None = Field(default=None, description="Limits of memory, CPU and processes.")
    restart_policy: Literal["unless-stopped", "on-failure", "no"] | None = Field(
        default=None, description="When Docker restarts the container; `unless-stopped` if left out."
    )
    health_check: HealthCheck | None = Field(default=None, description="Health check in place of the image's own.")
    mcp: McpEndpoint | None = Field(
        default=None,
        description="Where an MCP server answers. The instance is `running` once it was probed.",
    )
    init: bool | None = Field(default=None, description="Whether an init process runs as PID 1; true if left out.")

    @field_validator("port_mappings")
    @classmethod
    def _ports_once(cls, ports: list[PortMapping] | None) -> list[PortMapping] | None:
        chosen = [p for p in ports or [] if p.host_port and p.host_port not in ANY_HOST_PORT]
        _require_distinct("container port", [f"{p.container_port}/{p.protocol}" for p in ports or []])
        _require_distinct("host port", [f"{p.host_port}/{p.protocol}" for p in chosen])
        return ports

    @field_validator("volumes")
    @classmethod
    def _paths_once(cls, volumes: list[VolumeMount] | None) -> list[VolumeMount] | None:
        _require_distinct("volume path", [volume.path for volume in volumes or []])
        return volumes


class Patch(Configuration):
    """The keys that are to change. A key that is left out keeps its value."""

    def changes(self) -> Changes:
        """The patch in the domain's terms."""
        values = {key: getattr(self, key) for key in self.model_fields_set}
        ports = values.get("port_mappings")
        secrets = None if values.get("secret_variables") is None else _plaintext(values["secret_variables"])
        return Changes(lambda spec: _with(spec, values), None if ports is None else _ports(ports), secrets)


class Override(Configuration):
    mcp_transport: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="Transport as the caller's catalogue names it; stored and shown."
    )
    mcp_endpoint: HttpPath | None = Field(default=None, description="As `mcp.path`, together with `mcpPort`.")
    mcp_port: Port | None = Field(default=None, description="As `mcp.port`, together with `mcpEndpoint`.")
    mcp_capabilities: Any = Field(default=None, description="Any JSON of the caller's catalogue; stored and shown.")
    template_id: Annotated[str, Field(max_length=256)] | None = Field(
        default=None, description="The caller's template; stored and shown."
    )

    @field_validator("mcp_capabilities")
    @classmethod
    def _numbers_of_json(cls, value: Any) -> Any:
        """Refuse what `1e999` is read as: JSON has no infinity, so the record could not show it."""
        _require_finite(value)
        return value


# The image can stand in either place.
_IMAGE_HERE: dict[str, Any] = {"required": ["dockerImage"], "properties": {"dockerImage": {"type": "string"}}}
_IMAGE_BELOW: dict[str, Any] = {
    "required": ["baseConfigOverrideJson"],
    "properties": {"baseConfigOverrideJson": {"type": "object", **_IMAGE_HERE}},
}


class Deploy(Configuration):
    """A new instance."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [_IMAGE_HERE, _IMAGE_BELOW]})

    instance_name_on_toolbox: Name = Field(description="Name, unique on the toolbox: 1 to 128 characters.")
    tool_catalog_id: Annotated[str, Field(max_length=256)] | None = Field(
        default=None, description="The caller's catalogue entry; stored and shown."
    )
    base_config_override_json: Override | None = Field(
        default=None, description="A second place for the configuration, which the existing frontend uses."
    )
    start: bool = Field(default=True, description="Whether to start the instance once it is deployed.")

    @model_validator(mode="after")
    def _one_place(self) -> Deploy:
        """Refuse two values of one key, since nobody could say which one holds."""
        nested = self.base_config_override_json or Override()
        for key in Configuration.model_fields:
            outer, inner = getattr(self, key), getattr(nested, key)
            if outer is not None and inner is not None and outer != inner:
                name = to_camel(key)
                raise ValueError(f"{name} differs between the body and its baseConfigOverrideJson; send it once")
        if self._configured("docker_image") is None:
            raise ValueError("dockerImage is required")
        return self

    def _configured(self, key: str) -> Any:
        outer = getattr(self, key)
        return getattr(self.base_config_override_json, key, None) if outer is None else outer

    def new_instance(self) -> NewInstance:
        """The body in the domain's terms."""
        nested, sent = self.base_config_override_json or Override(), self.base_config_override_json
        configured = {key: self._configured(key) for key in Configuration.model_fields}
        spec = Spec(configured["docker_image"], ports=_ports(configured["port_mappings"] or []))
        spec = _with(spec, configured)
        if spec.mcp is None and nested.mcp_port and nested.mcp_endpoint:
            spec = replace(spec, mcp=Mcp(nested.mcp_port, nested.mcp_endpoint))
        catalogue = CatalogEntry(
            tool_catalog_id=self.tool_catalog_id,
            base_config_override_json=_without_secrets(sent) if sent else None,
            mcp_transport=nested.mcp_transport,
            mcp_endpoint=nested.mcp_endpoint,
            mcp_capabilities_json=None if nested.mcp_capabilities is None else json.dumps(nested.mcp_capabilities),
        )
        secrets = _plaintext(configured["secret_variables"] or {})
        return NewInstance(self.instance_name_on_toolbox, spec, catalogue, self.start, secrets)


def _require_finite(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number in it is too large, or is not a number")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _require_finite(item)


def _require_distinct(what: str, keys: list[str]) -> None:
    if repeated := sorted(key for key in set(keys) if keys.count(key) > 1):
        raise ValueError(f"{what} {repeated[0]} is mapped twice")


def _plaintext(secrets: dict[str, SecretStr | None]) -> dict[str, str | None]:
    """The values in plain text, for the vault."""
    return {name: value.get_secret_value() if value else None for name, value in secrets.items()}


def _without_secrets(override: Override) -> str:
    """The override as JSON text, to store and show. Secret variables keep their names and lose their values."""
    sent = override.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if sent.get("secretVariables"):
        sent["secretVariables"] = dict.fromkeys(sent["secretVariables"])
    return json.dumps(sent)


def _ports(mappings: list[PortMapping]) -> list[container.Port]:
    return [container.Port(p.container_port, p.host_port or 0, p.protocol) for p in mappings]


# From a key of the configuration to the spec's field. Ports and secrets are missing: they are allocated and encrypted.
_SPEC_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "docker_image": ("image", str),
    "command": ("command", list),
    "environment_variables": ("environment", dict),
    "volumes": ("volumes", lambda values: [container.Volume(v.name, v.path) for v in values]),
    "resource_limits": ("limits", lambda values: ResourceLimits(values.memory, values.cpu, values.pids)),
    "restart_policy": ("restart_policy", str),
    "health_check": ("health_check", lambda values: container.HealthCheck(**values.model_dump())),
    "mcp": ("mcp", lambda values: Mcp(values.port, values.path)),
    "init": ("init", bool),
}


def _with(spec: Spec, values: dict[str, Any]) -> Spec:
    """`spec` with the given keys in place of its own; null counts as left out."""
    changes = {field: read(values[key]) for key, (field, read) in _SPEC_FIELDS.items() if values.get(key) is not None}
    return replace(spec, **changes)
