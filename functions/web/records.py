"""Records as the frontend knows them: documents in its column names. Nothing is in them that was not stored."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from functions.domain.instance import Instance, McpSeen, Reason
from functions.domain.spec import Spec, image_tag
from functions.domain.toolbox import Toolbox

Record = dict[str, Any]


def toolbox_record(toolbox: Toolbox) -> Record:
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
        "last_heartbeat_at": _time(toolbox.last_heartbeat_at),
        "dtma_last_known_version": toolbox.shim_version,
        "dtma_health_details_json": _health(toolbox),
        "dtma_bearer_token": None,
        "generation": toolbox.generation,
        "observed_generation": toolbox.observed_generation,
        "created_at": _time(toolbox.created_at),
        "updated_at": _time(toolbox.updated_at),
    }


def instance_record(instance: Instance) -> Record:
    observed, container, catalogue = instance.observed, instance.observed.container, instance.catalogue
    mcp, reason = instance.spec.mcp, instance.failure or observed.trouble
    seen_at = _time(observed.at)
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
        "ports": [asdict(port) for port in instance.spec.ports],
        "health": container.health if container else None,
        "mcp": _mcp(observed.mcp),
        "mcp_server_type": "mcp" if mcp else None,
        "mcp_transport_type": catalogue.mcp_transport or ("streamable-http" if mcp else None),
        "mcp_endpoint_path": catalogue.mcp_endpoint or (mcp.path if mcp else None),
        "mcp_server_capabilities": _json(catalogue.mcp_capabilities_json),
        "exit": _exit(instance),
        "restart_count": container.restart_count if container else 0,
        "started_at": container.started_at or None if container else None,
        "progress": asdict(observed.progress) if observed.progress else None,
        "created_at": _time(instance.created_at),
        "updated_at": _time(instance.updated_at),
    }


def event_record(document: Record) -> Record:
    """`from` and `to` are statuses, None where the event is not about one."""
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


def post_mortem_record(document: Record) -> Record:
    """`missing` names what could not be fetched."""
    keys = ("id", "container_name", "generation", "cause", "container", "logs", "missing")
    return {**{key: document[key] for key in keys}, "time": _time(document["time"])}


def _health(toolbox: Toolbox) -> Record | None:
    if toolbox.metrics is None:
        return None
    system = asdict(toolbox.metrics)
    engine_version = system.pop("engine_version")
    return {"system_metrics": system, "engine_version": engine_version, "contract": toolbox.contract}


def _spec(spec: Spec) -> Record:
    """The spec in the keys of the deploy body, so that it can be sent again; its defaults are filled in."""
    ports = [{"containerPort": p.container_port, "hostPort": p.host_port, "protocol": p.protocol} for p in spec.ports]
    return {
        "dockerImage": spec.image,
        "command": spec.command,
        "environmentVariables": spec.environment,
        "portMappings": ports,
        "volumes": [asdict(volume) for volume in spec.volumes],
        "resourceLimits": asdict(spec.limits),
        "restartPolicy": spec.restart_policy,
        "healthCheck": asdict(spec.health_check) if spec.health_check else None,
        "mcp": asdict(spec.mcp) if spec.mcp else None,
        "init": spec.init,
    }


def _exit(instance: Instance) -> Record | None:
    container = instance.observed.container
    if container is None or container.state not in ("exited", "dead"):
        return None
    return {
        "exit_code": container.exit_code,
        "oom_killed": container.oom_killed,
        "finished_at": container.finished_at,
    }


def _mcp(seen: McpSeen | None) -> Record | None:
    if seen is None:
        return None
    return {
        "tools_count": seen.tools_count,
        "tools_hash": seen.tools_hash,
        "checked_at": _time(seen.checked_at),
    }


def _reason(reason: Reason | None) -> Record | None:
    return asdict(reason) if reason else None


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _time(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
