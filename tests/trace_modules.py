"""Print which modules three requests pass through, and the size of the code.

    python -m tests.trace_modules

Each request comes in over HTTP through the real web layer and reaches the fake world of the other tests: the embedded
store, a fake droplet and a fake DigitalOcean. A module counts where one of its functions is called, the constructor of
a dataclass included; importing it does not count. The figures show how much code a reader opens to follow a request.
"""

from __future__ import annotations

import ast
import base64
import json
import sys
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from werkzeug.test import TestResponse

from tests.fakes.fleet import FleetWorld
from tests.fakes.issuer import Issuer
from tests.fakes.world import ACCOUNT, TOOLBOX, World
from tests.web.conftest import SERVICE, SERVICE_AUDIENCE, Caller, built

ROOT = Path(__file__).resolve().parent.parent
TRACED = ("functions.", "shim.contract.")
FOLDERS = ("functions", "shim", "tests")
TOOLS = f"/{TOOLBOX}/tools"
IMAGE = "registry.test/server:1"


@contextmanager
def traced() -> Iterator[Counter[str]]:
    """Count the calls of functions by the module that defines them, for modules below TRACED."""
    calls: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, argument: object) -> None:
        # By the function's globals and not by its file: the constructor of a dataclass has no file.
        module = frame.f_globals.get("__name__", "")
        if event == "call" and frame.f_code.co_name != "<module>" and module.startswith(TRACED):
            calls[module] += 1

    sys.setprofile(profile)
    try:
        yield calls
    finally:
        sys.setprofile(None)


class Deployment:
    """The functions of a fake world, called as an account, the scheduler, Pub/Sub and a shim call them."""

    def __init__(self, world: World, issuer: Issuer) -> None:
        self.world = world
        apps = built(world, issuer)
        service = issuer.token("platform", aud=SERVICE_AUDIENCE, email=SERVICE, email_verified=True)
        self.account, self.service = Caller(apps, issuer.token(ACCOUNT)), Caller(apps, service)
        # The callers of the other tests hold each answer against the OpenAPI document, which is not part of a request.
        self.clients = {name: app.test_client() for name, app in apps.items()}

    def as_account(self, method: str, function: str, path: str, **options: Any) -> TestResponse:
        return self._call(self.account.token, method, function, path, **options)

    def sweep(self) -> None:
        self._call(self.service.token, "POST", "sweep", "/")

    def deliver(self) -> None:
        """Push every published task, until no task publishes another one."""
        while tasks := self.world.queue.tasks:
            self.world.queue.tasks = []
            for task in tasks:
                data = base64.b64encode(json.dumps(asdict(task)).encode()).decode()
                message = {"data": data, "messageId": "1", "publishTime": "", "attributes": {}}
                envelope = {"message": message, "subscription": "converge"}
                self._call(self.service.token, "POST", "converge", "/", json=envelope)

    def enrol(self, body: dict[str, Any]) -> None:
        self._call(None, "POST", "enrol", "/", json=body)

    def _call(self, token: str | None, method: str, function: str, path: str, **options: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = self.clients[function].open(path, method=method, headers=headers, **options)
        assert answer.status_code < 300, (function, answer.status_code, answer.get_data(as_text=True))
        return answer


def trace_deploy(issuer: Issuer) -> Counter[str]:
    """An account deploys an instance with a port, which runs when the request is answered."""
    deployment = Deployment(_world(), issuer)
    with traced() as calls:
        _deploy(deployment)
    return calls


def trace_repair(issuer: Issuer) -> Counter[str]:
    """Somebody removes a container by hand; the sweep and the queue's worker recreate it."""
    world = _world()
    deployment = Deployment(world, issuer)
    _deploy(deployment)
    world.pass_time(60)
    world.queue.tasks.clear()
    world.droplet.containers.clear()
    with traced() as calls:
        deployment.sweep()
        deployment.deliver()
    assert world.droplet.running()
    return calls


def trace_provisioning(issuer: Issuer) -> Counter[str]:
    """An account requests a toolbox; a worker creates the droplet; its shim enrols; a worker makes it active."""
    world = FleetWorld()
    deployment = Deployment(world, issuer)
    with traced() as calls:
        body = {"name": "box", "regionSlug": "fra1", "sizeSlug": "s-1vcpu-1gb"}
        answer = deployment.as_account("POST", "toolboxes-user", "/", json=body)
        deployment.deliver()
        [droplet_id] = world.digitalocean.droplets
        request = world.enrolling(droplet_id)
        world.fleet.boot(world.digitalocean.droplets[droplet_id].address or "")
        proof = f"{request.toolbox_id} signed by {request.certificate} for enrol"
        sent = {"toolbox_id": request.toolbox_id, "droplet_id": droplet_id, "certificate": request.certificate}
        deployment.enrol({**sent, "token": request.token, "proof": proof})
        deployment.deliver()
    record = deployment.as_account("GET", "toolboxes-user", f"/{_json(answer)['id']}")
    assert _json(record)["status"] == "active", _json(record)
    return calls


def _world() -> World:
    world = World()
    world.add_toolbox()
    world.settled_toolbox()
    return world


def _deploy(deployment: Deployment) -> None:
    body = {"instanceNameOnToolbox": "server", "dockerImage": IMAGE, "portMappings": [{"containerPort": 3000}]}
    answer = deployment.as_account("POST", "toolbox-tools", TOOLS, json=body)
    assert _json(answer)["status_on_toolbox"] == "running", _json(answer)


def _json(answer: TestResponse) -> dict[str, Any]:
    content: dict[str, Any] = answer.get_json()
    return content


@dataclass(frozen=True)
class Size:
    """Lines of the modules below a folder. `comments` and `docstrings` count lines that hold nothing else."""

    modules: int
    lines: int
    comments: int
    docstrings: int

    def __str__(self) -> str:
        share = 100 * (self.comments + self.docstrings) / self.lines
        texts = f"{self.comments} comment and {self.docstrings} docstring lines, {share:.1f} %"
        return f"{self.lines} lines in {self.modules} modules, {self.lines / self.modules:.0f} a module; {texts}"


def size_of(folder: Path) -> Size:
    """Measure the Python modules below `folder`; an empty `__init__.py` is no module."""
    modules = lines = comments = docstrings = 0
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text()
        if not text.strip():
            continue
        modules += 1
        lines += len(text.splitlines())
        comments += _comment_lines(path)
        docstrings += _docstring_lines(text)
    return Size(modules, lines, comments, docstrings)


def _comment_lines(path: Path) -> int:
    with path.open("rb") as file:
        tokens = list(tokenize.tokenize(file.readline))
    return sum(
        token.type == tokenize.COMMENT and token.line.lstrip().startswith("#") and not token.line.startswith("#!")
        for token in tokens
    )


def _docstring_lines(text: str) -> int:
    total = 0
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            value = first.value if isinstance(first, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                total += (first.end_lineno or first.lineno) - first.lineno + 1
    return total


TRACES: dict[str, Callable[[Issuer], Counter[str]]] = {
    "deploy": trace_deploy,
    "swept repair": trace_repair,
    "provisioning": trace_provisioning,
}


def main() -> None:
    issuer = Issuer()
    for name, trace in TRACES.items():
        calls = trace(issuer)
        print(f"{name}: {len(calls)} modules")
        for module, count in sorted(calls.items()):
            print(f"  {count:6} {module}")
    issuer.close()
    for name in FOLDERS:
        print(f"{name}: {size_of(ROOT / name)}")


if __name__ == "__main__":
    main()
