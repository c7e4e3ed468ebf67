"""Brings up a world from nothing, or from wherever it stands, and proves it by an MCP server that answers."""

from __future__ import annotations

import json
import sys
import time

import requests

from infra.local import backing, command, machine, services, world
from infra.local import demo as demonstration
from infra.local.caller import Caller
from infra.local.demo import Demo, NotRunning
from infra.local.steps import step
from infra.local.toolbox import ACCOUNT, NotActive, Toolbox


def main() -> None:
    began = time.monotonic()
    of, found = world.current(), backing.found()
    machine.up()
    with step(f"starting the functions and what they need ({found})"):
        services.up(of, found)
    caller = Caller(of, ACCOUNT)
    toolbox = Toolbox(of, caller)
    with step("asking for the toolbox"):
        toolbox.ask()
    with step("waiting until it serves"):
        box = toolbox.active()
    demo = Demo(caller, box["id"])
    with step(f"deploying {demonstration.INSTANCE}"):
        demo.deploy()
    with step("waiting until it runs"):
        record = demo.running()
    address, port = box["public_ip_address"], record["ports"][0]["host_port"]
    with step(f"speaking MCP with {address}:{port}"):
        server, tools = demonstration.speak(address, port)
    print(f"\n{json.dumps(record, indent=2)}\n\n{server} has {len(tools)} tools: {', '.join(tools)}")
    print(f"\nUp at {of.gateway} after {time.monotonic() - began:.1f} s.")


if __name__ == "__main__":
    try:
        main()
    except (command.Failed, TimeoutError, NotActive, NotRunning, requests.HTTPError) as error:
        sys.exit(str(error))
