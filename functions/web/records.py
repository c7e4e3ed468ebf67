"""Records as the frontend knows them: documents in its column names. Nothing is in them that was not stored."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from functions.domain.instance import container as domain_container
from functions.domain.instance.container import HealthCheck
from functions.domain.instance.image import PullProgress, image_tag
from functions.domain.instance.model import Instance, McpServer
from functions.domain.instance.model import Reason as Told
from functions.domain.instance.spec import Spec
from functions.domain.toolbox.model import Toolbox
from functions.domain.toolbox.shim import DropletMetrics
from functions.lifecycle.dependencies import Document
from functions.web.record_types import (
    Disk,
    EventRecord,
    Exit,
    Health,
    InstanceRecord,
    Mcp,
    Memory,
    Port,
    PostMortemRecord,
    Progress,
    Reason,
    SpecHealthCheck,
    SpecRecord,
    SystemMetrics,
    ToolboxRecord,
)

SUSPENDED = Told("account-suspended", "the account is suspended; once it is resumed this will run again")


def toolbox_record(toolbox: Toolbox) -> ToolboxRecord:
    return {
        "id": toolbox.id,
        "user_id": toolbox.account,
        "name": toolbox.name,
        "description": toolbox.description,
        "status": toolbox.status,
        "region_slug": toolbox.region,
        "size_slug": toolbox.size,
        "image_slug": toolbox.image,
        "do_droplet_id": toolbox.droplet_id,
        "do_droplet_name": toolbox.droplet_name,
        "public_ip_address": toolbox.address,
        "provisioning_error_message": toolbox.error,
        "last_heartbeat_at": _time_if_any(toolbox.last_heartbeat_at),
        "dtma_last_known_version": toolbox.shim_version,
        "dtma_health_details_json": toolbox_health(toolbox),
        "dtma_bearer_token": None,
        "generation": toolbox.generation,
        "observed_generation": toolbox.observed_generation,
        "created_at": _time(toolbox.created_at),
        "updated_at": _time(toolbox.updated_at),
    }


def instance_record(instance: Instance) -> InstanceRecord:
    observed, container, catalogue = instance.observed, instance.observed.container, instance.catalogue
    mcp, reason = instance.spec.mcp, _why(instance)
    seen_at = _time_if_any(observed.at)
    return {
        "id": instance.id,
        "account_tool_environment_id": instance.toolbox_id,
        "user_id": instance.account,
        "tool_catalog_id": catalogue.tool_catalog_id,
        "instance_name_on_toolbox": instance.name,
        "status_on_toolbox": instance.status,
        "status_reason": _reason(reason),
        "instance_error_message": instance.failure.message if instance.failure else None,
        "desired_state": instance.desired.state,
        "generation": instance.desired.generation,
        "observed_generation": observed.generation,
        "observed_at": seen_at,
        "last_heartbeat_from_dtma": seen_at,
        "reachable": observed.reachable,
        "spec": _spec(instance.spec),
        "base_config_override_json": _json(catalogue.base_config_override_json),
        "image": instance.spec.image,
        "image_digest": container.image_digest if container else None,
        "version": image_tag(instance.spec.image),
        "container_id": container.id if container else None,
        "container_name": container.name if container else None,
        "ports": [_port(port) for port in instance.spec.ports],
        "health": container.health if container else None,
        "mcp": _mcp(observed.mcp),
        "mcp_server_type": "mcp" if mcp else None,
        "mcp_transport_type": catalogue.mcp_transport or ("streamable-http" if mcp else None),
        "mcp_endpoint_path": catalogue.mcp_endpoint or (mcp.path if mcp else None),
        "mcp_server_capabilities": _json(catalogue.mcp_capabilities_json),
        "exit": _exit(instance),
        "restart_count": container.restart_count if container else 0,
        "started_at": container.started_at or None if container else None,
        "progress": _progress(observed.progress) if observed.progress else None,
        "created_at": _time(instance.created_at),
        "updated_at": _time(instance.updated_at),
    }


def event_record(document: Document) -> EventRecord:
    return {
        "id": document["id"],
        "time": _time(document["time"]),
        "type": document["type"],
        "actor": document["actor"],
        "generation": document["generation"],
        "from": document["before"],
        "to": document["after"],
        "detail": document["detail"],
    }


def post_mortem_record(document: Document) -> PostMortemRecord:
    return {
        "id": document["id"],
        "container_name": document["container_name"],
        "generation": document["generation"],
        "cause": document["cause"],
        "container": document["container"],
        "logs": document["logs"],
        "missing": document["missing"],
        "time": _time(document["time"]),
    }


def toolbox_health(toolbox: Toolbox) -> Health | None:
    if toolbox.metrics is None:
        return None
    return {
        "system_metrics": system_metrics(toolbox.metrics),
        "engine_version": toolbox.metrics.engine_version,
        "contract": toolbox.contract,
    }


def system_metrics(seen: DropletMetrics) -> SystemMetrics:
    memory: Memory = {
        "total_bytes": seen.memory.total_bytes,
        "active_bytes": seen.memory.active_bytes,
        "free_bytes": seen.memory.free_bytes,
        "used_bytes": seen.memory.used_bytes,
    }
    disk: Disk = {
        "mount": seen.disk.mount,
        "total_bytes": seen.disk.total_bytes,
        "used_bytes": seen.disk.used_bytes,
        "free_bytes": seen.disk.free_bytes,
    }
    return {"cpu_load_percent": seen.cpu_load_percent, "memory": memory, "disk": disk}


def _spec(spec: Spec) -> SpecRecord:
    check = spec.health_check
    return {
        "dockerImage": spec.image,
        "command": spec.command,
        "environmentVariables": spec.environment,
        "secretVariables": dict.fromkeys(spec.secrets.names) if spec.secrets else {},
        "portMappings": [
            {"containerPort": port.container_port, "hostPort": port.host_port, "protocol": port.protocol}
            for port in spec.ports
        ],
        "volumes": [{"name": volume.name, "path": volume.path} for volume in spec.volumes],
        "resourceLimits": {"memory": spec.limits.memory, "cpu": spec.limits.cpu, "pids": spec.limits.pids},
        "restartPolicy": spec.restart_policy,
        "healthCheck": _health_check(check) if check else None,
        "mcp": {"port": spec.mcp.port, "path": spec.mcp.path} if spec.mcp else None,
        "init": spec.init,
    }


def _health_check(check: HealthCheck) -> SpecHealthCheck:
    return {
        "command": check.command,
        "interval": check.interval,
        "timeout": check.timeout,
        "retries": check.retries,
        "start_period": check.start_period,
    }


def _port(port: domain_container.Port) -> Port:
    return {
        "container_port": port.container_port,
        "host_ip": port.host_ip,
        "host_port": port.host_port,
        "protocol": port.protocol,
    }


def _progress(progress: PullProgress) -> Progress:
    return {
        "bytes_done": progress.bytes_done,
        "bytes_total": progress.bytes_total,
        "layers_done": progress.layers_done,
        "layers_total": progress.layers_total,
    }


def _exit(instance: Instance) -> Exit | None:
    container = instance.observed.container
    if container is None or container.state not in ("exited", "dead"):
        return None
    return {
        "exit_code": container.exit_code,
        "oom_killed": container.oom_killed,
        "finished_at": container.finished_at,
    }


def _mcp(seen: McpServer | None) -> Mcp | None:
    if seen is None:
        return None
    return {
        "tools_count": seen.tools_count,
        "tools_hash": seen.tools_hash,
        "checked_at": _time(seen.checked_at),
    }


def _why(instance: Instance) -> Told | None:
    """Why it is not as desired, where it is not."""
    held = instance.target_state is not instance.desired.state
    return instance.failure or instance.observed.obstacle or (SUSPENDED if held else None)


def _reason(told: Told | None) -> Reason | None:
    return {"code": told.code, "message": told.message} if told else None


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _time(time: datetime) -> str:
    return time.isoformat()


def _time_if_any(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
