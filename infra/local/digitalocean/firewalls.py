"""The firewalls of the local DigitalOcean, enforced by iptables rules in the droplets' network namespaces.

The rules are in the `mangle` table, which a packet passes before any rule that the droplet can write itself. A port
that a container on the droplet publishes is therefore filtered like any other.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Network, ip_network
from typing import Any

from infra.local import command
from infra.local.digitalocean.errors import Conflict, NotFound, Unprocessable
from infra.local.digitalocean.records import Record, Records, Tags
from infra.local.droplet import Droplet
from infra.local.world import World

INTERFACE = "eth0"
METADATA_ADDRESS = "169.254.169.254"
FIELDS = ("name", "droplet_ids", "tags", "inbound_rules", "outbound_rules")


class Firewalls:
    """The firewalls of one world."""

    def __init__(self, world: World, tags: Tags) -> None:
        self._records, self._tags = Records(world, "firewalls"), tags
        self._rules = world.directory / "digitalocean" / "rules"

    def all(self) -> list[Record]:
        return self._records.all()

    def get(self, key: str) -> Record:
        """Raises NotFound."""
        found = self._records.get(key)
        if found is None:
            raise NotFound("The resource you requested could not be found.")
        return found

    def create(self, body: dict[str, Any]) -> Record:
        """Raises Conflict, Unprocessable."""
        return self._put(body, str(uuid.uuid4()), datetime.now(UTC).isoformat(timespec="seconds"))

    def replace(self, key: str, body: dict[str, Any]) -> Record:
        """Raises NotFound, Conflict, Unprocessable."""
        return self._put(body, key, self.get(key)["created_at"])

    def delete(self, key: str) -> None:
        """Raises NotFound."""
        self.get(key)
        self._records.delete(key)

    def enforce(self, droplet: Droplet, tags: Iterable[str]) -> None:
        """Load the rules of all firewalls that apply to a running droplet with these tags.

        Raises LookupError if the droplet is not running.
        """
        applicable = [wall for wall in self.all() if droplet.id in wall["droplet_ids"] or {*tags} & {*wall["tags"]}]
        self._rules.mkdir(parents=True, exist_ok=True)
        file = self._rules / droplet.name
        file.write_text("\n".join(rules(applicable)) + "\n")
        command.run(["nsenter", "--target", str(droplet.process()), "--net", "iptables-restore", file])

    def _put(self, body: dict[str, Any], key: str, created_at: str) -> Record:
        fields = {name: body.get(name) or [] for name in FIELDS}
        if not fields["name"] or not (fields["inbound_rules"] or fields["outbound_rules"]):
            raise Unprocessable("a firewall needs a name and at least one rule")
        if any(other["name"] == fields["name"] and other["id"] != key for other in self.all()):
            raise Conflict("duplicate name")
        if unknown := [tag for tag in fields["tags"] if not self._tags.has(tag)]:
            raise Unprocessable(f"tag {unknown[0]} does not exist")
        try:
            list(rules([fields]))
        except (KeyError, ValueError, TypeError) as error:
            raise Unprocessable(f"a rule is not supported by the local DigitalOcean: {error!r}") from None
        record = {"id": key, "status": "succeeded", "created_at": created_at, "pending_changes": [], **fields}
        self._records.put(record)
        return record


def rules(firewalls: list[Record]) -> Iterator[str]:
    """The lines for iptables-restore.

    A droplet without a firewall is open. With at least one, only traffic that a rule allows passes, as at DigitalOcean:
    https://docs.digitalocean.com/products/networking/firewalls/. Raises KeyError, ValueError, TypeError for a rule
    that is not supported.
    """
    yield "*mangle"
    if firewalls:
        established = "--match conntrack --ctstate ESTABLISHED,RELATED --jump ACCEPT"
        inbound, outbound = f"PREROUTING --in-interface {INTERFACE}", f"POSTROUTING --out-interface {INTERFACE}"
        yield f"-A {inbound} {established}"
        yield f"-A {outbound} {established}"
        yield f"-A {outbound} --destination {METADATA_ADDRESS} --jump ACCEPT"
        for firewall in firewalls:
            yield from _accept(firewall["inbound_rules"], "sources", f"{inbound} --source")
            yield from _accept(firewall["outbound_rules"], "destinations", f"{outbound} --destination")
        yield f"-A {inbound} --jump DROP"
        yield f"-A {outbound} --jump DROP"
    yield "COMMIT"


def _accept(firewall_rules: list[dict[str, Any]], side: str, match: str) -> Iterator[str]:
    for rule in firewall_rules:
        protocol, ports = rule["protocol"], rule["ports"]
        if set(rule[side]) - {"addresses"}:
            raise ValueError(f"{side} other than addresses")
        if protocol not in ("tcp", "udp", "icmp"):
            raise ValueError(protocol)
        port_match = "" if ports in ("0", "all") or protocol == "icmp" else f" --dport {_port_range(ports)}"
        for network in map(ip_network, rule[side]["addresses"]):
            # A local droplet has no IPv6 address.
            if isinstance(network, IPv4Network):
                yield f"-A {match} {network} --protocol {protocol}{port_match} --jump ACCEPT"


def _port_range(ports: str) -> str:
    return ":".join(str(int(port)) for port in ports.split("-", 1))
