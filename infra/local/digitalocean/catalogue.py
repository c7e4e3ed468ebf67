"""The regions, sizes, images and limits that the local DigitalOcean offers: a small part of the real ones."""

from __future__ import annotations

from typing import Any

REGION_SLUGS = {"fra1": "Frankfurt 1", "nyc3": "New York 3"}
SIZES = {
    "s-1vcpu-1gb": (1024, 1, 25, 1.0, 6.0),
    "s-1vcpu-2gb": (2048, 1, 50, 2.0, 12.0),
    "s-2vcpu-4gb": (4096, 2, 80, 4.0, 24.0),
    "s-4vcpu-8gb": (8192, 4, 160, 5.0, 48.0),
}
"""By slug: memory in MiB, virtual CPUs, disk in GiB, transfer in TB a month, US dollars a month."""
PREPARED, PLAIN = "debian-12-x64", "debian-12-x64-plain"
"""The image slugs. The real Debian image has no Docker Engine, and the user-data installs it. PREPARED contains the
engine, which saves each droplet half a minute; PLAIN does not, for tests of the installation."""
IMAGES = {PREPARED: (133179342, "12 x64"), PLAIN: (133179343, "12 x64 plain")}
SSH_KEYS = ("289794",)
DROPLET_LIMIT = 25
HOURS_PER_MONTH = 672
"""DigitalOcean's number for prices per hour."""
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
    """One region in the API's form. Raises KeyError."""
    features = ["metadata", "install_agent", "storage", "image_transfer"]
    return {"name": REGION_SLUGS[slug], "slug": slug, "features": features, "available": True, "sizes": list(SIZES)}


def sizes() -> list[dict[str, Any]]:
    return [size(slug) for slug in SIZES]


def size(slug: str) -> dict[str, Any]:
    """One size in the API's form. Raises KeyError."""
    memory, cpus, disk, transfer, price = SIZES[slug]
    return {
        "slug": slug,
        "memory": memory,
        "vcpus": cpus,
        "disk": disk,
        "transfer": transfer,
        "price_monthly": price,
        "price_hourly": round(price / HOURS_PER_MONTH, 5),
        "regions": list(REGION_SLUGS),
        "available": True,
        "description": "Basic",
    }


def images() -> list[dict[str, Any]]:
    return [image(slug) for slug in IMAGES]


def image(slug: str) -> dict[str, Any]:
    """One image in the API's form. Raises KeyError."""
    key, name = IMAGES[slug]
    return {
        "id": key,
        "name": name,
        "type": "base",
        "distribution": "Debian",
        "slug": slug,
        "public": True,
        "regions": list(REGION_SLUGS),
        "created_at": "2023-06-12T00:00:00Z",
        "min_disk_size": 7,
        "size_gigabytes": 0.6,
        "description": f"Debian {name}",
        "tags": [],
        "status": "available",
    }
