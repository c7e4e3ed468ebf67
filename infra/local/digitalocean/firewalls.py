"""The firewalls of the local DigitalOcean, and what each means for one droplet as rules of the kernel's.

They stand in the droplet's own network, before anything that it could set itself sees a packet: a container's
published port is held back like any other.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Network, ip_network
from typing import Any

from infra.local import command
from infra.local.digitalocean.records import Record, Records
from infra.local.digitalocean.refusal import Conflict, NotFound, Unprocessable
from infra.local.digitalocean.tags import Tags
from infra.local.droplet import Droplet
from infra.local.world import World

# The droplet's network card.
CARD = "eth0"
METADATA = "169.254.169.254"
ASKED = ("name", "droplet_ids", "tags", "inbound_rules", "outbound_rules")


class Firewalls:
    """One world's."""

    def __init__(self, of: World, tags: Tags) -> None:
        self._records, self._tags = Records(of, "firewalls"), tags
        self._rules = of.directory / "digitalocean" / "rules"

    def all(self) -> list[Record]:
        return self._records.all()

    def get(self, key: str) -> Record:
        """Raises NotFound."""
        found = self._records.get(key)
        if found is None:
            raise NotFound("The resource you requested could not be found.")
        return found

    def create(self, asked: dict[str, Any]) -> Record:
        """Raises Conflict, Unprocessable."""
        return self._put(asked, str(uuid.uuid4()), datetime.now(UTC).isoformat(timespec="seconds"))

    def replace(self, key: str, asked: dict[str, Any]) -> Record:
        """Raises NotFound, Conflict, Unprocessable."""
        return self._put(asked, key, self.get(key)["created_at"])

    def delete(self, key: str) -> None:
        """Raises NotFound."""
        self.get(key)
        self._records.delete(key)

    def hold(self, droplet: Droplet, tags: Iterable[str]) -> None:
        """Puts in place what holds for a running droplet with these tags."""
        concerned = [one for one in self.all() if droplet.id in one["droplet_ids"] or {*tags} & {*one["tags"]}]
        self._rules.mkdir(parents=True, exist_ok=True)
        file = self._rules / droplet.name
        file.write_text("\n".join(rules(concerned)) + "\n")
        command.run(["nsenter", "--target", str(droplet.process()), "--net", "iptables-restore", file])

    def _put(self, asked: dict[str, Any], key: str, created_at: str) -> Record:
        wanted = {name: asked.get(name) or [] for name in ASKED}
        if not wanted["name"] or not (wanted["inbound_rules"] or wanted["outbound_rules"]):
            raise Unprocessable("a firewall needs a name and at least one rule")
        if any(one["name"] == wanted["name"] and one["id"] != key for one in self.all()):
            raise Conflict("duplicate name")
        if unknown := [tag for tag in wanted["tags"] if not self._tags.has(tag)]:
            raise Unprocessable(f"tag {unknown[0]} does not exist")
        try:
            list(rules([wanted]))
        except (KeyError, ValueError, TypeError) as error:
            raise Unprocessable(f"a rule is not one that is understood here: {error!r}") from None
        record = {"id": key, "status": "succeeded", "created_at": created_at, "pending_changes": [], **wanted}
        self._records.put(record)
        return record


def rules(firewalls: list[Record]) -> Iterator[str]:
    """For iptables-restore. A droplet without a firewall is open; with one, only what its rules let through passes."""
    yield "*mangle"
    if firewalls:
        known = "--match conntrack --ctstate ESTABLISHED,RELATED --jump ACCEPT"
        yield f"-A PREROUTING --in-interface {CARD} {known}"
        yield f"-A POSTROUTING --out-interface {CARD} {known}"
        yield f"-A POSTROUTING --out-interface {CARD} --destination {METADATA} --jump ACCEPT"
        for firewall in firewalls:
            yield from _let_through(firewall["inbound_rules"], "sources", f"PREROUTING --in-interface {CARD} --source")
            yield from _let_through(
                firewall["outbound_rules"], "destinations", f"POSTROUTING --out-interface {CARD} --destination"
            )
        yield f"-A PREROUTING --in-interface {CARD} --jump DROP"
        yield f"-A POSTROUTING --out-interface {CARD} --jump DROP"
    yield "COMMIT"


def _let_through(asked: list[dict[str, Any]], side: str, where: str) -> Iterator[str]:
    for rule in asked:
        if set(rule[side]) - {"addresses"}:
            raise ValueError(f"{side} other than addresses")
        if rule["protocol"] not in ("tcp", "udp", "icmp"):
            raise ValueError(rule["protocol"])
        ports = (
            "" if rule["ports"] in ("0", "all") or rule["protocol"] == "icmp" else f" --dport {_range(rule['ports'])}"
        )
        for network in map(ip_network, rule[side]["addresses"]):
            # A local droplet has no other address.
            if isinstance(network, IPv4Network):
                yield f"-A {where} {network} --protocol {rule['protocol']}{ports} --jump ACCEPT"


def _range(ports: str) -> str:
    return ":".join(str(int(port)) for port in ports.split("-", 1))
