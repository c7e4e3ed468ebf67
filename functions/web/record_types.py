"""The records that answers are made of, field by field; openapi.json shows these, and mypy holds the renderers to them.

Times are RFC 3339 in UTC. A field is always there, and null where there is nothing to say.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, with_config
from typing_extensions import TypedDict

from functions.domain.instance.model import DesiredState, InstanceStatus
from functions.domain.toolbox.model import ToolboxStatus

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
# Any JSON, as it was sent.
Json = Any
# No field but these: what is answered otherwise is not of this type.
exact = with_config(extra="forbid")


@exact
class Memory(TypedDict):
    total_bytes: int
    active_bytes: int
    free_bytes: int
    used_bytes: int


@exact
class Disk(TypedDict):
    mount: str
    total_bytes: int
    used_bytes: int
    free_bytes: int


@exact
class SystemMetrics(TypedDict):
    cpu_load_percent: float
    memory: Memory
    disk: Disk


@exact
class Health(TypedDict):
    system_metrics: SystemMetrics
    engine_version: str
    contract: int | None


@exact
class ToolboxRecord(TypedDict):
    """`last_heartbeat_at` is when the shim was truly heard."""

    id: str
    user_id: str
    name: str
    description: str | None
    status: ToolboxStatus
    region_slug: str
    size_slug: str
    image_slug: str
    do_droplet_id: str | None
    do_droplet_name: str | None
    public_ip_address: str | None
    provisioning_error_message: str | None
    last_heartbeat_at: Time | None
    dtma_last_known_version: str | None
    dtma_health_details_json: Health | None
    dtma_bearer_token: None
    generation: int
    observed_generation: int
    created_at: Time
    updated_at: Time


@exact
class Reason(TypedDict):
    code: str
    message: str


@exact
class Port(TypedDict):
    container_port: int
    host_ip: str
    host_port: int
    protocol: str


@exact
class Mcp(TypedDict):
    tools_count: int
    tools_hash: str
    checked_at: Time


@exact
class Exit(TypedDict):
    exit_code: int
    oom_killed: bool
    finished_at: Time


@exact
class Progress(TypedDict):
    bytes_done: int
    bytes_total: int
    layers_done: int
    layers_total: int


@exact
class SpecPort(TypedDict):
    containerPort: int
    hostPort: int
    protocol: str


@exact
class SpecVolume(TypedDict):
    name: str
    path: str


@exact
class SpecLimits(TypedDict):
    memory: str
    cpu: str
    pids: int


@exact
class SpecHealthCheck(TypedDict):
    command: list[str]
    interval: int
    timeout: int
    retries: int
    start_period: int


@exact
class SpecMcp(TypedDict):
    port: int
    path: str


@exact
class SpecRecord(TypedDict):
    """The keys of the deploy body, so that it can be sent again; its defaults are filled in.

    `secretVariables` shows names alone; a null that is sent again leaves the value as it is.
    """

    dockerImage: str
    command: list[str]
    environmentVariables: dict[str, str]
    secretVariables: dict[str, None]
    portMappings: list[SpecPort]
    volumes: list[SpecVolume]
    resourceLimits: SpecLimits
    restartPolicy: str
    healthCheck: SpecHealthCheck | None
    mcp: SpecMcp | None
    init: bool


@exact
class InstanceRecord(TypedDict):
    """`observed_at` and `last_heartbeat_from_dtma` are when it was last seen; `reachable` says whether it could be."""

    id: str
    account_tool_environment_id: str
    user_id: str
    tool_catalog_id: str | None
    instance_name_on_toolbox: str
    status_on_toolbox: InstanceStatus
    status_reason: Reason | None
    instance_error_message: str | None
    desired_state: DesiredState
    generation: int
    observed_generation: int
    observed_at: Time | None
    last_heartbeat_from_dtma: Time | None
    reachable: bool
    spec: SpecRecord
    base_config_override_json: Json
    image: str
    image_digest: str | None
    version: str | None
    container_id: str | None
    container_name: str | None
    ports: list[Port]
    health: str | None
    mcp: Mcp | None
    mcp_server_type: str | None
    mcp_transport_type: str | None
    mcp_endpoint_path: str | None
    mcp_server_capabilities: Json
    exit: Exit | None
    restart_count: int
    started_at: Time | None
    progress: Progress | None
    created_at: Time
    updated_at: Time


# `from` and `to` are statuses, None where the event is not about one.
EventRecord = TypedDict(
    "EventRecord",
    {
        "id": str,
        "time": Time,
        "type": str,
        "actor": str,
        "generation": int,
        "from": str | None,
        "to": str | None,
        "detail": str | None,
    },
)
exact(EventRecord)


@exact
class PostMortemRecord(TypedDict):
    """`container` is what inspect said last, in the contract's fields; `missing` names what could not be fetched."""

    id: str
    container_name: str
    generation: int
    cause: str
    container: dict[str, Json] | None
    logs: list[str]
    missing: list[str]
    time: Time


@exact
class LogsRecord(TypedDict):
    """`truncated`: older lines within the asked range exist but were left out."""

    success: bool
    logs: list[str]
    instanceId: str
    truncated: bool
    timestamp: Time
