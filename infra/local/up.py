"""Starts a world, whatever runs already, and checks it by calling an MCP server that it deploys."""

from __future__ import annotations

import json
import os
import sys
import time

import requests

from infra.local import command, emulators, machine, services, toolbox, world
from infra.local.steps import step
from infra.local.toolbox import ACCOUNT, Caller, Demo, NotActive, NotRunning, Toolbox


def main() -> None:
    # Set by infra/local/up before the installation; absent if this module is run directly.
    started_at = float(os.environ.get("TOOLBOXES_UP_SINCE", time.time()))
    current, backends = world.current(), emulators.installed()
    machine.up()
    with step(f"starting the functions and their services ({backends})"):
        services.up(current, backends)
    caller = Caller(current, ACCOUNT)
    box = Toolbox(current, caller)
    with step("requesting the toolbox"):
        box.request()
    with step("waiting until the toolbox is active"):
        toolbox_record = box.wait_until_active()
    demo = Demo(caller, toolbox_record["id"])
    with step(f"deploying {toolbox.INSTANCE}"):
        demo.deploy()
    with step("waiting until it runs"):
        instance = demo.wait_until_running()
    address, port = toolbox_record["public_ip_address"], instance["ports"][0]["host_port"]
    with step(f"calling the MCP server at {address}:{port}"):
        server, tools = toolbox.speak(address, port)
    print(f"\n{json.dumps(instance, indent=2)}\n\n{server} has {len(tools)} tools: {', '.join(tools)}")
    print(f"\nUp at {current.gateway} after {time.time() - started_at:.0f} s, installation included.")


if __name__ == "__main__":
    try:
        main()
    except (command.Failed, TimeoutError, NotActive, NotRunning, requests.HTTPError) as error:
        sys.exit(str(error))
