"""Examples of bodies and answers in openapi.json. Those of records are made from documents, as answers are."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any, get_args, get_origin

from functions.domain.account.model import Registry
from functions.domain.instance.container import (
    Container,
    ContainerLimits,
    ContainerStats,
    ExecResult,
    ListedContainer,
    Port,
)
from functions.domain.instance.model import Desired, DesiredState, Instance, InstanceStatus, McpServer, Observed
from functions.domain.instance.spec import Mcp, Spec
from functions.domain.rollout.model import Rollout
from functions.domain.secrets import Sealed
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.domain.toolbox.shim import DiskMetrics, DropletMetrics, MemoryMetrics, ShimStatus
from functions.web import console, containers, digitalocean_options, instance_actions, operators, registries
from functions.web import enrolment as shims
from functions.web.instance_bodies import Deploy, Patch
from functions.web.problems import TYPE, ProblemDocument
from functions.web.records import EventRecord, Health, InstanceRecord, PostMortemRecord, Record, ToolboxRecord, as_json
from functions.web.route import NoFields
from functions.web.server_sent_events import LogEvent
from functions.web.toolboxes import Provision
from functions.web.webhooks import Webhook
from functions.web.workers import Push, Swept

_AT, _TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"
_ACCOUNT = "8c1f6ed0-6d3f-4b3f-9f1e-3f6a9f6f0b11"
_TOOLBOX, _INSTANCE = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
_IMAGE = "registry.example/mcp-server-everything:2026.8.31"
_NAME = f"tool-{_INSTANCE}-g1"
_SHIM = f"registry.example/toolboxes-shim@sha256:{'0' * 64}"

_METRICS = DropletMetrics(
    engine_version="27.1.1",
    cpu_load_percent=3.5,
    memory=MemoryMetrics(1_010_000_000, 400_000_000, 300_000_000, 350_000_000),
    disk=DiskMetrics("/", 25_000_000_000, 5_000_000_000, 20_000_000_000),
)
_TOOLBOX_DOCUMENT = Toolbox(
    id=_TOOLBOX,
    account=_ACCOUNT,
    name="my tools",
    status=ToolboxStatus.ACTIVE,
    region="fra1",
    size="s-1vcpu-1gb",
    image="debian-12-x64",
    created_at=_AT,
    updated_at=_AT,
    droplet_id="412345678",
    droplet_name=f"toolbox-{_TOOLBOX}-1",
    address="192.0.2.10",
    shim_version="1.0.0",
    contract=2,
    metrics=_METRICS,
    last_heartbeat_at=_AT,
    observed_generation=1,
)
_CONTAINER = Container(
    id="c" * 64,
    name=_NAME,
    instance_id=_INSTANCE,
    spec_generation=1,
    state="running",
    health=None,
    exit_code=0,
    oom_killed=False,
    error="",
    started_at=_TIME,
    finished_at="",
    restart_count=0,
    image=_IMAGE,
    image_digest=f"sha256:{'d' * 64}",
    ports=[],
    environment_names=[],
    endpoint_id="e" * 64,
    limits=ContainerLimits(1 << 29, 500_000_000, 256),
)
_INSTANCE_DOCUMENT = Instance(
    id=_INSTANCE,
    toolbox_id=_TOOLBOX,
    account=_ACCOUNT,
    name="everything",
    status=InstanceStatus.RUNNING,
    spec=Spec(_IMAGE, ports=[Port(3001, 20_001)], mcp=Mcp(3001, "/mcp")),
    desired=Desired(DesiredState.RUNNING),
    created_at=_AT,
    updated_at=_AT,
    observed=Observed(_CONTAINER, at=_AT, generation=1, mcp=McpServer(13, "f" * 64, _AT, "e" * 64)),
)
_STATUS = ShimStatus(
    version="1.0.0",
    contract=2,
    engine_id="engine-1",
    complete=True,
    metrics=_METRICS,
    started_at=1767323045.0,
    containers=[ListedContainer(_CONTAINER.id, _NAME, _INSTANCE, 1, "running", None, "e" * 64)],
)

_BODIES: dict[Any, Any] = {
    NoFields: {},
    Deploy: {
        "instanceNameOnToolbox": "everything",
        "dockerImage": _IMAGE,
        "portMappings": [{"containerPort": 3001}],
        "mcp": {"port": 3001, "path": "/mcp"},
    },
    Patch: {"environmentVariables": {"LOG_LEVEL": "debug"}},
    containers.Exec: {"command": ["node", "--version"]},
    instance_actions.Action: {"toolboxId": _TOOLBOX, "action": "restart", "instanceId": "everything"},
    console.Console: {"toolboxId": _TOOLBOX, "action": "status"},
    Provision: {"name": "my tools", "regionSlug": "fra1", "sizeSlug": "s-1vcpu-1gb"},
    registries.Credentials: {"username": "robot", "password": "a-token"},
    Webhook: {"type": "account.suspended", "timestamp": _TIME, "data": {"account": _ACCOUNT}},
    shims.Enrol: {
        "toolbox_id": _TOOLBOX,
        "droplet_id": "412345678",
        "certificate": "-----BEGIN CERTIFICATE-----…",
        "token": "from-user-data",
        "proof": "eyJ…",
    },
    Push: {"message": {"data": "eyJraW5kIjogImluc3RhbmNlIiwgImlkIjogIjIyMjIifQ=="}},
}
_DOCUMENTS: dict[type[Record], object] = {
    ToolboxRecord: _TOOLBOX_DOCUMENT,
    Health: _TOOLBOX_DOCUMENT.health,
    InstanceRecord: _INSTANCE_DOCUMENT,
    EventRecord: {
        "id": "00000001-0-requested",
        "time": _AT,
        "type": "deploy_requested",
        "actor": _ACCOUNT,
        "generation": 1,
        "before": None,
        "after": "pending_deploy",
        "detail": None,
    },
    PostMortemRecord: {
        "id": "1",
        "container_name": _NAME,
        "generation": 1,
        "cause": "the container exited with code 1",
        "time": _AT,
        "container": {"id": _CONTAINER.id, "state": "exited", "exit_code": 1},
        "logs": [f"{_TIME} stderr no such file"],
        "missing": [],
    },
    registries.RegistryRecord: Registry(_ACCOUNT, "registry.example", "robot", Sealed([], "", "", ""), _AT, _AT),
    operators.RolloutRecord: Rollout(_SHIM, "operator", _AT, None, running=[_TOOLBOX], upgraded=3),
    operators.OrphanDropletRecord: {
        "id": "412345679",
        "name": "by-hand",
        "address": "192.0.2.11",
        "tags": ["toolboxes"],
        "toolbox_id": None,
        "created_at": _AT,
        "first_seen_at": _AT,
    },
    containers.LogsRecord: {
        "success": True,
        "logs": [f"{_TIME} listening on 3001"],
        "instance_id": "everything",
        "truncated": False,
        "timestamp": _AT,
    },
    containers.ExecRecord: ExecResult(_CONTAINER, 0, "v24.1.0\n", "", False),
    containers.StatsRecord: ContainerStats(_TIME, 1.5, 12.25, 60_000_000, 536_870_912, 11, 5_000, 7_000, 0, 0),
    instance_actions.ActionRecord: {
        "success": True,
        "message": "everything was restarted",
        "instance_id": "everything",
        "action": "restart",
        "timestamp": _AT,
    },
    console.ConsoleAction: {
        "success": False,
        "message": "the shim is being replaced",
        "action": "redeploy",
        "timestamp": _AT,
    },
    console.ConsoleStatus: console.console_status(_TOOLBOX_DOCUMENT, _STATUS, {_INSTANCE: _INSTANCE_DOCUMENT}, _AT),
    digitalocean_options.Region: {
        "slug": "fra1",
        "name": "Frankfurt 1",
        "features": ["metadata"],
        "sizes": ["s-1vcpu-1gb"],
        "available": True,
    },
    digitalocean_options.Size: {
        "slug": "s-1vcpu-1gb",
        "description": "Basic",
        "memory": 1024,
        "vcpus": 1,
        "disk": 25,
        "transfer": 1.0,
        "price_monthly": 6.0,
        "price_hourly": 0.00893,
        "regions": ["fra1"],
        "available": True,
    },
    shims.Enrolled: {"control_keys": {"0123456789abcdef": "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"}},
    Swept: {"published": 12},
    ProblemDocument: {
        "type": f"{TYPE}not-found",
        "title": "not found",
        "status": 404,
        "detail": f"There is no toolbox {_TOOLBOX!r}.",
        "message": f"There is no toolbox {_TOOLBOX!r}.",
        "request_id": "105445aa7843bc8bf206b12000100000",
    },
}


@cache
def _examples() -> dict[Any, Any]:
    records = {kind: as_json(kind.model_validate(found)) for kind, found in _DOCUMENTS.items()}
    return {**_BODIES, **records, LogEvent: "id: 2026-01-02T03:04:05Z\ndata: 2026-01-02T03:04:05Z listening\n\n"}


def example_of(kind: Any) -> dict[str, Any]:
    """`{"example": …}` for a body or record, or a list of records; `{}` where there is none."""
    if get_origin(kind) is list:
        return {"example": [_examples()[get_args(kind)[0]]]}
    return {"example": _examples()[kind]} if kind in _examples() else {}
