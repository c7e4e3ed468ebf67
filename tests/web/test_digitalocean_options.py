"""`digitalocean-options`: public lists, asked of the API once an hour."""

from __future__ import annotations

from functions.domain.errors import DigitalOceanUnknown
from tests.fakes.digitalocean import ApiFault
from tests.fakes.world import World
from tests.web.conftest import Caller

NAME = "digitalocean-options"


def test_lists_are_bare_arrays_for_anybody(call: Caller) -> None:
    call.token = None
    [region] = call("GET", NAME, "/regions").json
    assert (region["slug"], region["name"], region["sizes"]) == ("fra1", "Frankfurt 1", ["s-1vcpu-1gb"])
    answer = call("GET", NAME, "/sizes")
    [size] = answer.json
    assert (size["slug"], size["memory"], size["price_monthly"]) == ("s-1vcpu-1gb", 1024, 6.0)
    assert "disk_info" not in size
    assert answer.headers["Cache-Control"] == "public, max-age=300"


def test_the_api_is_asked_once_an_hour(call: Caller, world: World) -> None:
    for _ in range(10):
        call("GET", NAME, "/regions")
        world.pass_time(300)
    assert world.digitalocean.calls == ["regions"]
    world.pass_time(3600)
    call("GET", NAME, "/regions")
    assert world.digitalocean.calls == ["regions"] * 2


def test_an_old_list_is_better_than_none(call: Caller, world: World) -> None:
    call("GET", NAME, "/sizes")
    world.pass_time(7200)
    world.digitalocean.faults.append(ApiFault(DigitalOceanUnknown("no answer")))
    assert call("GET", NAME, "/sizes").status_code == 200


def test_an_api_that_never_answered_is_left_in_peace_between_tries(call: Caller, world: World) -> None:
    world.digitalocean.faults += [ApiFault(DigitalOceanUnknown("no answer")) for _ in range(2)]
    statuses = [call("GET", NAME, "/sizes").status_code for _ in range(5)]
    assert statuses == [504] * 5
    assert world.digitalocean.calls == ["sizes"]
    world.pass_time(31)
    assert call("GET", NAME, "/sizes").status_code == 504
    world.pass_time(31)
    assert call("GET", NAME, "/sizes").status_code == 200


def test_who_asks_too_often_is_told_when_to_come_back(call: Caller) -> None:
    statuses = [call("GET", NAME, "/regions").status_code for _ in range(31)]
    assert statuses == [200] * 30 + [429]
