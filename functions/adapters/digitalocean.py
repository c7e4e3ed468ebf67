"""DigitalOcean's API: droplets, their firewall, and the options that a user chooses from.

https://docs.digitalocean.com/reference/api/ describes the calls. DigitalOcean's own client, pydo, makes them. It is
imported on first use, because importing it takes 300 ms or more and 50 MB, and few requests need it. Every error of a
call becomes one of three, by what the caller should do: DigitalOceanRefused (do not repeat), DigitalOceanBusy (repeat
later), DigitalOceanUnknown (the call may have had its effect: look before repeating).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from functions.adapters.droplet_settings import DigitalOceanApi, ProvisioningDefaults
from functions.domain.errors import DigitalOceanBusy, DigitalOceanRefused, DigitalOceanUnknown, Misconfigured
from functions.domain.toolbox import droplet
from functions.domain.toolbox.droplet import Droplet, NewDroplet, UserData
from shim.contract import names, routes

if TYPE_CHECKING:
    from pydo import Client

CONNECT_SECONDS, ANSWER_SECONDS = 5, 15
PER_PAGE, MAX_PAGES = 200, 50
TEMPLATE = Path(__file__).resolve().parents[2] / "infra/cloud-init.yaml"
_EVERYWHERE = {"addresses": ["0.0.0.0/0", "::/0"]}
# 401 and 403 count as temporary, because an operator may be replacing the API token or its rights at the moment.
# Giving up a toolbox for that would be worse than repeating the call.
_RETRY_LATER = (401, 403, 429)


class DigitalOcean:
    """Implements lifecycle.dependencies.Droplets, and lists the regions and sizes that a user can choose.

    `defaults` is what every new droplet gets, None in a function that creates none.
    """

    def __init__(self, api: DigitalOceanApi, defaults: ProvisioningDefaults | None) -> None:
        self._api, self._defaults = api, defaults
        self._connecting = threading.Lock()
        self._client: Client | None = None

    def create(self, new: NewDroplet) -> Droplet:
        defaults = self._provisioning_defaults()
        body = {
            "name": new.name,
            "region": new.region,
            "size": new.size,
            "image": new.image,
            "tags": new.tags,
            "ssh_keys": list(defaults.ssh_keys),
            "user_data": droplet.render(TEMPLATE.read_text(), _user_data(defaults, new)),
            "monitoring": False,
            "ipv6": False,
        }
        _, answer = _call(self._connect_once().droplets.create, body=body)
        return _droplet(_field(answer, "droplet"))

    def get(self, droplet_id: str) -> Droplet | None:
        status, answer = _call(self._connect_once().droplets.get, int(droplet_id))
        return None if status == 404 else _droplet(_field(answer, "droplet"))

    def list_by_name(self, name: str) -> list[Droplet]:
        return self._droplets(name=name)

    def list_by_tag(self, tag: str) -> list[Droplet]:
        return self._droplets(tag_name=tag)

    def destroy(self, droplet_id: str) -> bool:
        status, _ = _call(self._connect_once().droplets.destroy, int(droplet_id))
        return status != 404

    def open_firewall(self, name: str) -> None:
        if self._firewalls(name):
            return
        client, sources = self._connect_once(), {"addresses": list(self._provisioning_defaults().firewall_sources)}
        # Creating a firewall with a tag that does not exist is refused.
        _call(client.tags.create, body={"name": name})
        last = names.HOST_PORTS.stop - 1
        ports = [
            ("tcp", str(routes.PORT)),
            *((protocol, f"{names.HOST_PORTS.start}-{last}") for protocol in ("tcp", "udp")),
        ]
        body = {
            "name": name,
            "tags": [name],
            "inbound_rules": [
                {"protocol": protocol, "ports": port_range, "sources": sources} for protocol, port_range in ports
            ],
            # Port "0" stands for every port.
            "outbound_rules": [
                {"protocol": protocol, "ports": "0", "destinations": _EVERYWHERE} for protocol in ("tcp", "udp", "icmp")
            ],
        }
        _call(client.firewalls.create, body=body)

    def remove_firewall(self, name: str) -> None:
        for firewall in self._firewalls(name):
            _call(self._connect_once().firewalls.delete, str(firewall["id"]))

    def regions(self) -> list[dict[str, Any]]:
        """The regions in which droplets can be created now, as the API describes them."""
        regions = _list_all(self._connect_once().regions.list, "regions")
        return [region for region in regions if region.get("available")]

    def sizes(self) -> list[dict[str, Any]]:
        """The sizes that a droplet can have now, as the API describes them."""
        sizes = _list_all(self._connect_once().sizes.list, "sizes")
        return [size for size in sizes if size.get("available")]

    def _droplets(self, **filters: str) -> list[Droplet]:
        return [_droplet(body) for body in _list_all(self._connect_once().droplets.list, "droplets", **filters)]

    def _firewalls(self, name: str) -> list[dict[str, Any]]:
        # The API cannot filter firewalls by name.
        firewalls = _list_all(self._connect_once().firewalls.list, "firewalls")
        return [firewall for firewall in firewalls if firewall.get("name") == name]

    def _provisioning_defaults(self) -> ProvisioningDefaults:
        if self._defaults is None:
            raise Misconfigured("This function creates no droplets: it has no provisioning settings.")
        return self._defaults

    def _connect_once(self) -> Client:
        with self._connecting:
            if self._client is None:
                self._client = _connect(self._api)
            return self._client


class NoDroplets:
    """The droplets of a function that has no API token, and so can neither create, find nor destroy one."""

    def create(self, new: NewDroplet) -> Droplet:
        self._refuse()

    def get(self, droplet_id: str) -> Droplet | None:
        self._refuse()

    def list_by_name(self, name: str) -> list[Droplet]:
        self._refuse()

    def list_by_tag(self, tag: str) -> list[Droplet]:
        self._refuse()

    def destroy(self, droplet_id: str) -> bool:
        self._refuse()

    def open_firewall(self, name: str) -> None:
        self._refuse()

    def remove_firewall(self, name: str) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise Misconfigured("This function has no DIGITALOCEAN_TOKEN.")


def _connect(api: DigitalOceanApi) -> Client:
    """Make a client that repeats no call, follows no redirect, and ignores proxies and settings in the environment.

    Repeating is the reconciler's decision: creating a droplet is not idempotent, so after a lost answer it first looks
    for the droplet. A redirect would carry the API token to another host.
    """
    from azure.core.pipeline import policies
    from pydo import Client

    return Client(
        api.token,
        endpoint=api.url,
        authentication_policy=policies.HeadersPolicy({"Authorization": f"Bearer {api.token}"}),
        retry_policy=policies.RetryPolicy.no_retries(),
        redirect_policy=policies.RedirectPolicy.no_redirects(),
        # The client's own policy logs the headers of each call.
        http_logging_policy=policies.SansIOHTTPPolicy(),
        connection_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        use_env_settings=False,
    )


def _call(call: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[int, Any]:
    """Make one call; return the answer's status and body. A 404 is returned, with None as its body.

    Raises DigitalOceanBusy, DigitalOceanRefused or DigitalOceanUnknown.
    """
    from azure.core.exceptions import AzureError, HttpResponseError

    def status_and_body(response: Any, body: Any, _headers: Any) -> tuple[int, Any]:
        return response.http_response.status_code, body

    try:
        answer: tuple[int, Any] = call(*arguments, **named, cls=status_and_body)
    except HttpResponseError as error:
        status = error.status_code or 500
        detail = f"DigitalOcean answered {status}: {_error_message(error)}"
        if status == 404:
            return 404, None
        if status in _RETRY_LATER:
            raise DigitalOceanBusy(detail, _retry_after(error)) from error
        raise (DigitalOceanRefused if 400 <= status < 500 else DigitalOceanUnknown)(detail) from error
    except AzureError as error:
        raise DigitalOceanUnknown(f"DigitalOcean did not answer: {str(error)[:300]}") from error
    return answer


def _error_message(error: Any) -> str:
    """The `message` of an error's body: https://docs.digitalocean.com/reference/api/reference/responses/"""
    try:
        return str(error.response.json()["message"])[:500]
    except (ValueError, KeyError, TypeError, AttributeError):
        return str(error.reason)


def _retry_after(error: Any) -> float:
    """The answer's Retry-After in seconds, at most an hour; 0 where there is none."""
    text = error.response.headers.get("Retry-After", "") if error.response else ""
    return min(float(text), 3600.0) if re.fullmatch(r"[0-9]{1,6}", text) else 0.0


def _list_all(call: Callable[..., Any], key: str, **named: Any) -> Iterator[dict[str, Any]]:
    """Every item under `key` of a paginated list.

    A list that does not end is an error rather than cut off: an orphan search that misses droplets would be believed.
    """
    for page in range(1, MAX_PAGES + 1):
        _, answer = _call(call, per_page=PER_PAGE, page=page, **named)
        yield from _field(answer, key)
        if not ((answer.get("links") or {}).get("pages") or {}).get("next"):
            return
    raise DigitalOceanUnknown(f"DigitalOcean lists more than {MAX_PAGES * PER_PAGE} {key}.")


def _droplet(body: Any) -> Droplet:
    networks = _field(_field(body, "networks"), "v4")
    addresses = [network["ip_address"] for network in networks if network.get("type") == "public"]
    created_at = datetime.fromisoformat(_field(body, "created_at"))
    address = addresses[0] if addresses else None
    state, tags = str(_field(body, "status")), [str(tag) for tag in _field(body, "tags")]
    return Droplet(str(_field(body, "id")), str(_field(body, "name")), state, created_at, address, tags)


def _field(body: Any, key: str) -> Any:
    """One field of an answer's body. Raises DigitalOceanUnknown where it is missing."""
    if not isinstance(body, dict) or key not in body:
        raise DigitalOceanUnknown(f"DigitalOcean's answer has no field {key!r}.")
    return body[key]


def _user_data(defaults: ProvisioningDefaults, new: NewDroplet) -> UserData:
    return UserData(
        toolbox_id=new.toolbox_id,
        enrol_url=defaults.enrol_url,
        notify_url=defaults.notify_url,
        enrolment_token=new.token,
        control_keys=defaults.control_keys,
        shim_image=defaults.shim_image,
        swap_mib=droplet.swap_mib(new.size),
    )
