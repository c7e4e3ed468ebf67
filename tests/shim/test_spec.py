"""The allow-list: the exact request to the engine, and each attempt to get more than the list allows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from shim import spec
from shim.contract import messages, names
from shim.contract.messages import Create, HealthCheck, Limits, Port, Volume

ID = "0a1b2c3d-0000-4000-8000-000000000001"
PLAIN = Create(ID, 3, "nginx:1", Limits(512 << 20, 500_000_000, 256))
LABELS = {
    names.LABEL_TOOLBOX: "toolbox",
    names.LABEL_INSTANCE: ID,
    names.LABEL_SPEC_GENERATION: "3",
    names.LABEL_IMAGE_DIGEST: "sha256:1",
}


def test_engine_config_is_exactly_this() -> None:
    requested = replace(
        PLAIN,
        command=["serve", "; rm -rf /"],
        environment={"A": "1=2\n$(x)"},
        ports=[Port(80, 20001), Port(53, 20002, "udp", "127.0.0.1")],
        volumes=[Volume("data", "/var/lib/data")],
        health_check=HealthCheck(["true"]),
    )
    assert spec.engine_config(requested, LABELS) == {
        "Image": "nginx:1",
        "Cmd": ["serve", "; rm -rf /"],
        "Env": ["A=1=2\n$(x)"],
        "Labels": LABELS,
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Healthcheck": {
            "Test": ["CMD", "true"],
            "Retries": 3,
            "Interval": 30_000_000_000,
            "Timeout": 10_000_000_000,
            "StartPeriod": 10_000_000_000,
        },
        "HostConfig": {
            "NetworkMode": "bridge",
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "CapDrop": ["ALL"],
            "CapAdd": [
                "CHOWN",
                "DAC_OVERRIDE",
                "FOWNER",
                "FSETID",
                "KILL",
                "NET_BIND_SERVICE",
                "SETGID",
                "SETPCAP",
                "SETUID",
            ],
            "SecurityOpt": ["no-new-privileges"],
            "Memory": 536_870_912,
            "MemorySwap": 536_870_912,
            "NanoCpus": 500_000_000,
            "PidsLimit": 256,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
            "RestartPolicy": {"Name": "unless-stopped"},
            "Init": True,
            "PortBindings": {
                "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "20001"}],
                "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "20002"}],
            },
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": f"{ID}-data",
                    "Target": "/var/lib/data",
                    "VolumeOptions": {"Labels": {names.LABEL_TOOLBOX: "toolbox", names.LABEL_INSTANCE: ID}},
                }
            ],
        },
    }


ESCAPES: list[tuple[dict[str, Any], str]] = [
    ({"privileged": True}, "no field 'privileged'"),
    ({"cap_add": ["SYS_ADMIN"]}, "no field 'cap_add'"),
    ({"HostConfig": {"Privileged": True}}, "no field 'HostConfig'"),
    *(
        ({f"{kind}_mode": mode}, "no field")
        for kind in ("network", "pid", "ipc", "uts", "userns", "cgroupns")
        for mode in ("host", "container:x")
    ),
    *(
        ({key: value}, f"no field {key!r}")
        for key, value in {
            "devices": ["/dev/sda"],
            "device_cgroup_rules": ["a *:* rwm"],
            "security_opt": ["seccomp=unconfined"],
            "seccomp": "unconfined",
            "apparmor": "unconfined",
            "sysctls": {},
            "cgroup_parent": "/",
            "runtime": "runc",
            "binds": ["/:/host"],
            "mounts": [{"Type": "bind", "Source": "/"}],
            "volumes_from": ["x"],
            "tmpfs": {"/x": ""},
            "group_add": ["docker"],
            "user": "0",
            "entrypoint": ["sh"],
            "hostname": "x",
            "dns": ["1.1.1.1"],
            "links": ["x"],
            "extra_hosts": ["x:1.1.1.1"],
            "oom_score_adj": -1000,
            "ulimits": [],
            "shm_size": 1,
            "storage_opt": {},
            "labels": {names.LABEL_TOOLBOX: "another"},
            "name": "toolboxes-shim",
        }.items()
    ),
    *(({key: "x"}, f"no field {key!r}") for key in ("Image", "IMAGE", "imagE", "Limits", "Command", "instance_Id")),
    ({"ports": [{"container_port": 80, "host_port": 20_000, "Host_Port": 22}]}, "no field 'Host_Port'"),
    ({"health_check": {"command": ["x"], "HostConfig": {}}}, "no field 'HostConfig'"),
    ({"volumes": [{"name": "/var/run/docker.sock", "path": "/a"}]}, "].name must be a name"),
    ({"limits": {"memory_bytes": 1 << 30, "nano_cpus": 10**9, "pids": 64, "Privileged": True}}, "no field"),
    ({"limits": None}, "must be an object"),
    ({"limits": {"memory_bytes": True, "nano_cpus": 10**9, "pids": 64}}, "whole number"),
    ({"volumes": [{"name": "a", "path": "/a", "source": "/"}]}, "no field 'source'"),
    ({"volumes": [{"name": "/", "path": "/a"}]}, "].name must be a name"),
    ({"volumes": [{"name": "../a", "path": "/a"}]}, "].name must be a name"),
    ({"volumes": [{"name": "a:/host", "path": "/a"}]}, "].name must be a name"),
    ({"volumes": [{"name": "a\n", "path": "/a"}]}, "].name must be a name"),
    *(
        ({"volumes": [{"name": "a", "path": path}]}, "].path must be an absolute path")
        for path in (
            "a",
            "/",
            "/a/../b",
            "/..",
            "/a/.",
            "/a b",
            "/a:ro",
            "/a,b",
            "/a\n",
            "/proc",
            "/sys/fs",
            "/dev",
            "//a",
        )
    ),
    ({"volumes": [{"name": "a", "path": "/a\0"}]}, "without NUL"),
    ({"volumes": [{"name": "a", "path": "/a"}, {"name": "a", "path": "/b"}]}, "volumes.name must not contain"),
    ({"volumes": [{"name": "a", "path": "/a"}, {"name": "b", "path": "/a"}]}, "volumes.path must not contain"),
    *(
        ({"image": image}, "image must be")
        for image in ("", "a b", "../a", "a;b", "A", "a:b:c", "-a", "a@sha256:12", "a\n", "a" * 600)
    ),
    ({"environment": {"A=B": "1"}}, "environment"),
    ({"environment": {"A\n": "1"}}, "environment"),
    ({"environment": {"A\0": "1"}}, "environment"),
    ({"environment": {"A": "\0"}}, "without NUL"),
    ({"environment": {"A": "\ud800"}}, "must be a string"),
    ({"environment": {"A": "x" * 131_072}}, "at most 131071"),
    ({"environment": {"A": "x" * 131_070}}, "at most 131071 bytes"),
    ({"command": "sh -c x"}, "must be a list"),
    ({"command": ["x"] * 257}, "command"),
    ({"command": ["\ud800"]}, "must be a string"),
    *(({"ports": [{"container_port": 80, "host_port": port}]}, "host_port") for port in (-1, 0, 80, 19_999, 30_000)),
    *(({"ports": [{"container_port": port, "host_port": 20_000}]}, "container_port") for port in (-1, 0, 65_536)),
    ({"ports": [{"container_port": 80, "host_port": 20_000, "protocol": "sctp"}]}, "protocol must be one of"),
    ({"ports": [{"container_port": 80, "host_port": 20_000, "host_ip": "eth0"}]}, "host_ip"),
    (
        {"ports": [{"container_port": 80, "host_port": 20_000}, {"container_port": 81, "host_port": 20_000}]},
        "ports must not contain",
    ),
    *(({"limits": {"memory_bytes": b, "nano_cpus": 10**9, "pids": 64}}, "memory") for b in (-1, 0, 1 << 20, 1 << 60)),
    *(({"limits": {"memory_bytes": 1 << 30, "nano_cpus": n, "pids": 64}}, "nano_cpus") for n in (-1, 0, 10**15)),
    *(({"limits": {"memory_bytes": 1 << 30, "nano_cpus": 10**9, "pids": p}}, "pids") for p in (-1, 0, 15, 4097)),
    ({"restart_policy": "always"}, "restart_policy"),
    *(({"instance_id": i}, "instance_id") for i in ("", "x", ID.upper(), ID + "\n", "../" + ID)),
    *(({"spec_generation": g}, "spec_generation") for g in (0, -1, 10**10)),
    ({"health_check": {"command": []}}, "health_check.command"),
    ({"health_check": {"command": ["x"], "interval": 0}}, "health_check.interval"),
    ({"health_check": {"command": "x"}}, "must be a list"),
]


@pytest.mark.parametrize(("changed", "named"), ESCAPES)
def test_field_outside_the_allow_list_is_refused(changed: dict[str, Any], named: str) -> None:
    plain = {
        "instance_id": ID,
        "spec_generation": 1,
        "image": "nginx:1",
        "limits": {"memory_bytes": 1 << 30, "nano_cpus": 10**9, "pids": 64},
    }
    with pytest.raises(messages.Malformed) as refused:
        messages.read(Create, json.dumps(plain | changed).encode())
    assert named in str(refused.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"image": "nginx:1", "image": "other:1"}',
        b'{"limits": {"memory_bytes": 1073741824, "nano_cpus": 1, "pids": 64, "pids": 4096}}',
        b'{"environment": {"A": "1", "A": "2"}}',
        b'{"volumes": [{"name": "a", "path": "/a", "name": "b"}]}',
        b'{"ima\\u0067e": "nginx:1", "image": "other:1"}',
    ],
)
def test_repeated_key_is_refused_at_every_depth(body: bytes) -> None:
    with pytest.raises(messages.Malformed, match="twice"):
        messages.read(Create, body)


def test_refusal_contains_no_environment_value() -> None:
    with pytest.raises(messages.Malformed) as refused:
        messages.read(Create, messages.dump(replace(PLAIN, environment={"KEY": "secret" * 30_000})))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "image",
    [
        "nginx",
        "nginx:1",
        "127.0.0.1:5000/a/b:latest",
        "ghcr.io/a/b_c-d@sha256:" + "0" * 64,
        "a.b/c:1@sha256:" + "0" * 64,
    ],
)
def test_ordinary_image_references_pass(image: str) -> None:
    assert messages.read(Create, messages.dump(replace(PLAIN, image=image))).image == image
