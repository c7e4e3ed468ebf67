"""The clients: they send requests drawn by the seed, retry without an answer, and check the answers that they get."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from functions.domain.account.model import Caller
from functions.domain.errors import Conflict, KeyReused, NameTaken, NotAllowedNow, NotFound, PortTaken, ToolboxesError
from functions.domain.instance.container import Port
from functions.domain.instance.model import CatalogEntry, Instance
from functions.domain.instance.spec import Mcp, Spec
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.idempotency import CommitHook, KeyedRequest, RequestKey, StoredAnswer, run_once
from functions.lifecycle.instance import change
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from functions.lifecycle.instance.deploy import NewInstance, deploy
from tests.faults.simulation.droplet import MISSING, PULLED, SECOND, SERVER
from tests.faults.simulation.scheduler import Killed, Scheduler, Worker
from tests.faults.simulation.store_oracle import StoreOracle
from tests.faults.simulation.violation import Violation, require

VERBS = {"start": change.start, "stop": change.stop, "restart": change.restart, "delete": change.delete}
NAMES = ("alpha", "beta", "Γάμμα ray")
PORTS = ((), (0,), (0,), (0, 0), (20_001,), (20_001, 0), (20_002, 30_000))
REFUSALS = (NotFound, NameTaken, PortTaken, NotAllowedNow)
MAX_TRIES = 6
Answer = Instance | StoredAnswer


@dataclass(eq=False)
class Request:
    """`effects` counts the commits that recorded this request; `answers` are an instance or a stored answer each."""

    number: int
    account: str
    toolbox_id: str
    verb: str
    target: str
    change: NewInstance | Changes | None
    key: str | None
    tries: int = 0
    effects: int = 0
    instance_id: str = ""
    answers: list[Answer] = field(default_factory=list)

    def __str__(self) -> str:
        return f"request {self.number} ({self.verb} {self.target!r})"

    def keyed(self, deps: Dependencies) -> KeyedRequest | None:
        key = RequestKey(self.account, self.key, str(self.number)) if self.key else None
        return KeyedRequest(deps, key, _render) if key else None


def _render(instance: Instance) -> StoredAnswer:
    body = {"id": instance.id, "status": instance.status.value, "generation": instance.desired.generation}
    return StoredAnswer(200, body)


class Clients:
    def __init__(self, scheduler: Scheduler, deps: Dependencies, oracle: StoreOracle, accounts: dict[str, str]) -> None:
        """`accounts` maps a toolbox to its account."""
        self._scheduler, self._deps, self._oracle, self._accounts = scheduler, deps, oracle, accounts
        self.requests: list[Request] = []
        self.faults_stopped = False

    def ask(self) -> None:
        """Send a new request, or sometimes an old one again."""
        rng = self._scheduler.rng
        keyed = [request for request in self.requests if request.key]
        if keyed and rng.random() < 0.15:
            self.send(rng.choice(keyed))
            return
        request = self._random_request(rng.choice(sorted(self._accounts)))
        self.requests.append(request)
        self.send(request)

    def send(self, request: Request) -> None:
        request.tries += 1
        name = f"{request.verb} {request.number}.{request.tries}"
        self._scheduler.log(f"sends {request} {'with' if request.key else 'without'} a key")
        # A request that was sent before the faults stopped may still fail because of one.
        ended = partial(self._ended, faults_stopped=self.faults_stopped)
        self._scheduler.spawn(name, lambda: self._perform(request), ended).request = request

    def _perform(self, request: Request) -> Answer:
        return run_once(
            request.keyed(self._deps),
            lambda commit: self._first(request, commit),
            lambda about, _: change.resume(self._deps, about),
        )

    def _first(self, request: Request, commit: CommitHook) -> Instance:
        caller = Caller(request.account, request.account)
        parsed = InstanceRequest(caller, request.toolbox_id, request.target, commit)
        if isinstance(request.change, NewInstance):
            return deploy(self._deps, caller, request.toolbox_id, request.change, commit)
        if isinstance(request.change, Changes):
            return update(self._deps, parsed, request.change)
        return VERBS[request.verb](self._deps, parsed)

    def _ended(self, worker: Worker, faults_stopped: bool) -> None:
        request, error = worker.request, worker.error
        self._scheduler.log(f"{worker.name} ended: {error!r}" if error else f"{worker.name} is answered")
        if error is None:
            self._answered(request, worker.answer)
        elif isinstance(error, REFUSALS):
            require(request.effects == 0, f"{request} was accepted, and then refused: {error!r}")
        elif isinstance(error, ToolboxesError) and error.status >= 500 and not isinstance(error, Conflict | KeyReused):
            require(not faults_stopped, f"{request} was not answered though no fault occurs: {error!r}")
            self._try_again(request)
        elif isinstance(error, Killed):
            self._try_again(request)
        else:
            raise Violation(f"{request} ended by {''.join(traceback.format_exception(error))}")

    def _try_again(self, request: Request) -> None:
        if request.key and request.tries < MAX_TRIES:
            self._scheduler.after(self._scheduler.rng.uniform(0.5, 20), lambda: self.send(request))

    def _answered(self, request: Request, answer: Answer) -> None:
        request.answers.append(answer)
        ids = {answer.id if isinstance(answer, Instance) else answer.body["id"] for answer in request.answers}
        require(len(ids) == 1, f"{request} was answered with different instances: {ids}")
        require(request.effects == 1, f"{request} was answered, and is not stored")
        stored = [answer for answer in request.answers if not isinstance(answer, Instance)]
        require(all(answer == stored[0] for answer in stored), f"{request} was answered differently: {stored}")

    def _random_request(self, toolbox_id: str) -> Request:
        rng = self._scheduler.rng
        number, account = len(self.requests) + 1, self._accounts[toolbox_id]
        if rng.random() < 0.03:
            account = "somebody else"
        key = f"key-{number}" if rng.random() < 0.5 else None
        existing = [instance for instance in self._oracle.instances.values() if instance.toolbox_id == toolbox_id]
        target = rng.choice([instance.id for instance in existing] if existing and rng.random() < 0.3 else NAMES)
        verb = rng.choice(
            ("deploy", "start", "stop", "restart", "delete", "update", "update") if existing else ("deploy",)
        )
        change: NewInstance | Changes | None = None
        if verb == "deploy":
            target = rng.choice(NAMES)
            change = NewInstance(target, self._spec(Spec(SERVER)), CatalogEntry(), start=rng.random() < 0.85)
        elif verb == "update":
            change = Changes(self._random_change(), self._random_ports() if rng.random() < 0.5 else None)
        return Request(number, account, toolbox_id, verb, target, change, key)

    def _spec(self, spec: Spec) -> Spec:
        return replace(self._random_change()(spec), ports=self._random_ports())

    def _random_change(self) -> Callable[[Spec], Spec]:
        rng = self._scheduler.rng
        image = rng.choice((SERVER, SERVER, SECOND, SECOND, PULLED, PULLED, MISSING))
        mcp = Mcp(3000, "/mcp") if rng.random() < 0.25 else None
        policy = rng.choice(("unless-stopped", "unless-stopped", "unless-stopped", "no"))
        return lambda spec: replace(spec, image=image, mcp=mcp, restart_policy=policy)

    def _random_ports(self) -> list[Port]:
        return [Port(3000 + index, port) for index, port in enumerate(self._scheduler.rng.choice(PORTS))]
