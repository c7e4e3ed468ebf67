"""Representative documents, from which tests make the records that callers see."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from functions.domain.account.model import Registry
from functions.domain.instance.container import (
    Container,
    ContainerLimits,
    ContainerStats,
    ExecResult,
    HealthCheck,
    ListedContainer,
    Port,
    Volume,
)
from functions.domain.instance.model import (
    CatalogEntry,
    Desired,
    DesiredState,
    Failure,
    Instance,
    InstanceStatus,
    McpServer,
    Observed,
    Reason,
)
from functions.domain.instance.spec import Mcp, PullProgress, ResourceLimits, Spec
from functions.domain.rollout.model import Rollout, Stage
from functions.domain.secrets import Sealed
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.domain.toolbox.shim import DiskMetrics, DropletMetrics, MemoryMetrics, ShimStatus
from functions.lifecycle.dependencies import Document

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATER = AT + timedelta(seconds=1)
TOOLBOX, INSTANCE = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
METRICS = DropletMetrics(
    engine_version="27.1",
    cpu_load_percent=12.5,
    memory=MemoryMetrics(total_bytes=4, active_bytes=3, free_bytes=1, used_bytes=2),
    disk=DiskMetrics(mount="/", total_bytes=40, used_bytes=30, free_bytes=10),
)
CONTAINER = Container(
    id="c" * 64,
    name=f"tool-{INSTANCE}-g1",
    instance_id=INSTANCE,
    spec_generation=1,
    state="running",
    health="healthy",
    exit_code=0,
    oom_killed=False,
    error="",
    started_at="2026-01-02T03:04:05.123456789Z",
    finished_at="",
    restart_count=2,
    image="registry.test/server:1",
    image_digest=f"sha256:{'d' * 64}",
    ports=[],
    environment_names=["A"],
    limits=ContainerLimits(1 << 29, 500_000_000, 256),
    endpoint_id="e" * 64,
)

NEW_TOOLBOX = Toolbox(
    id=TOOLBOX,
    account="account-a",
    name="box",
    status=ToolboxStatus.PENDING_PROVISION,
    region="fra1",
    size="s-1vcpu-1gb",
    image="debian-12-x64",
    created_at=AT,
    updated_at=LATER,
)
ACTIVE_TOOLBOX = replace(
    NEW_TOOLBOX,
    status=ToolboxStatus.ACTIVE,
    description="Große Kiste",
    droplet_id="7",
    droplet_name="toolbox-1-1",
    address="192.0.2.1",
    fingerprint="0" * 64,
    shim_version="1.2",
    contract=1,
    metrics=METRICS,
    last_heartbeat_at=AT.replace(microsecond=0),
    generation=3,
    observed_generation=3,
)
TOOLBOXES = {
    "new": NEW_TOOLBOX,
    "active": ACTIVE_TOOLBOX,
    "obstructed": replace(NEW_TOOLBOX, obstacle=Reason("digitalocean-busy", "DigitalOcean answers 429")),
    "failed": replace(
        NEW_TOOLBOX, status=ToolboxStatus.ERROR_PROVISIONING, failure=Failure(1, Reason("digitalocean-refused", "no"))
    ),
}

NEW_INSTANCE = Instance(
    id=INSTANCE,
    toolbox_id=TOOLBOX,
    account="account-a",
    name="server",
    spec=Spec("registry.test/server"),
    desired=Desired(DesiredState.RUNNING),
    created_at=AT,
    updated_at=LATER,
)
FULL_SPEC = Spec(
    image="registry.test:5000/server:1@sha256:abc",
    command=["serve", "--name", "ümläut"],
    environment={"A": "b", "C": ""},
    ports=[Port(3000, 20_001), Port(53, 20_002, "udp")],
    allocated=[Port(3000, 20_001)],
    volumes=[Volume("data", "/data")],
    limits=ResourceLimits("1g", "2", 64),
    restart_policy="on-failure",
    health_check=HealthCheck(["true"], 31, 11, 4, 12),
    mcp=Mcp(3000, "/mcp"),
    init=False,
    secrets=Sealed(["TOKEN", "OTHER"], "key-1", "a", "b"),
)
RUNNING = replace(
    NEW_INSTANCE,
    spec=FULL_SPEC,
    status=InstanceStatus.RUNNING,
    desired=Desired(DesiredState.RUNNING, generation=4, spec_generation=2),
    observed=Observed(CONTAINER, at=LATER, generation=4, mcp=McpServer(13, "f" * 64, AT, "e" * 64)),
    catalogue=CatalogEntry("catalogue-1", '{"dockerImage": "x", "none": null}', "sse", "/sse", '{"tools": {}}'),
)
EXITED = replace(
    CONTAINER, state="exited", health=None, exit_code=137, oom_killed=True, finished_at="2026-01-02T04:00Z"
)
INSTANCES = {
    "new": NEW_INSTANCE,
    "running": RUNNING,
    "mcp of the spec alone": replace(RUNNING, catalogue=CatalogEntry()),
    "created": replace(
        NEW_INSTANCE, observed=Observed(replace(CONTAINER, state="created", started_at="", health=None), at=AT)
    ),
    "exited and unreachable": replace(RUNNING, observed=Observed(EXITED, at=AT, reachable=False)),
    "pulling": replace(
        NEW_INSTANCE,
        status=InstanceStatus.DEPLOYING,
        observed=Observed(progress=PullProgress(1, 2, 3, 4), obstacle=Reason("engine-unavailable", "no engine")),
    ),
    "failed": replace(
        NEW_INSTANCE,
        status=InstanceStatus.ERROR_INSTALL,
        observed=Observed(generation=1, failure=Failure(1, Reason("image-not-found", "there is no such image"))),
    ),
    "failed before": replace(RUNNING, observed=Observed(failure=Failure(1, Reason("port-taken", "it is taken")))),
    "suspended": replace(RUNNING, suspended=True),
}

EVENTS: dict[str, Document] = {
    "deploy": {
        "id": "00000001-0-requested", "time": AT, "type": "deploy_requested", "actor": "account-a", "generation": 1,
        "before": None, "after": InstanceStatus.PENDING_DEPLOY, "detail": None,
    },
    "announced": {
        "id": "00000001-1-x", "time": LATER, "type": "crashed", "actor": "converge", "generation": 1,
        "before": "running", "after": "starting", "detail": "exit code 1; restarts: 1", "deliver_at": LATER,
        "delivery_attempts": 2,
    },
}  # fmt: skip
POST_MORTEMS: dict[str, Document] = {
    "whole": {
        "id": "p1", "container_name": CONTAINER.name, "generation": 2, "cause": "it died", "time": AT,
        "container": {"id": CONTAINER.id, "state": "exited", "limits": {"pids": 256}}, "logs": ["a", "b"],
        "missing": [],
    },
    "empty": {
        "id": "p2", "container_name": CONTAINER.name, "generation": 2, "cause": "it died", "time": AT,
        "container": None, "logs": [], "missing": ["logs: the engine does not answer"],
    },
}  # fmt: skip
REGISTRY = Registry("account-a", "registry.test:5000", "robot", Sealed(["password"], "k", "a", "b"), AT, LATER)
ROLLOUTS = {
    "running": Rollout("registry.test/shim@sha256:0", "operator", AT, AT, running=[TOOLBOX], upgraded=2, skipped=1),
    "failed": Rollout(
        "registry.test/shim@sha256:0", "operator", AT, None, Stage.FAILED, failed=TOOLBOX, reason="it did not serve"
    ),
}
ORPHAN_DROPLETS: dict[str, Document] = {
    "named": {
        "id": "8", "name": "by-hand", "address": "192.0.2.9", "tags": ["toolboxes"], "toolbox_id": TOOLBOX,
        "created_at": AT, "first_seen_at": LATER,
    },
    "unnamed": {
        "id": "9", "name": "by-hand", "address": None, "tags": [], "toolbox_id": None, "created_at": AT,
        "first_seen_at": LATER,
    },
}  # fmt: skip
EXECUTED = {
    "done": ExecResult(CONTAINER, 3, "out", "err\n", False),
    "timed out": ExecResult(CONTAINER, None, "", "", True),
}
STATS = ContainerStats("2026-01-02T03:04:05Z", 1.5, 2.25, 3, 4, 5, 6, 7, 8, 9)
STATUS = ShimStatus(
    version="1.2",
    contract=1,
    engine_id="engine",
    complete=True,
    containers=[
        ListedContainer(CONTAINER.id, CONTAINER.name, INSTANCE, 1, "running", "healthy", "e" * 64),
        ListedContainer("b" * 64, "tool-x-g1", "33333333-3333-4333-8333-333333333333", 1, "exited", None, ""),
    ],
    metrics=METRICS,
    started_at=12.5,
)
REGION = {"slug": "fra1", "name": "Frankfurt 1", "features": ["metadata"], "sizes": ["s-1vcpu-1gb"], "available": True}
SIZE = {
    "slug": "s-1vcpu-1gb", "description": "Basic", "memory": 1024, "vcpus": 1, "disk": 25, "transfer": 1.0,
    "price_monthly": 6.0, "price_hourly": 0.00893, "regions": ["fra1"], "available": True, "networking": 1,
}  # fmt: skip
