"""The Docker Engine by its socket: the only module that imports docker. It decides nothing.

Commands go through docker-py. Reads and raw streams bypass it: for the inspect that comes with every command docker-py
takes six times the CPU, and for a stream its buffering client keeps the first bytes for itself, merges stdout and
stderr, and cannot read on after a timeout.
"""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, cast
from urllib.parse import quote, urlencode

import requests
from docker import APIClient
from docker.errors import APIError, DockerException

from shim import engine_errors
from shim.contract import errors
from shim.contract.messages import Execute
from shim.http1 import Exchange

ANSWER_SECONDS = 30
# A registry that sends nothing for this long is given up. docker-py would wait for ever.
PULL_SILENCE_SECONDS = 60
HEARTBEAT_SECONDS = 10
# To the engine: docker-py's, and those that are kept open for reads.
CONNECTIONS = 32
IDLE_READERS = 16
# The list of a thousand containers takes 2 MB.
MAX_ANSWER_BYTES = 64 << 20

HEADERS = [("Host", "engine"), ("Content-Type", "application/json")]
Json = dict[str, Any]
Query = dict[str, str | int]
_UPDATES = '{"type": ["container"], "event": ["update"]}'
_LOG: Query = {"stdout": 1, "stderr": 1, "timestamps": 1}
ToError = Callable[[int, str], errors.ShimError]


class Refusal(Exception):
    """The engine's own error: its HTTP status and message."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Engine:
    """One call of the engine's API for each method, by container id but for `create`; answers are the engine's JSON.

    Every method may raise EngineUnavailable, DiskFull or OutcomeUnknown. Safe to share between threads.
    """

    def __init__(self, url: str, silence_seconds: float = PULL_SILENCE_SECONDS) -> None:
        """`url` is e.g. unix:///var/run/docker.sock. The engine need not be up yet."""
        self._url, self._path, self._silence_seconds = url, url.removeprefix("unix://"), silence_seconds
        self._client: APIClient | None = None
        self._connecting = threading.Lock()
        self._idle: list[Exchange] = []

    def data_id(self) -> str:
        """The id of the engine's network `none`, which is made once for each data directory.

        The engine's own `ID` survives a wipe of its data in releases before 24, and costs eight times as much.
        """
        return str(self._read("/networks/none")["Id"])

    def info(self) -> Json:
        """The answer of `GET /info`."""
        return cast(Json, self._read("/info"))

    def containers(self, labels: dict[str, str]) -> list[Json]:
        """The list of all containers with these labels, stopped ones included."""
        filters = json.dumps({"label": [f"{key}={value}" for key, value in labels.items()]})
        return cast(list[Json], self._read("/containers/json", all=1, filters=filters))

    def updated(self) -> set[str]:
        """Ids of the containers that were changed by `docker update`, as far as the engine remembers: a hint."""
        query: Query = {"since": 0, "until": int(time.time()), "filters": _UPDATES}
        with self._errors() as docker:
            lines = self._get(_target(docker, "/events", query)).splitlines()
            return {json.loads(line)["Actor"]["ID"] for line in lines}

    def inspect(self, reference: str) -> Json | None:
        """By name or id; None where there is none."""
        try:
            return cast(Json, self._read(f"/containers/{reference}/json"))
        except errors.NoSuchContainer:
            return None

    def create(self, name: str, config: Json) -> str:
        """The new container's id. Raises NoSuchImage, NameTaken, Refused."""
        with self._errors(engine_errors.from_create) as docker:
            return str(docker.create_container_from_config(config, name)["Id"])  # type: ignore[no-untyped-call]

    def rename(self, container_id: str, name: str) -> None:
        """Raises NameTaken, NoSuchContainer."""
        with self._errors(engine_errors.from_rename) as docker:
            docker.rename(container_id, name)

    def start(self, container_id: str) -> None:
        """Raises StartFailed, PortTaken, NoSuchContainer."""
        with self._errors(engine_errors.from_start) as docker:
            docker.start(container_id)

    def stop(self, container_id: str, timeout: int) -> None:
        """`timeout`: seconds until SIGKILL. Raises NoSuchContainer."""
        with self._errors() as docker:
            docker.stop(container_id, timeout=timeout)

    def restart(self, container_id: str, timeout: int) -> None:
        """Raises StartFailed, PortTaken, NoSuchContainer."""
        with self._errors(engine_errors.from_start) as docker:
            docker.restart(container_id, timeout=timeout)

    def remove(self, container_id: str, *, running: bool = False) -> None:
        """With its anonymous volumes, never its named ones. Raises NoSuchContainer where it is gone or being removed.

        A running container is killed with `running`, and otherwise stays, which is Transient.
        """
        with self._errors(engine_errors.from_removal) as docker:
            docker.remove_container(container_id, v=True, force=running)

    def logs(self, container_id: str, tail: int, since: str) -> Iterator[bytes]:
        """Chunks of the engine's stream format."""
        with self._stream("GET", f"/containers/{container_id}/logs", _LOG | {"tail": tail, "since": since}) as stream:
            stream.sock.settimeout(ANSWER_SECONDS)
            yield from stream.chunks()

    def follow(self, container_id: str, tail: int, since: str, silence: float = HEARTBEAT_SECONDS) -> Iterator[bytes]:
        """The log and what is added to it, until the container stops; b"" after so many seconds of silence."""
        query = _LOG | {"follow": 1, "tail": tail, "since": since}
        with self._stream("GET", f"/containers/{container_id}/logs", query) as stream:
            # At once, so that the caller knows an empty log to be open.
            yield b""
            yield from stream.chunks(silence=silence)

    def events(self, labels: dict[str, str], actions: Sequence[str]) -> Iterator[Json | None]:
        """Events of containers with these labels from now on, until the engine ends. First None: it listens."""
        labelled = [f"{key}={value}" for key, value in labels.items()]
        filters = json.dumps({"type": ["container"], "label": labelled, "event": list(actions)})
        with self._stream("GET", "/events", {"filters": filters}) as stream:
            yield None
            pending = b""
            for chunk in stream.chunks():
                *lines, pending = (pending + chunk).split(b"\n")
                yield from map(json.loads, filter(bytes.strip, lines))

    def execute(self, container_id: str, body: Execute) -> tuple[str, Exchange]:
        """Starts a command: the exec's id and its stream, to be closed. Raises NotRunning, StartFailed."""
        with self._errors(engine_errors.from_exec) as docker:
            exec_id = docker.exec_create(
                container_id,
                body.command,
                stdin=True,
                environment=body.environment,
                workdir=body.working_directory or None,
            )["Id"]
            start = b'{"Detach": false, "Tty": false}'
            return exec_id, self._opened("POST", _target(docker, f"/exec/{exec_id}/start", {}), start)

    def exit_code(self, exec_id: str) -> int | None:
        """None while it runs."""
        return cast(int | None, self._read(f"/exec/{exec_id}/json")["ExitCode"])

    def stats(self, container_id: str) -> Json:
        """One sample of the usage of a running container."""
        return cast(Json, self._read(f"/containers/{container_id}/stats", stream="false"))

    def archive(self, container_id: str, path: str) -> Iterator[bytes]:
        """The content of a container's directory, as a tar."""
        with self._errors() as docker:
            yield from docker.get_archive(container_id, f"{path}/.", chunk_size=1 << 20)[0]

    def extract(self, container_id: str, path: str, tar: Iterator[bytes]) -> None:
        """An error that `tar` raises ends the extraction and is raised."""
        with self._errors() as docker:
            docker.put_archive(container_id, path, tar)

    def image(self, reference: str) -> Json:
        """Raises NoSuchImage."""
        return cast(Json, self._read(f"/images/{reference}/json", engine_errors.from_create))

    def images(self) -> list[Json]:
        """Every image that has a name or was pulled; not the intermediate ones of a build."""
        return cast(list[Json], self._read("/images/json"))

    def remove_image(self, reference: str) -> bool:
        """False where it is gone already, or stays because a container uses it. Never by force."""
        try:
            with self._errors(engine_errors.from_image_removal) as docker:
                docker.remove_image(reference)
        except errors.NoSuchImage:
            return False
        return True

    def platform(self) -> str:
        """The platform that the engine runs images of, e.g. `linux/amd64`."""
        version = self._read("/version")
        return f"{version['Os']}/{version['Arch']}"

    def pull(self, repository: str, tag: str, credentials: dict[str, str]) -> Iterator[Json]:
        """The lines of the engine's stream. Closing it ends the engine's pull.

        Raises RegistryUnreachable after a silence, and before the first line ImageUnavailable, ImageDenied,
        WrongPlatform, RegistryUnreachable.
        """
        # Sent also where it is empty, so that credentials of this machine are never used.
        header = base64.urlsafe_b64encode(json.dumps(credentials).encode()).decode()
        with self._errors(engine_errors.from_registry, errors.RegistryUnreachable) as docker:
            url = f"{docker.base_url}/v{docker.api_version}/images/create"
            query, headers = {"fromImage": repository, "tag": tag}, {"X-Registry-Auth": header}
            response = docker.post(url, params=query, headers=headers, stream=True, timeout=self._silence_seconds)
            if response.status_code != requests.codes.ok:
                with response:
                    raise engine_errors.from_registry(response.status_code, _message(response.content))
        return self._lines(response)

    def _lines(self, response: requests.Response) -> Iterator[Json]:
        with response, self._errors(engine_errors.from_registry, errors.RegistryUnreachable):
            for line in response.iter_lines():
                yield json.loads(line)

    def _read(self, path: str, to_error: ToError = engine_errors.from_engine, **query: str | int) -> Any:
        with self._errors(to_error) as docker:
            return json.loads(self._get(_target(docker, path, query)))

    def _get(self, target: str) -> bytes:
        """By a connection that is kept open. Raises Refusal, OSError."""
        with suppress(IndexError, ConnectionError):
            # It may have ended while it was idle, as with the engine; a read may be repeated.
            return self._get_by(self._idle.pop(), target)
        return self._get_by(self._connect(), target)

    def _get_by(self, connection: Exchange, target: str) -> bytes:
        try:
            connection.send("GET", target, HEADERS)
            connection.sock.settimeout(ANSWER_SECONDS)
            body = connection.read(MAX_ANSWER_BYTES)
        finally:
            if connection.is_complete and len(self._idle) < IDLE_READERS:
                self._idle.append(connection)
            else:
                connection.close()
        if connection.status != 200:
            raise Refusal(connection.status, _message(body))
        return body

    def _opened(self, method: str, target: str, body: bytes = b"") -> Exchange:
        """A good answer whose body is not read yet, to be closed. Raises Refusal, OSError."""
        connection = self._connect()
        try:
            connection.send(method, target, [*HEADERS, ("Connection", "close")], body)
            connection.read_head(ends=time.monotonic() + ANSWER_SECONDS)
            if connection.status != 200:
                raise Refusal(connection.status, _message(connection.read(MAX_ANSWER_BYTES)))
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _stream(self, method: str, path: str, query: Query) -> Iterator[Exchange]:
        with self._errors() as docker, closing(self._opened(method, _target(docker, path, query))) as stream:
            yield stream

    def _connect(self) -> Exchange:
        connected = socket.socket(socket.AF_UNIX)
        try:
            connected.settimeout(ANSWER_SECONDS)
            connected.connect(self._path)
        except OSError:
            connected.close()
            raise
        return Exchange(connected)

    @contextmanager
    def _errors(
        self,
        to_error: ToError = engine_errors.from_engine,
        on_timeout: type[errors.ShimError] = errors.OutcomeUnknown,
    ) -> Iterator[APIClient]:
        """The engine's client, with its exceptions as errors of the contract."""
        try:
            yield self._connected()
        except (APIError, Refusal, OSError, json.JSONDecodeError) as error:
            if isinstance(error, Refusal):
                converted = to_error(error.status, error.text)
            elif isinstance(error, APIError):
                converted = to_error(error.status_code or 500, error.explanation or str(error))
            else:
                converted = engine_errors.from_socket(error, on_timeout)
            if isinstance(converted, errors.EngineUnavailable):
                # It may return as another release, so its API version is negotiated again.
                self._client = None
            raise converted from error

    def _connected(self) -> APIClient:
        if client := self._client:
            return client
        with self._connecting:
            if self._client is None:
                try:
                    self._client = APIClient(
                        self._url, version="auto", timeout=ANSWER_SECONDS, max_pool_size=CONNECTIONS
                    )
                    # A proxy or a .netrc of the environment must not be used.
                    self._client.trust_env = False
                except DockerException as error:
                    raise errors.EngineUnavailable(f"The engine does not answer: {error}") from error
            return self._client


def _target(docker: APIClient, path: str, query: Query) -> str:
    return f"/v{docker.api_version}{quote(path, safe='/:@')}" + (f"?{urlencode(query)}" if query else "")


def _message(body: bytes) -> str:
    """The engine's message in the body of an error, or the body itself where it is something else."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:2_000].decode("utf-8", "replace")
