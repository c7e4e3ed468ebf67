"""Says what of a world runs, one line each; exits 0 where all of it does."""

from __future__ import annotations

import sys

from infra.local import droplet, engine, machine, services, toolbox, world
from infra.local.processes import RUNNING


def main() -> None:
    of = world.current()
    own = services.of_world(of).states()
    states = {f"machine: {name}": state for name, state in machine.PROCESSES.states().items()}
    states |= {f"{of.name}: {name}": state for name, state in own.items()}
    if engine.answers():
        for each, runs in droplet.of(of).items():
            states[f"{of.name}: {each.name} ({each.address})"] = _state(each) if runs else "STOPPED"
    if not states:
        sys.exit("Nothing runs.")
    width = max(map(len, states))
    for name, state in states.items():
        print(f"{name:{width}}  {state.lower()}")
    print(f"\n{of.gateway}" if own else f"\nThe world {of.name} is not up.")
    sys.exit(not own or any(state != RUNNING for state in states.values()))


def _state(each: droplet.Droplet) -> str:
    return RUNNING if toolbox.shim_answers(each) else "running, but its shim does not answer"


if __name__ == "__main__":
    main()
