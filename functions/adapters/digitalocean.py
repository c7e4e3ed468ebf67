"""DigitalOcean's API, by its own client; each call's errors become those of errors.py.

https://docs.digitalocean.com/reference/api/ tells of the calls. The client is imported on first use: it costs a second
and 50 MB, and few functions make droplets.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from functions.adapters.droplet_settings import Birth, DigitalOceanApi
from functions.domain.errors import DigitalOceanBusy, DigitalOceanRefused, DigitalOceanUnknown, Misconfigured
from functions.domain.toolbox import droplet, user_data
from functions.domain.toolbox.droplet import Droplet, NewDroplet
from functions.domain.toolbox.user_data import UserData
from shim.contract import names, routes

if TYPE_CHECKING:
    from pydo import Client

CONNECT_SECONDS, ANSWER_SECONDS = 5, 15
PER_PAGE, MAX_PAGES = 200, 50
TEMPLATE = Path(__file__).resolve().parents[2] / "infra/cloud-init.yaml"
_EVERYWHERE = {"addresses": ["0.0.0.0/0", "::/0"]}
# A call may be refused for a time: our token is being changed, or its rights are.
_LATER = (401, 403, 429)


class DigitalOcean:
    """Implements lifecycle.ports.Droplets, and lists what droplets there can be.

    `birth` is what every new droplet gets, None for a function that makes none.
    """

    def __init__(self, api: DigitalOceanApi, birth: Birth | None) -> None:
        self._api, self._birth = api, birth
        self._connecting = threading.Lock()
        self._client: Client | None = None

    def create(self, new: NewDroplet) -> Droplet:
        birth = self._born()
        body = {
            "name": new.name,
            "region": new.region,
            "size": new.size,
            "image": new.image,
            "tags": new.tags,
            "ssh_keys": list(birth.ssh_keys),
            "user_data": user_data.render(TEMPLATE.read_text(), _values(birth, new)),
            "monitoring": False,
            "ipv6": False,
        }
        _, answer = _asked(self._connected().droplets.create, body=body)
        return _droplet(_field(answer, "droplet"))

    def get(self, droplet_id: str) -> Droplet | None:
        status, answer = _asked(self._connected().droplets.get, int(droplet_id))
        return None if status == 404 else _droplet(_field(answer, "droplet"))

    def named(self, name: str) -> list[Droplet]:
        return self._droplets(name=name)

    def tagged(self, tag: str) -> list[Droplet]:
        return self._droplets(tag_name=tag)

    def destroy(self, droplet_id: str) -> bool:
        status, _ = _asked(self._connected().droplets.destroy, int(droplet_id))
        return status != 404

    def open_firewall(self, name: str) -> None:
        if self._firewalls(name):
            return
        client, sources = self._connected(), {"addresses": list(self._born().firewall_sources)}
        # A firewall takes no tag that is not there yet.
        _asked(client.tags.create, body={"name": name})
        last = names.HOST_PORTS.stop - 1
        ports = [
            ("tcp", str(routes.PORT)),
            *((kind, f"{names.HOST_PORTS.start}-{last}") for kind in ("tcp", "udp")),
        ]
        body = {
            "name": name,
            "tags": [name],
            "inbound_rules": [{"protocol": kind, "ports": range_, "sources": sources} for kind, range_ in ports],
            # "0" is any port.
            "outbound_rules": [
                {"protocol": kind, "ports": "0", "destinations": _EVERYWHERE} for kind in ("tcp", "udp", "icmp")
            ],
        }
        _asked(client.firewalls.create, body=body)

    def remove_firewall(self, name: str) -> None:
        for firewall in self._firewalls(name):
            _asked(self._connected().firewalls.delete, str(firewall["id"]))

    def regions(self) -> list[dict[str, Any]]:
        """Those in which droplets can be made now, as the API has them."""
        return [one for one in _pages(self._connected().regions.list, "regions") if one.get("available")]

    def sizes(self) -> list[dict[str, Any]]:
        return [one for one in _pages(self._connected().sizes.list, "sizes") if one.get("available")]

    def _droplets(self, **by: str) -> list[Droplet]:
        return [_droplet(one) for one in _pages(self._connected().droplets.list, "droplets", **by)]

    def _firewalls(self, name: str) -> list[dict[str, Any]]:
        return [one for one in _pages(self._connected().firewalls.list, "firewalls") if one.get("name") == name]

    def _born(self) -> Birth:
        if self._birth is None:
            raise Misconfigured("this function makes no droplet")
        return self._birth

    def _connected(self) -> Client:
        with self._connecting:
            if self._client is None:
                self._client = _connect(self._api)
            return self._client


class NoDroplets:
    """For a function that makes, finds and destroys no droplet."""

    def create(self, new: NewDroplet) -> Droplet:
        self._refuse()

    def get(self, droplet_id: str) -> Droplet | None:
        self._refuse()

    def named(self, name: str) -> list[Droplet]:
        self._refuse()

    def tagged(self, tag: str) -> list[Droplet]:
        self._refuse()

    def destroy(self, droplet_id: str) -> bool:
        self._refuse()

    def open_firewall(self, name: str) -> None:
        self._refuse()

    def remove_firewall(self, name: str) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise Misconfigured("this function has no token for DigitalOcean's API")


def _connect(api: DigitalOceanApi) -> Client:
    """A client that repeats nothing by itself, follows no redirect, and sends the token nowhere else."""
    from azure.core.pipeline import policies
    from pydo import Client

    return Client(
        api.token,
        endpoint=api.url,
        authentication_policy=policies.HeadersPolicy({"Authorization": f"Bearer {api.token}"}),
        retry_policy=policies.RetryPolicy.no_retries(),
        redirect_policy=policies.RedirectPolicy.no_redirects(),
        # Its own logs each call's headers.
        http_logging_policy=policies.SansIOHTTPPolicy(),
        connection_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        use_env_settings=False,
    )


def _asked(call: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[int, Any]:
    """Status and body of one call's answer; 404 is an answer too."""
    from azure.core.exceptions import AzureError, HttpResponseError

    def heard(response: Any, body: Any, headers: Any) -> tuple[int, Any]:
        return response.http_response.status_code, body

    try:
        answer: tuple[int, Any] = call(*arguments, **named, cls=heard)
    except HttpResponseError as error:
        status = error.status_code or 500
        detail = f"DigitalOcean answered {status}: {_sentence(error)}"
        if status == 404:
            return 404, None
        if status in _LATER:
            raise DigitalOceanBusy(detail, _retry_after(error)) from error
        raise (DigitalOceanRefused if 400 <= status < 500 else DigitalOceanUnknown)(detail) from error
    except AzureError as error:
        raise DigitalOceanUnknown(f"DigitalOcean did not answer: {str(error)[:300]}") from error
    return answer


def _sentence(error: Any) -> str:
    """The `message` of its error body: https://docs.digitalocean.com/reference/api/reference/responses/"""
    try:
        return str(error.response.json()["message"])[:500]
    except (ValueError, KeyError, TypeError, AttributeError):
        return str(error.reason)


def _retry_after(error: Any) -> float:
    text = error.response.headers.get("Retry-After", "") if error.response else ""
    return min(float(text), 3600.0) if re.fullmatch(r"[0-9]{1,6}", text) else 0.0


def _pages(call: Callable[..., Any], key: str, **named: Any) -> Iterator[dict[str, Any]]:
    for page in range(1, MAX_PAGES + 1):
        _, answer = _asked(call, per_page=PER_PAGE, page=page, **named)
        yield from _field(answer, key)
        if not ((answer.get("links") or {}).get("pages") or {}).get("next"):
            return
    raise DigitalOceanUnknown(f"DigitalOcean has more {key} than {MAX_PAGES * PER_PAGE}")


def _droplet(body: Any) -> Droplet:
    addresses = [one["ip_address"] for one in _field(_field(body, "networks"), "v4") if one.get("type") == "public"]
    created_at = datetime.fromisoformat(_field(body, "created_at"))
    address = addresses[0] if addresses else None
    state, tags = str(_field(body, "status")), [str(tag) for tag in _field(body, "tags")]
    return Droplet(str(_field(body, "id")), str(_field(body, "name")), state, created_at, address, tags)


def _field(body: Any, key: str) -> Any:
    """Raises DigitalOceanUnknown where what came is not what it says it answers with."""
    if not isinstance(body, dict) or key not in body:
        raise DigitalOceanUnknown(f"DigitalOcean's answer has no {key}")
    return body[key]


def _values(birth: Birth, new: NewDroplet) -> UserData:
    return UserData(
        toolbox_id=new.toolbox_id,
        enrol_url=birth.enrol_url,
        notify_url=birth.notify_url,
        enrolment_token=new.token,
        control_keys=birth.control_keys,
        shim_image=birth.shim_image,
        swap_mib=droplet.swap_mib(new.size),
    )
