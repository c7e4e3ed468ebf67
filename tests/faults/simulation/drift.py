"""Drift: changes to a droplet that do not come from the control plane, made by people, processes and machines."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from functions.domain.instance.container import LIVE_STATES
from tests.faults.simulation.droplet import PULLED, SECOND, Droplet
from tests.faults.simulation.scheduler import Scheduler


class Drift:
    def __init__(self, scheduler: Scheduler, droplets: dict[str, Droplet]) -> None:
        self._scheduler, self._droplets = scheduler, droplets

    def inject(self) -> None:
        """Make one change, drawn by the seed, to one droplet."""
        rng = self._scheduler.rng
        droplet = self._droplets[rng.choice(sorted(self._droplets))]
        change = rng.choice(
            (
                self._remove,
                self._kill,
                self._rename,
                self._edit,
                self._crash,
                self._exit,
                self._pause,
                self._crash_loop,
                self._restart_engine,
                self._cut_power,
                self._replace_engine,
                self._disconnect,
                self._lose_images,
            )
        )
        live = sorted(name for name, container in droplet.containers.items() if container.state in LIVE_STATES)
        name = rng.choice(live) if live else ""
        if name or change in (self._replace_engine, self._disconnect, self._lose_images):
            self._scheduler.log(f"drift: {change.__name__[1:]} {name} on {droplet.name}")
            change(droplet, name)
            droplet.changed(droplet)

    def _remove(self, droplet: Droplet, name: str) -> None:
        droplet.containers.pop(name)

    def _kill(self, droplet: Droplet, name: str) -> None:
        droplet.die(name, exit_code=137, oom=self._scheduler.rng.random() < 0.5)

    def _rename(self, droplet: Droplet, name: str) -> None:
        droplet.rename(name)

    def _edit(self, droplet: Droplet, name: str) -> None:
        container = droplet.containers[name]
        droplet.containers[name] = replace(container, limits=replace(container.limits, pids=9))
        # The engine keeps a bounded number of events in memory and none across a restart, so the shim may not know.
        if self._scheduler.rng.random() < 0.5:
            droplet.edited.add(container.id)

    def _crash(self, droplet: Droplet, name: str) -> None:
        droplet.crash(name, restarts=1, state="running")

    def _exit(self, droplet: Droplet, name: str) -> None:
        droplet.die(name, exit_code=0)

    def _pause(self, droplet: Droplet, name: str) -> None:
        droplet.containers[name] = replace(droplet.containers[name], state="paused")

    def _crash_loop(self, droplet: Droplet, name: str) -> None:
        droplet.looping.add(name)

    def _restart_engine(self, droplet: Droplet, name: str) -> None:
        droplet.restart_engine()

    def _cut_power(self, droplet: Droplet, name: str) -> None:
        droplet.keep_ports(name)
        droplet.restart_engine()

    def _replace_engine(self, droplet: Droplet, name: str) -> None:
        droplet.replace_engine()

    def _disconnect(self, droplet: Droplet, name: str) -> None:
        droplet.reachable_at = self._scheduler.now + timedelta(seconds=self._scheduler.rng.uniform(5, 200))

    def _lose_images(self, droplet: Droplet, name: str) -> None:
        droplet.images -= {SECOND, PULLED}
