"""What the local DigitalOcean has to offer: a few of the real one's regions and sizes, and Debian in two forms."""

from __future__ import annotations

from typing import Any

REGION_SLUGS = {"fra1": "Frankfurt 1", "nyc3": "New York 3"}
# memory in MiB, cores, disk in GiB, transfer in TB, dollars a month
SIZES = {
    "s-1vcpu-1gb": (1024, 1, 25, 1.0, 6.0),
    "s-1vcpu-2gb": (2048, 1, 50, 2.0, 12.0),
    "s-2vcpu-4gb": (4096, 2, 80, 4.0, 24.0),
    "s-4vcpu-8gb": (8192, 4, 160, 5.0, 48.0),
}
# The names of images. The real one's Debian has no engine: its user-data installs that. Here it is there already, which
# saves each droplet half a minute, and `plain` is without it.
PREPARED, PLAIN = "debian-12-x64", "debian-12-x64-plain"
IMAGES = {PREPARED: (133179342, "12 x64"), PLAIN: (133179343, "12 x64 plain")}
SSH_KEYS = ("289794",)
DROPLET_LIMIT = 25
HOURS_A_MONTH = 672
ACCOUNT = {
    "droplet_limit": DROPLET_LIMIT,
    "floating_ip_limit": 3,
    "email": "toolboxes@localhost",
    "name": "Toolboxes",
    "uuid": "00000000-0000-4000-8000-000000000001",
    "email_verified": True,
    "status": "active",
    "status_message": "",
}


def regions() -> list[dict[str, Any]]:
    return [region(slug) for slug in REGION_SLUGS]


def region(slug: str) -> dict[str, Any]:
    features = ["metadata", "install_agent", "storage", "image_transfer"]
    return {
        "name": REGION_SLUGS[slug], "slug": slug, "features": features, "available": True, "sizes": list(SIZES),
    }  # fmt: skip


def sizes() -> list[dict[str, Any]]:
    return [size(slug) for slug in SIZES]


def size(slug: str) -> dict[str, Any]:
    memory, cores, disk, transfer, price = SIZES[slug]
    return {
        "slug": slug, "memory": memory, "vcpus": cores, "disk": disk, "transfer": transfer, "price_monthly": price,
        "price_hourly": round(price / HOURS_A_MONTH, 5), "regions": list(REGION_SLUGS), "available": True,
        "description": "Basic",
    }  # fmt: skip


def images() -> list[dict[str, Any]]:
    return [image(slug) for slug in IMAGES]


def image(slug: str) -> dict[str, Any]:
    key, name = IMAGES[slug]
    return {
        "id": key, "name": name, "type": "base", "distribution": "Debian", "slug": slug, "public": True,
        "regions": list(REGION_SLUGS), "created_at": "2023-06-12T00:00:00Z", "min_disk_size": 7, "size_gigabytes": 0.6,
        "description": f"Debian {name}", "tags": [], "status": "available",
    }  # fmt: skip
