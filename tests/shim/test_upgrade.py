"""The helper that replaces a shim is killed before or after each of its actions, and is then restarted."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shim.contract import errors
from shim.docker import Engine
from shim.upgrade import NEXT, OLD, SHIM, Replacement
from tests.shim.fake_engine import FakeEngine, Handler, hang_up

OLD_IMAGE, NEW_IMAGE = "shim@sha256:old", "shim@sha256:new"


class Machine:
    """The containers of an engine by id: [name, image, is running].

    It counts the actions of the helper. Action number `dies_at` kills the helper: before its effect or, if `after` is
    set, after it.
    """

    def __init__(self, engine: FakeEngine) -> None:
        self.containers: dict[str, list[Any]] = {"c0": [SHIM, OLD_IMAGE, True]}
        self.ids, self.acts, self.dies_at, self.after = itertools.count(1), 0, -1, False
        for verb, act in (("stop", self.stop), ("start", self.start), (r"rename\?name=", self.rename)):
            engine.on(rf"POST /containers/\w+/{verb}", self.counted(act))
        engine.on("POST /containers/create", self.counted(self.create))
        engine.on("DELETE /containers/", self.counted(self.remove))
        engine.on("GET /containers/", self.inspect)

    def counted(self, act: Callable[[Handler, str], tuple[int, Any]]) -> Callable[[Handler], None]:
        def reply(handler: Handler) -> None:
            self.acts += 1
            killed = self.acts == self.dies_at
            if not killed or self.after:
                answer = act(handler, self.reference(handler))
            if killed:
                hang_up(handler)
            else:
                handler.say(*answer)

        return reply

    @staticmethod
    def reference(handler: Handler) -> str:
        found = re.search(r"/containers/([\w-]+)", handler.path)
        return found[1] if found else ""

    def inspect(self, handler: Handler) -> None:
        wanted = self.reference(handler)
        for key, (name, image, _) in self.containers.items():
            if wanted in (key, name):
                handler.say(200, {"Id": key, "Name": f"/{name}", "Config": {"Image": image}, "HostConfig": {}})
                return
        handler.say(404, {"message": "No such container"})

    def create(self, handler: Handler, _: str) -> tuple[int, Any]:
        self.containers[key := f"c{next(self.ids)}"] = [handler.path.partition("name=")[2], NEW_IMAGE, False]
        return 201, {"Id": key}

    def rename(self, handler: Handler, key: str) -> tuple[int, Any]:
        name = handler.path.partition("name=")[2]
        if name in (container[0] for container in self.containers.values()):
            return 409, {"message": "the name is in use"}
        self.containers[key][0] = name
        return 204, None

    def start(self, _: Handler, key: str) -> tuple[int, Any]:
        self.containers[key][2] = True
        return 204, None

    def stop(self, _: Handler, key: str) -> tuple[int, Any]:
        self.containers[key][2] = False
        return 204, None

    def remove(self, _: Handler, key: str) -> tuple[int, Any]:
        del self.containers[key]
        return 204, None

    def upgrade(self, engine: Engine, *, works: bool, proofs: Iterator[bool]) -> None:
        """Run the helper until it ends without an error, as the engine's restart policy does."""
        while True:
            try:
                Replacement(engine, NEW_IMAGE, lambda: works).run(proven=next(proofs))
                return
            except errors.ShimError:
                # A restarted helper is not killed again.
                self.dies_at = -1


@pytest.fixture
def machine(fake_engine: FakeEngine) -> Machine:
    return Machine(fake_engine)


@pytest.mark.parametrize("works", [True, False])
@pytest.mark.parametrize("after", [False, True])
def test_helper_killed_at_any_moment_ends_with_one_serving_shim(
    machine: Machine, fake_engine: FakeEngine, works: bool, after: bool
) -> None:
    engine = Engine(fake_engine.url)
    for moment in itertools.count(1):
        machine.containers, machine.acts = {"c0": [SHIM, OLD_IMAGE, True]}, 0
        machine.dies_at, machine.after = moment, after
        machine.upgrade(engine, works=works, proofs=itertools.repeat(True))
        assert list(machine.containers.values()) == [[SHIM, NEW_IMAGE if works else OLD_IMAGE, True]]
        if machine.dies_at != -1:
            break
    assert moment > 6


def test_proof_that_fails_after_a_restart_restores_the_old_shim(machine: Machine, fake_engine: FakeEngine) -> None:
    for moment in range(1, 6):
        machine.containers, machine.acts, machine.dies_at = {"c0": [SHIM, OLD_IMAGE, True]}, 0, moment
        machine.after = True
        machine.upgrade(Engine(fake_engine.url), works=True, proofs=iter([True, False]))
        assert list(machine.containers.values()) == [[SHIM, OLD_IMAGE, True]]


def test_unproven_shim_leaves_the_old_one_alone(machine: Machine, fake_engine: FakeEngine) -> None:
    machine.upgrade(Engine(fake_engine.url), works=True, proofs=iter([False]))
    assert machine.containers == {"c0": [SHIM, OLD_IMAGE, True]}
    assert not {NEXT, OLD} & {name for name, *_ in machine.containers.values()}
