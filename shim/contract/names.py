"""Names, labels, patterns and bounds that both sides use."""

from __future__ import annotations

import re

# Below the range from which Linux chooses ports for outgoing connections, above those of well-known services.
HOST_PORTS = range(20_000, 30_000)
MEMORY_BYTES = range(16 << 20, (256 << 30) + 1)
# One core is 1_000_000_000.
NANO_CPUS = range(10_000_000, 64_000_000_001)
PIDS = range(16, 4097)
# Seconds between SIGTERM and SIGKILL.
STOP_TIMEOUTS = range(121)
EXECUTION_SECONDS = range(1, 301)
PART_BYTES = range(1 << 20, (8 << 20) + 1)
MAX_LOG_LINES = 5_000
# Linux's MAX_ARG_STRLEN: execve fails with a longer argument or NAME=value.
MAX_ARGUMENT_BYTES = 131_071
RESTART_POLICIES = ("unless-stopped", "on-failure", "no")
PROTOCOLS = ("tcp", "udp")

LABEL_TOOLBOX = "toolboxes.toolbox-id"
LABEL_INSTANCE = "toolboxes.instance-id"
LABEL_SPEC_GENERATION = "toolboxes.spec-generation"
LABEL_IMAGE_DIGEST = "toolboxes.image-digest"
LABEL_MEMORY = "toolboxes.memory-bytes"
# The id, as in `Status`, of the engine that the container was created on. A list then shows which engine it is of.
LABEL_ENGINE = "toolboxes.engine-id"

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CONTAINER_NAME = re.compile(rf"tool-(?P<instance>{UUID.pattern})-g(?P<generation>[1-9][0-9]{{0,9}})")
VOLUME_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
CONTAINER_PATH = re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9_.@+-]{1,128}){1,16}")
# A volume mounted over one of these would break the container in ways that look like faults of the engine.
SYSTEM_PATH = re.compile(r"/(proc|sys|dev)(/.*)?")
# https://github.com/distribution/reference: domain, path, tag, digest; at most 255 characters for domain and path.
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
IMAGE_REFERENCE = re.compile(
    rf"(?=[^@:]{{1,255}}(?:[:@]|$))(?:{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}")


def container_name(instance_id: str, spec_generation: int) -> str:
    """The name of the container that runs this generation of the instance's spec."""
    return f"tool-{instance_id}-g{spec_generation}"
