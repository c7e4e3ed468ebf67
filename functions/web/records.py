"""The records of toolboxes, instances and their history, and the one path by which a record becomes an answer.

A record is read from the attributes of a document, so each field is stated once: its name on the wire, the attribute
it comes from, its type and its description. openapi.json shows the same models. Every field is always present, and
null where there is no value. Times are RFC 3339 in UTC. Names are the columns that the existing frontend reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Annotated, Any, TypeVar

from flask import Response
from pydantic import AliasGenerator, AliasPath, BaseModel, BeforeValidator, ConfigDict, Field, Json, TypeAdapter
from pydantic.alias_generators import to_camel

from functions.domain.instance.model import DesiredState, InstanceStatus
from functions.domain.instance.spec import image_tag
from functions.domain.secrets import Sealed
from functions.domain.toolbox.model import ToolboxStatus


def _closed(schema: dict[str, Any]) -> None:
    # `extra="forbid"` would say the same, but it also refuses a stored event that carries its delivery state.
    schema["additionalProperties"] = False


class Record(BaseModel):
    """A JSON object of an answer, read from an object's attributes or from a stored document."""

    # Models are built on first use, as those of bodies and queries are (route.py): a cold start then builds only those
    # of its first request. pydantic builds them under a lock.
    model_config = ConfigDict(
        defer_build=True,
        from_attributes=True,
        json_schema_serialization_defaults_required=True,
        json_schema_extra=_closed,
    )


class CamelRecord(Record):
    """A record whose keys are camelCase, as request bodies and some answers of the existing frontend are."""

    model_config = ConfigDict(alias_generator=AliasGenerator(serialization_alias=to_camel))


R = TypeVar("R", bound=Record)


def answer(record: Record, status: int = 200) -> Response:
    """The record as JSON."""
    return Response(record.model_dump_json(by_alias=True), status, mimetype="application/json")


def answer_list(kind: type[Record], documents: Iterable[object]) -> Response:
    """The documents as a JSON array of records of `kind`."""
    adapter = _list_of(kind)
    return Response(adapter.dump_json(adapter.validate_python(documents), by_alias=True), mimetype="application/json")


def as_json(record: Record) -> dict[str, Any]:
    """The record as plain JSON values, to be stored or put into another document."""
    return record.model_dump(mode="json", by_alias=True)


@cache
def _list_of(kind: type[Record]) -> TypeAdapter[list[Any]]:
    # Compiling an adapter takes milliseconds.
    return TypeAdapter(list[kind])  # type: ignore[valid-type]


def at(path: str, description: str, default: Any = None) -> Any:
    """A field that is read from the dotted attribute `path`, and is `default` where an attribute of it is missing."""
    return Field(default=default, validation_alias=AliasPath(*path.split(".")), description=description)


def _rfc3339(time: datetime | str) -> str:
    # pydantic would write UTC as "Z", where clients have always read "+00:00".
    return time if isinstance(time, str) else time.isoformat()


def _none_if_empty(text: str | None) -> str | None:
    return text or None


def _names_alone(sealed: Sealed | None) -> dict[str, None]:
    return dict.fromkeys(sealed.names) if sealed else {}


def _tag(image: str) -> str | None:
    return image_tag(image)


def _server_type(mcp: object) -> str | None:
    return "mcp" if mcp else None


Time = Annotated[str, BeforeValidator(_rfc3339), Field(json_schema_extra={"format": "date-time"})]
# Docker's own time, which is "" where the event did not happen yet.
DockerTime = Annotated[str | None, BeforeValidator(_none_if_empty), Field(json_schema_extra={"format": "date-time"})]


class MemoryUse(Record):
    total_bytes: int = Field(description="All memory of the droplet.")
    active_bytes: int = Field(description="Memory that was used recently.")
    free_bytes: int = Field(description="Memory that holds nothing.")
    used_bytes: int = Field(description="Memory in use, without caches.")


class DiskUse(Record):
    mount: str = Field(description="Where the file system is mounted.")
    total_bytes: int = Field(description="Size of the file system.")
    used_bytes: int = Field(description="Bytes in use.")
    free_bytes: int = Field(description="Bytes that can still be written.")


class SystemMetrics(Record):
    cpu_load_percent: float = Field(description="Load of all cores together; 100 is every core busy.")
    memory: MemoryUse = Field(description="The droplet's memory.")
    disk: DiskUse = Field(description="The file system that holds images, containers and volumes.")


class Health(Record):
    """What a droplet uses, as its shim measured it."""

    system_metrics: SystemMetrics = Field(validation_alias="metrics", description="Load, memory and disk.")
    engine_version: str = Field(description="Version of the droplet's Docker Engine.")
    contract: int | None = Field(description="Version of the contract that the shim speaks.")


class ToolboxRecord(Record):
    """A toolbox: an account's DigitalOcean droplet."""

    id: str = Field(description="The toolbox's id, a UUID.")
    user_id: str = Field(validation_alias="account", description="The account that owns it: the token's `sub`.")
    name: str = Field(description="The name that it was provisioned with.")
    description: str | None = Field(description="Free text that it was provisioned with.")
    status: ToolboxStatus = Field(description="Where it is between provisioning and deprovisioned.")
    region_slug: str = Field(validation_alias="region", description="DigitalOcean region.")
    size_slug: str = Field(validation_alias="size", description="DigitalOcean droplet size.")
    image_slug: str = Field(validation_alias="image", description="Operating system image of the droplet.")
    do_droplet_id: str | None = at("droplet_id", "DigitalOcean's id of the droplet; null before it is created.")
    do_droplet_name: str | None = at("droplet_name", "Name of the droplet at DigitalOcean.")
    public_ip_address: str | None = at("address", "The droplet's public IPv4 address.")
    provisioning_error_message: str | None = at("error", "Why it does not get on, in a sentence.")
    last_heartbeat_at: Time | None = Field(description="When its shim last answered. Null: it never did.")
    dtma_last_known_version: str | None = at("shim_version", "Version of its shim.")
    dtma_health_details_json: Health | None = at("health", "What the droplet used at the last heartbeat.")
    dtma_bearer_token: None = Field(default=None, description="Always null: commands to the shim are signed instead.")
    generation: int = Field(description="Grows by one with each change of the desired state.")
    observed_generation: int = Field(description="The generation that was reached, or given up with an error.")
    created_at: Time = Field(description="When it was requested.")
    updated_at: Time = Field(description="When its document last changed.")


class ReasonRecord(Record):
    code: str = Field(description="Stable code, e.g. `image-not-found`.")
    message: str = Field(description="What is wrong, in a sentence.")


class PublishedPort(Record):
    container_port: int = Field(description="Port inside the container.")
    host_ip: str = Field(description="Address of the droplet that the port is published on.")
    host_port: int = Field(description="Port on the droplet, 20000 to 29999.")
    protocol: str = Field(description="`tcp` or `udp`.")


class McpServerRecord(Record):
    """What the MCP server offered when it was last probed."""

    tools_count: int = Field(description="Number of tools that the server lists.")
    tools_hash: str = Field(description="SHA-256 of the list of tools; another value means other tools.")
    checked_at: Time = Field(description="When the server was probed.")


class ExitRecord(Record):
    exit_code: int = Field(description="Exit code of the container's main process.")
    oom_killed: bool = Field(description="Whether the kernel ended it for lack of memory.")
    finished_at: str = Field(description="When it ended.", json_schema_extra={"format": "date-time"})


class PullProgress(Record):
    bytes_done: int = Field(description="Bytes of the image that are on the droplet.")
    bytes_total: int = Field(description="Bytes of the layers that the registry has announced so far.")
    layers_done: int = Field(description="Layers that are on the droplet.")
    layers_total: int = Field(description="Layers that the registry has announced so far.")


class SpecPort(CamelRecord):
    container_port: int = Field(description="Port inside the container.")
    host_port: int = Field(description="Port on the droplet, also where it was chosen for the caller.")
    protocol: str = Field(description="`tcp` or `udp`.")


class SpecVolume(CamelRecord):
    name: str = Field(description="Name of the volume within the instance.")
    path: str = Field(description="Where it is mounted in the container.")


class SpecLimits(CamelRecord):
    memory: str = Field(description="Memory limit in Docker's notation, e.g. `512m`.")
    cpu: str = Field(description="CPU limit in cores, e.g. `0.5`.")
    pids: int = Field(description="Largest number of processes and threads.")


class SpecHealthCheck(Record):
    command: list[str] = Field(description="Command that exits with 0 while the container is healthy.")
    interval: int = Field(description="Seconds between two checks.")
    timeout: int = Field(description="Seconds after which a check has failed.")
    retries: int = Field(description="Failed checks in a row that make the container unhealthy.")
    start_period: int = Field(description="Seconds after the start in which a failed check does not count.")


class SpecMcp(CamelRecord):
    port: int = Field(description="Port inside the container that the MCP server listens on.")
    path: str = Field(description="HTTP path of the MCP server.")


class SpecRecord(CamelRecord):
    """The keys of the deploy body with their defaults filled in, so that it can be sent again."""

    docker_image: str = Field(validation_alias="image", description="Image reference.")
    command: list[str] = Field(description="Command in place of the image's own; empty: the image's.")
    environment_variables: dict[str, str] = Field(validation_alias="environment", description="Environment variables.")
    secret_variables: Annotated[dict[str, None], BeforeValidator(_names_alone)] = Field(
        validation_alias="secrets",
        description="Names of the secret variables, each with null. A null that is sent again keeps the stored value.",
    )
    port_mappings: list[SpecPort] = Field(validation_alias="ports", description="Published ports.")
    volumes: list[SpecVolume] = Field(description="Volumes.")
    resource_limits: SpecLimits = Field(validation_alias="limits", description="Limits of memory, CPU and processes.")
    restart_policy: str = Field(description="Docker's restart policy.")
    health_check: SpecHealthCheck | None = Field(description="Health check; null: the image's own, if it has one.")
    mcp: SpecMcp | None = Field(description="Where the MCP server answers; null: this is not an MCP server.")
    init: bool = Field(description="Whether an init process runs as PID 1.")


class InstanceRecord(Record):
    """An instance: one managed container on a toolbox."""

    id: str = Field(description="The instance's id, a UUID.")
    account_tool_environment_id: str = Field(validation_alias="toolbox_id", description="The toolbox that it is on.")
    user_id: str = Field(validation_alias="account", description="The account that owns it: the token's `sub`.")
    tool_catalog_id: str | None = at("catalogue.tool_catalog_id", "The caller's catalogue entry, as it was sent.")
    instance_name_on_toolbox: str = Field(validation_alias="name", description="Its name, unique on the toolbox.")
    status_on_toolbox: InstanceStatus = Field(validation_alias="status", description="Desired and observed as one.")
    status_reason: ReasonRecord | None = Field(description="Why it is not as desired; null where it is.")
    instance_error_message: str | None = at("failure.message", "Why the present generation failed.")
    desired_state: DesiredState = at("desired.state", "What the account requested.", ...)
    generation: int = at("desired.generation", "Grows by one with each change of the desired state.", ...)
    observed_generation: int = at("observed.generation", "The generation that was reached or has failed.", ...)
    observed_at: Time | None = at("observed.at", "When its container was last observed.")
    last_heartbeat_from_dtma: Time | None = at("observed.at", "The same as `observed_at`.")
    reachable: bool = at("observed.reachable", "Whether the toolbox could be reached at the last attempt.", ...)
    spec: SpecRecord = Field(description="What was deployed.")
    base_config_override_json: Json[Any] | None = at(
        "catalogue.base_config_override_json", "As it was sent, without secrets."
    )
    image: str = at("spec.image", "Image reference.", ...)
    image_digest: str | None = at("observed.container.image_digest", "Digest of the image that the container runs.")
    version: Annotated[str | None, BeforeValidator(_tag)] = at("spec.image", "Tag of the image reference.", ...)
    container_id: str | None = at("observed.container.id", "Docker's id of the container; null while there is none.")
    container_name: str | None = at("observed.container.name", "Docker's name of the container.")
    ports: list[PublishedPort] = at("spec.ports", "Published ports.", ...)
    health: str | None = at("observed.container.health", "Result of the health check: starting, healthy, unhealthy.")
    mcp: McpServerRecord | None = at("observed.mcp", "The MCP server, once it has answered a probe.", ...)
    mcp_server_type: Annotated[str | None, BeforeValidator(_server_type)] = at(
        "spec.mcp", "`mcp` for an MCP server, else null.", ...
    )
    mcp_transport_type: str | None = at("mcp_transport", "Transport of the MCP server.", ...)
    mcp_endpoint_path: str | None = at("mcp_path", "HTTP path of the MCP server.", ...)
    mcp_server_capabilities: Json[Any] | None = at(
        "catalogue.mcp_capabilities_json", "The caller's catalogue entry, as sent."
    )
    exit: ExitRecord | None = at("exited_container", "How the container ended; null while it has not.")
    restart_count: int = at("observed.container.restart_count", "How often Docker has restarted the container.", 0)
    started_at: DockerTime = at("observed.container.started_at", "When the container was last started.")
    progress: PullProgress | None = at("observed.progress", "Progress of the image pull; null where none is running.")
    created_at: Time = Field(description="When it was requested.")
    updated_at: Time = Field(description="When its document last changed.")


class EventRecord(Record):
    """One line of the history of an instance or toolbox."""

    id: str = Field(description="The event's id, unique within its instance or toolbox.")
    time: Time = Field(description="When it was recorded.")
    type: str = Field(description="What happened, e.g. `status_changed`.")
    actor: str = Field(description="Who caused it: a token's `sub`, `converge` or `backend`.")
    generation: int = Field(description="The generation that it belongs to.")
    before: str | None = Field(serialization_alias="from", description="Status before; null where it is not about one.")
    after: str | None = Field(serialization_alias="to", description="Status after; null where it is not about one.")
    detail: str | None = Field(description="More about it, in a sentence.")


class PostMortemRecord(Record):
    """What was stored of a container before its removal, or when it was found dead."""

    id: str = Field(description="The post-mortem's id.")
    container_name: str = Field(description="Docker's name of the container.")
    generation: int = Field(description="The generation that it belongs to.")
    cause: str = Field(description="Why the post-mortem was recorded.")
    container: dict[str, Any] | None = Field(description="The last inspect, in the contract's fields.")
    logs: list[str] = Field(description="The last lines of its log, oldest first.")
    missing: list[str] = Field(description="What could not be fetched, and why.")
    time: Time = Field(description="When it was recorded.")
