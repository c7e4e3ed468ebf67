"""The present and the previous version of the contract: how a command is written for each, and its answer read.

The one place that compares version numbers. shim/README.md, "Contract and versions", lists what a change must touch.

The rest of the functions knows the present version only. A shim of the previous one serves until its upgrade, and what
it cannot do is ShimTooOld. When the contract grows, its present form becomes the previous one here: what has not
changed needs nothing, and what is older goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from functions.adapters.pinned import Answer
from functions.adapters.shim_answers import content, read, relayed
from functions.domain.errors import ShimIncompatible, ShimTooOld
from shim.contract import messages, routes
from shim.contract.routes import Route

PREVIOUS = 1
SPOKEN = (routes.CONTRACT, PREVIOUS)
# Routes of this version that the previous one lacks.
NEW = (routes.IMAGES, routes.REMOVE_IMAGES)
_RELAY_1 = "/tools/{name}/request"
_LAYER_DONE = ("Pull complete", "Already exists")
_LAYER = (
    "Pulling fs layer",
    "Waiting",
    "Downloading",
    "Verifying Checksum",
    "Download complete",
    "Extracting",
    *_LAYER_DONE,
)


@dataclass(frozen=True, slots=True)
class WireRequest:
    """What is signed and sent."""

    method: str
    target: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class PullLine1(messages.Message):
    """A line of a pull in version 1, whose shim added up the layers itself."""

    progress: messages.Progress | None = None
    image: messages.Image | None = None
    error: messages.WireError | None = None


def first_version(known: int | None) -> int:
    """The version in which to speak to a shim that is known to speak `known`."""
    return known if known in SPOKEN else routes.CONTRACT


def version_of(answer: Answer) -> int:
    """What the answer's header says. Raises ShimIncompatible for none, and for one that is not spoken here."""
    header = answer.header(routes.CONTRACT_HEADER)
    if header not in map(str, SPOKEN):
        raise ShimIncompatible(
            f"The toolbox's shim speaks contract {header[:20] or 'none'}, and this service "
            f"{' and '.join(map(str, SPOKEN))}. Upgrade the shim."
        )
    return int(header)


def write(version: int, route: Route, name: str, body: messages.Message, query: str) -> WireRequest:
    """The command for that version. Raises ShimTooOld."""
    if version == PREVIOUS and route in NEW:
        raise ShimTooOld(
            f"{route.method} {route.path} needs contract {routes.CONTRACT}, and the toolbox's shim speaks {version}. "
            "Upgrade the shim: POST /toolboxes-user/{id}/upgrade-shim."
        )
    if route is not routes.RELAY:
        headers = {"Content-Type": "application/json"}
        return WireRequest(route.method, route.target(name, query), messages.dump(body), headers)
    assert isinstance(body, messages.Request)
    if version == PREVIOUS:
        target = Route("POST", _RELAY_1, messages.Request, messages.Response).target(name)
        return WireRequest("POST", target, messages.dump(body), {"Content-Type": "application/json"})
    target = routes.relay_target(name, body.port, body.path)
    return WireRequest(body.method, target, body.body.encode(), dict(body.headers))


def read_response(version: int, answer: Answer) -> messages.Response:
    """What a container answered to a relayed request. Raises ToolboxRefused, OutcomeUnknown."""
    if version != PREVIOUS:
        return relayed(answer)
    response: messages.Response = read(messages.Response, content(answer))
    return response


def marks_relayed(version: int) -> bool:
    """Return whether a shim of that version marks a container's own answer with the header Toolboxes-Relayed."""
    return version != PREVIOUS


def pull_line(version: int) -> type[Any]:
    """Return the type of a line of a pull in that version."""
    return PullLine1 if version == PREVIOUS else messages.PullLine


@dataclass(slots=True)
class _Layer:
    done: int = 0
    total: int = 0
    is_complete: bool = False


@dataclass(slots=True)
class PullProgress:
    """The layers of one pull, as far as its lines report them."""

    on_progress: Callable[[messages.Progress], None]
    clock: Callable[[], float]
    layers: dict[str, _Layer] = field(default_factory=dict)
    reported_at: float = float("-inf")

    def image(self, lines: Iterator[Any]) -> messages.Image | None:
        """Follow the lines to the image, and report progress at most twice a second."""
        for line in lines:
            if line.image:
                return line.image  # type: ignore[no-any-return]
            if isinstance(line, PullLine1):
                if line.progress:
                    self.on_progress(line.progress)
            elif line.layer:
                self._add(line.layer)
        return None

    def _add(self, line: messages.LayerProgress) -> None:
        if line.status not in _LAYER or len(self.layers) >= messages.MAX_LAYERS:
            return
        layer = self.layers.setdefault(line.id, _Layer())
        if line.status == "Downloading":
            layer.done, layer.total = line.bytes_done, max(layer.total, line.bytes_total)
        elif line.status in ("Download complete", *_LAYER_DONE):
            layer.done, layer.is_complete = layer.total, layer.is_complete or line.status in _LAYER_DONE
        if self.clock() - self.reported_at >= 0.5:
            self.reported_at = self.clock()
            self.on_progress(self.progress())

    def progress(self) -> messages.Progress:
        layers = self.layers.values()
        return messages.Progress(
            bytes_done=sum(layer.done for layer in layers),
            bytes_total=sum(layer.total for layer in layers),
            layers_done=sum(layer.is_complete for layer in layers),
            layers_total=len(layers),
        )
