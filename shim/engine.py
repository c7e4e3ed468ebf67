"""The Docker Engine, by its socket: the only import of docker. Its errors become the contract's; it judges nothing."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, cast
from urllib.parse import urlencode

import requests
from docker import APIClient
from docker.errors import APIError, DockerException

from shim import faults, protocol
from shim.messages import Execute

ANSWER_SECONDS = 30
PULL_SILENCE_SECONDS = 60
HEARTBEAT_SECONDS = 10
MAX_HEAD = 65_536
CONNECTIONS = 32

Said = dict[str, Any]
Judge = Callable[[int, str], protocol.ContractError]


class Engine:
    """One call of the engine's API each, by container id but for `create`; answers are the engine's JSON.

    Every method may raise EngineUnavailable, DiskFull or OutcomeUnknown. Safe to share between threads.
    """

    def __init__(self, socket: str, silence_seconds: float = PULL_SILENCE_SECONDS) -> None:
        """`socket` is a URL, e.g. unix:///var/run/docker.sock; the engine need not be up yet."""
        self._socket, self._silence_seconds = socket, silence_seconds
        self._client: APIClient | None = None
        self._connecting = threading.Lock()

    def data_id(self) -> str:
        """The id of the engine's network `none`, which is made once for each data directory.

        The engine's own `ID` outlives a wipe of its data in releases before 24, and costs eight times as much.
        """
        with self._docker() as docker:
            return str(docker.inspect_network("none")["Id"])

    def info(self) -> Said:
        with self._docker() as docker:
            return docker.info()

    def containers(self, labels: dict[str, str]) -> list[Said]:
        with self._docker() as docker:
            return cast(
                list[Said],
                docker.containers(all=True, filters={"label": [f"{key}={value}" for key, value in labels.items()]}),
            )

    def updated(self) -> set[str]:
        """Ids of the containers that were edited (`docker update`), as far as the engine still remembers: a hint."""
        filters = {"type": "container", "event": "update"}
        with self._docker() as docker:
            said = docker.events(since=0, until=int(time.time()), filters=filters, decode=True)
            return {event["Actor"]["ID"] for event in said}

    def inspect(self, reference: str) -> Said | None:
        """By name or id; None where there is none."""
        try:
            with self._docker() as docker:
                return cast(Said, docker.inspect_container(reference))
        except protocol.NoSuchContainer:
            return None

    def create(self, name: str, config: Said) -> str:
        """The new container's id. Raises NoSuchImage, NameTaken, Refused."""
        with self._docker(faults.of_create) as docker:
            return str(docker.create_container_from_config(config, name)["Id"])  # type: ignore[no-untyped-call]

    def rename(self, container_id: str, name: str) -> None:
        """Raises NameTaken, NoSuchContainer."""
        with self._docker(faults.of_rename) as docker:
            docker.rename(container_id, name)

    def start(self, container_id: str) -> None:
        """Raises StartFailed, PortTaken, NoSuchContainer."""
        with self._docker(faults.of_start) as docker:
            docker.start(container_id)

    def stop(self, container_id: str, timeout: int) -> None:
        """`timeout`: seconds until SIGKILL. Raises NoSuchContainer."""
        with self._docker() as docker:
            docker.stop(container_id, timeout=timeout)

    def restart(self, container_id: str, timeout: int) -> None:
        """Raises StartFailed, PortTaken, NoSuchContainer."""
        with self._docker(faults.of_start) as docker:
            docker.restart(container_id, timeout=timeout)

    def remove(self, container_id: str, *, running: bool = False) -> None:
        """With its anonymous volumes, never its named ones. Raises NoSuchContainer where it is gone or going.

        One that runs is killed where `running` says so, else it stays and that is Transient.
        """
        with self._docker(faults.of_removal) as docker:
            docker.remove_container(container_id, v=True, force=running)

    def log_stream(self, container_id: str, tail: int, since: str) -> Iterator[bytes]:
        """By hand, since docker-py merges the two streams and rounds `since` to a float."""
        query: dict[str, str | int] = {"stdout": 1, "stderr": 1, "timestamps": 1, "tail": tail, "since": since}
        with self._docker() as docker:
            url = f"{docker.base_url}/v{docker.api_version}/containers/{container_id}/logs"
            with docker.get(url, params=query, stream=True, timeout=ANSWER_SECONDS) as response:
                if response.status_code != requests.codes.ok:
                    raise faults.of_engine(response.status_code, response.text)
                yield from response.iter_content(1 << 16)

    def follow(self, container_id: str, tail: int, since: str) -> Iterator[bytes]:
        """Its log and what is added to it, until it stops; b"" after each silence of HEARTBEAT_SECONDS."""
        query = urlencode({"stdout": 1, "stderr": 1, "timestamps": 1, "follow": 1, "tail": tail, "since": since})
        with self._docker(), closing(self._raw("GET", f"/containers/{container_id}/logs?{query}")) as stream:
            stream.settimeout(HEARTBEAT_SECONDS)
            # At once, since a log that stays empty is open all the same.
            yield b""
            while (chunk := _received(stream)) is not None:
                yield chunk

    def events(self, labels: dict[str, str], kinds: Sequence[str]) -> Iterator[Said | None]:
        """What happens from now on to containers with these labels, until the engine ends; first None: it listens."""
        labelled = [f"{key}={value}" for key, value in labels.items()]
        filters = json.dumps({"type": ["container"], "label": labelled, "event": list(kinds)})
        with self._docker(), closing(self._raw("GET", f"/events?{urlencode({'filters': filters})}")) as stream:
            yield None
            with stream.makefile("rb") as lines:
                yield from map(json.loads, lines)

    def execute(self, container_id: str, asked: Execute) -> tuple[str, socket.socket]:
        """Begins a command: the exec's id, and its stream, without a timeout, to be closed. Raises NotRunning."""
        with self._docker(faults.of_exec) as docker:
            exec_id = docker.exec_create(
                container_id, asked.command, stdin=True, environment=asked.environment,
                workdir=asked.working_directory or None,
            )["Id"]  # fmt: skip
            return exec_id, self._raw("POST", f"/exec/{exec_id}/start", b'{"Detach": false, "Tty": false}')

    def exit_code(self, exec_id: str) -> int | None:
        """None while it runs."""
        with self._docker() as docker:
            return cast(int | None, docker.exec_inspect(exec_id)["ExitCode"])

    def stats(self, container_id: str) -> Said:
        with self._docker() as docker:
            return cast(Said, docker.stats(container_id, stream=False))

    def archive(self, container_id: str, path: str) -> Iterator[bytes]:
        """What a directory of the container holds, as a tar."""
        with self._docker() as docker:
            yield from docker.get_archive(container_id, f"{path}/.", chunk_size=1 << 20)[0]

    def extract(self, container_id: str, path: str, tar: Iterator[bytes]) -> None:
        """What `tar` raises ends it and is raised."""
        with self._docker() as docker:
            docker.put_archive(container_id, path, tar)

    def image(self, reference: str) -> Said:
        """Raises NoSuchImage."""
        with self._docker(faults.of_create) as docker:
            return cast(Said, docker.inspect_image(reference))  # type: ignore[no-untyped-call]

    def images(self) -> list[Said]:
        """Every image that has a name or was pulled; not the steps of a build."""
        with self._docker() as docker:
            return cast(list[Said], docker.images())

    def remove_image(self, reference: str) -> bool:
        """False where it is gone already, or stays since a container uses it."""
        try:
            with self._docker(faults.of_image_removal) as docker:
                docker.remove_image(reference)
        except protocol.NoSuchImage:
            return False
        return True

    def platform(self) -> str:
        with self._docker() as docker:
            said = docker.version()
        return f"{said['Os']}/{said['Arch']}"

    def pull(self, repository: str, tag: str, credentials: dict[str, str]) -> Iterator[Said]:
        """The lines of the engine's stream; closing it ends the engine's pull.

        By hand, since docker-py waits for a silent registry without end. Raises RegistryUnreachable after a
        silence, and before the first line ImageUnavailable, ImageDenied, WrongPlatform, RegistryUnreachable.
        """
        # Sent empty, too, so that this machine's own credentials are never used.
        sent = base64.urlsafe_b64encode(json.dumps(credentials).encode()).decode()
        with self._docker(faults.of_registry, protocol.RegistryUnreachable) as docker:
            response = docker.post(
                f"{docker.base_url}/v{docker.api_version}/images/create",
                params={"fromImage": repository, "tag": tag},
                headers={"X-Registry-Auth": sent},
                stream=True,
                timeout=self._silence_seconds,
            )
            if response.status_code != requests.codes.ok:
                with response:
                    raise faults.of_registry(response.status_code, response.json()["message"])
        return self._lines(response)

    def _lines(self, response: requests.Response) -> Iterator[Said]:
        with response, self._docker(faults.of_registry, protocol.RegistryUnreachable):
            for line in response.iter_lines():
                yield json.loads(line)

    @contextmanager
    def _docker(
        self, judge: Judge = faults.of_engine, silence: type[protocol.ContractError] = protocol.OutcomeUnknown
    ) -> Iterator[APIClient]:
        """The engine's client. `judge` names its refusals, `silence` what a timeout means."""
        try:
            yield self._connected()
        except APIError as error:
            raise self._forgotten(judge(error.status_code or 500, error.explanation or str(error))) from error
        except OSError as error:
            # Those of requests, too.
            causes = list(_causes(error))
            if any(isinstance(cause, (FileNotFoundError, ConnectionRefusedError, PermissionError)) for cause in causes):
                raise self._forgotten(protocol.EngineUnavailable("the engine's socket does not answer")) from error
            if any(isinstance(cause, TimeoutError) for cause in causes):
                raise silence("nothing was heard in time") from error
            raise protocol.OutcomeUnknown("the engine broke off") from error

    def _raw(self, method: str, path: str, body: bytes = b"") -> socket.socket:
        """A request whose answer's body is a bare stream, read from the socket itself; to be called in _docker().

        By hand, since a client that buffers would take the stream's beginning for itself, and could not read on after
        a silence. Over HTTP/1.0, whose body has no framing.
        """
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.settimeout(ANSWER_SECONDS)
            stream.connect(self._socket.removeprefix("unix://"))
            lines = (
                f"{method} /v{self._connected().api_version}{path} HTTP/1.0", "Host: engine",
                "Content-Type: application/json", f"Content-Length: {len(body)}", "", "",
            )  # fmt: skip
            stream.sendall("\r\n".join(lines).encode() + body)
            with stream.makefile("rb", 0) as head:
                status = int(head.readline(MAX_HEAD).split(b" ", 2)[1])
                while head.readline(MAX_HEAD).strip():
                    pass
                if status != requests.codes.ok:
                    raise faults.of_engine(status, head.read(MAX_HEAD).decode("utf-8", "replace"))
        except BaseException:
            stream.close()
            raise
        stream.settimeout(None)
        return stream

    def _connected(self) -> APIClient:
        with self._connecting:
            if self._client is None:
                try:
                    self._client = APIClient(
                        self._socket, version="auto", timeout=ANSWER_SECONDS, max_pool_size=CONNECTIONS
                    )
                except DockerException as error:
                    raise protocol.EngineUnavailable(f"the engine does not answer: {error}") from error
            return self._client

    def _forgotten(self, error: protocol.ContractError) -> protocol.ContractError:
        """An engine that was away may come back as another release: its API version is negotiated anew."""
        if isinstance(error, protocol.EngineUnavailable):
            self._client = None
        return error


def _received(stream: socket.socket) -> bytes | None:
    """None at the end, b"" after a silence."""
    try:
        return stream.recv(65_536) or None
    except TimeoutError:
        return b""


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
