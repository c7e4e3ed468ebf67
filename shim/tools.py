"""The verbs on containers: find by inspect, act once, answer with what inspect says afterwards. Nothing is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

from shim import container, exchange, execution, logs, spec, stats
from shim.contract import errors
from shim.contract import names as contract_names
from shim.contract.answers import Acted, Container, Executed, FollowLine, Listed, Logs, Response, Stats
from shim.contract.bodies import Create, Execute, Request
from shim.contract.tokens import Claims
from shim.engine import Engine
from shim.images import Images
from shim.turns import Turns

T = TypeVar("T")
LIVE = ("running", "restarting", "paused")
GONE_SECONDS = 10.0
REMOVAL_STOP_SECONDS = 10
STOP_TIMEOUTS = range(121)


class Tools:
    """Names are checked here: one that no container of ours can have is NoSuchContainer.

    Methods that take claims check them again with the instance's lock held: they raise TokenStale.
    """

    def __init__(self, engine: Engine, images: Images, toolbox_id: str, turns: Turns) -> None:
        self._engine, self._images, self._toolbox_id, self._turns = engine, images, toolbox_id, turns

    def listing(self, *, limits: bool = False) -> tuple[str, list[Listed]]:
        """The engine's id and all managed containers, by one list where any container says on which engine it was made.

        Else the id is read last, so that the containers of an engine which was replaced meanwhile are never missed
        under the old one's id. Containers that the engine remembers to have been edited are inspected for their limits;
        with `limits` all are.
        """
        said = self._entries({})
        found = self._managed(said)
        names = {f"/{one.name}" for one in found}
        made_on = {entry["Labels"].get(contract_names.LABEL_ENGINE) for entry in said if entry["Names"][0] in names}
        engine_id = made_on.pop() if len(made_on) == 1 else None
        looked_into = {one.id for one in found} if limits else self._engine.updated()
        found = [self._with_limits(one) if one.id in looked_into else one for one in found]
        return engine_id or self._engine.data_id(), found

    def _with_limits(self, listed: Listed) -> Listed:
        seen = self._find(listed.id)
        return replace(listed, limits=seen.limits) if seen else listed

    def inspect(self, name: str, claims: Claims) -> Acted:
        """Behind whatever is under way for this instance: a look during a slow create would report absence."""
        with self._turns.of(_instance_id(name), claims):
            # Its turn is waited for and not kept: one look need not wait for another.
            pass
        return Acted(self.inspected(name)[1], changed=False)

    def create(self, body: Create, claims: Claims) -> Acted:
        """Raises Refused, NoSuchImage, WrongPlatform, OlderSpec, NameTaken, DiskFull."""
        spec.check(body)
        name = contract_names.container_name(body.instance_id, body.spec_generation)
        labels = {
            contract_names.LABEL_TOOLBOX: self._toolbox_id,
            contract_names.LABEL_INSTANCE: body.instance_id,
            contract_names.LABEL_SPEC_GENERATION: str(body.spec_generation),
            contract_names.LABEL_IMAGE_DIGEST: self._images.inspect(body.image).digest,
            contract_names.LABEL_MEMORY: str(body.limits.memory_bytes),
            contract_names.LABEL_ENGINE: self._engine.data_id(),
        }
        with self._turns.of(body.instance_id, claims) as fence:
            said = self._entries({contract_names.LABEL_INSTANCE: body.instance_id})
            held = self._managed(said)
            if newer := [other.name for other in held if other.spec_generation > body.spec_generation]:
                raise errors.OlderSpec(f"{newer[0]} was made from a newer spec")
            fence()
            if name not in [other.name for other in held]:
                for entry in said:
                    # Renamed by hand: it is the very container that is asked for.
                    if container.is_of(entry, self._toolbox_id, body.instance_id, body.spec_generation):
                        self._engine.rename(entry["Id"], name)
                        return self._acted(entry["Id"])
            try:
                made = self._engine.create(name, spec.engine_config(body, labels))
            except errors.NameTaken:
                return Acted(self._held_already(name), changed=False)
            return self._acted(made)

    def start(self, name: str, claims: Claims) -> Acted:
        """Raises StartFailed or PortTaken; the container then stays as it was."""
        with self.turn(name, claims) as before:
            if before.state in LIVE:
                return Acted(before, changed=False)
            self._engine.start(before.id)
            return self._acted(before.id)

    def stop(self, name: str, timeout: int, claims: Claims) -> Acted:
        """`timeout`: seconds until SIGKILL. Raises Refused."""
        _check_timeout(timeout)
        with self.turn(name, claims) as before:
            if before.state not in LIVE:
                return Acted(before, changed=False)
            self._engine.stop(before.id, timeout)
            return self._acted(before.id)

    def restart(self, name: str, started_at: str, timeout: int, claims: Claims) -> Acted:
        """Only while the container's start is still that of `started_at`. Raises Refused, StartFailed, PortTaken."""
        _check_timeout(timeout)
        with self.turn(name, claims) as before:
            if before.started_at != started_at:
                return Acted(before, changed=False)
            self._engine.restart(before.id, timeout)
            return self._acted(before.id)

    def remove(self, name: str, claims: Claims) -> Acted:
        """Stops what runs, removes it, and waits until it is gone."""
        with self._turns.of(_instance_id(name), claims) as fence:
            before = self._find(name)
            if before is None:
                return Acted(None, changed=False)
            fence()
            container_id = before.id
            with suppress(errors.NoSuchContainer):
                if before.state in LIVE:
                    self._engine.stop(container_id, REMOVAL_STOP_SECONDS)
                self._engine.remove(container_id)
            deadline = time.monotonic() + GONE_SECONDS
            while _seen(lambda: self._find(container_id)):
                if time.monotonic() > deadline:
                    raise errors.OutcomeUnknown(f"{name} is being removed for more than {GONE_SECONDS:.0f} seconds")
                time.sleep(0.1)
            return Acted(None, changed=True)

    def logs(self, name: str, tail: int, since: str) -> Logs:
        """The last `tail` lines since `since`: seconds since 1970 with up to nine decimals."""
        _, found = self.inspected(name)
        # One line more than was asked tells whether there were more.
        return logs.newest(self._engine.log_stream(found.id, tail + 1, since), tail)

    def follow(self, name: str, tail: int, since: str) -> Iterator[FollowLine]:
        """The last `tail` lines since `since`, and each further one, until the container stops.

        Raises Transient where it ends before: with its engine, or since the engine restarted the container by itself.
        """
        container_id = self.inspected(name)[1].id
        yield from logs.followed(self._engine.follow(container_id, tail, since))
        if (now := self._find(container_id)) and now.state in LIVE:
            raise errors.Transient(f"the log broke off, and {name} is {now.state}")

    def stats(self, name: str) -> Stats:
        """Takes two seconds: the engine measures twice. Raises NotRunning."""
        _, found = self.inspected(name)
        _must_run(found)
        return stats.measured(self._engine.stats(found.id))

    def execute(self, name: str, body: Execute, claims: Claims) -> Executed:
        """Raises Refused, NotRunning, StartFailed. Other commands wait until it began, and not for its end."""
        spec.check_execution(body)
        with self.turn(name, claims) as before:
            _must_run(before)
            exec_id, stream = self._engine.execute(before.id, body)
        with closing(stream):
            out, err, truncated, ended = execution.output(stream, body.stdin, body.timeout)
        exit_code = _seen(lambda: self._engine.exit_code(exec_id)) if ended else None
        # The engine says it in the command's own output: 126 is "cannot be run", 127 "not found".
        if exit_code in (126, 127) and out.startswith("OCI runtime exec failed"):
            raise errors.StartFailed(f"the engine says: {out.strip()}")
        return Executed(_seen(lambda: self._must_find(before.id)), exit_code, out, err, truncated)

    def request(self, name: str, body: Request) -> Response:
        """One HTTP request to the container's own address. Raises Refused, NotAnswering."""
        exchange.check(body)
        said, found = self.inspected(name)
        if found.state != "running" or not (address := container.address(said)):
            raise errors.NotAnswering(f"{name} is {found.state} and has no address")
        return exchange.send(address, body)

    def inspected(self, name: str) -> tuple[dict[str, Any], Container]:
        """A managed container in the engine's own words and in the contract's. Raises NoSuchContainer."""
        _instance_id(name)
        said = self._engine.inspect(name)
        found = container.inspected(said, self._toolbox_id) if said else None
        if not said or not found:
            raise errors.NoSuchContainer(f"this toolbox manages no container {name}")
        return said, found

    @contextmanager
    def turn(self, name: str, claims: Claims) -> Iterator[Container]:
        """The managed container, with its instance's lock held and the command not expired."""
        with self._turns.of(_instance_id(name), claims) as fence:
            before = self._must_find(name)
            fence()
            yield before

    def _entries(self, labels: dict[str, str]) -> list[dict[str, Any]]:
        return self._engine.containers({contract_names.LABEL_TOOLBOX: self._toolbox_id, **labels})

    def _managed(self, said: list[dict[str, Any]]) -> list[Listed]:
        return [found for found in (container.listed(entry, self._toolbox_id) for entry in said) if found]

    def _find(self, reference: str) -> Container | None:
        said = self._engine.inspect(reference)
        return container.inspected(said, self._toolbox_id) if said else None

    def _must_find(self, reference: str) -> Container:
        found = self._find(reference)
        if found is None:
            raise errors.NoSuchContainer(f"this toolbox manages no container {reference}")
        return found

    def _acted(self, container_id: str) -> Acted:
        return Acted(_seen(lambda: self._must_find(container_id)), changed=True)

    def _held_already(self, name: str) -> Container:
        """The container that holds the name: a create repeated. Raises NameTaken where it is another's."""
        found = self._find(name)
        if found is None:
            raise errors.NameTaken(f"a container that this toolbox does not manage is named {name}")
        if found.state in ("removing", "dead"):
            raise errors.Transient(f"the last container named {name} is still being removed")
        return found


def _seen(look: Callable[[], T]) -> T:
    """A look after an act: what cannot be seen then is unknown, not undone."""
    try:
        return look()
    except errors.Transient as error:
        raise errors.OutcomeUnknown(f"it was done, but not seen: {error.message}") from error


def _instance_id(name: str) -> str:
    """Raises NoSuchContainer for a name that no container of ours can have."""
    match = contract_names.CONTAINER_NAME.fullmatch(name)
    if match is None:
        raise errors.NoSuchContainer(f"{name[:100]!r} is no name of a managed container")
    return match["instance"]


def _must_run(found: Container) -> None:
    if found.state != "running":
        raise errors.NotRunning(f"{found.name} is {found.state}")


def _check_timeout(timeout: int) -> None:
    if timeout not in STOP_TIMEOUTS:
        raise errors.Refused(f"timeout is not between 0 and {STOP_TIMEOUTS.stop - 1} seconds")
