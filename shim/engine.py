"""The Docker Engine, by its socket: the only import of docker. Its errors become the contract's; it judges nothing."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import quote, urlencode

import requests
from docker import APIClient
from docker.errors import APIError, DockerException

from shim import daemon, faults
from shim.contract import errors
from shim.contract.messages import Execute
from shim.daemon import Daemon

PULL_SILENCE_SECONDS = 60
HEARTBEAT_SECONDS = 10
CONNECTIONS = 32

Said = dict[str, Any]
Query = dict[str, str | int]
_EDITS = '{"type": ["container"], "event": ["update"]}'
_LOG: Query = {"stdout": 1, "stderr": 1, "timestamps": 1}
Judge = Callable[[int, str], errors.ShimError]


class Engine:
    """One call of the engine's API each, by container id but for `create`; answers are the engine's JSON.

    Every method may raise EngineUnavailable, DiskFull or OutcomeUnknown. Safe to share between threads.
    """

    def __init__(self, socket: str, silence_seconds: float = PULL_SILENCE_SECONDS) -> None:
        """`socket` is a URL, e.g. unix:///var/run/docker.sock; the engine need not be up yet."""
        self._url, self._silence_seconds = socket, silence_seconds
        self._daemon = Daemon(socket.removeprefix("unix://"))
        self._client: APIClient | None = None
        self._connecting = threading.Lock()

    def data_id(self) -> str:
        """The id of the engine's network `none`, which is made once for each data directory.

        The engine's own `ID` outlives a wipe of its data in releases before 24, and costs eight times as much.
        """
        return str(self._read("/networks/none")["Id"])

    def info(self) -> Said:
        return cast(Said, self._read("/info"))

    def containers(self, labels: dict[str, str]) -> list[Said]:
        filters = json.dumps({"label": [f"{key}={value}" for key, value in labels.items()]})
        return cast(list[Said], self._read("/containers/json", all=1, filters=filters))

    def updated(self) -> set[str]:
        """Ids of the containers that were edited (`docker update`), as far as the engine still remembers: a hint."""
        query: Query = {"since": 0, "until": int(time.time()), "filters": _EDITS}
        with self._docker() as docker:
            said = self._daemon.read(_target(docker, "/events", query))
            return {json.loads(line)["Actor"]["ID"] for line in said.splitlines()}

    def inspect(self, reference: str) -> Said | None:
        """By name or id; None where there is none."""
        try:
            return cast(Said, self._read(f"/containers/{reference}/json"))
        except errors.NoSuchContainer:
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
        query = _LOG | {"tail": tail, "since": since}
        with self._docker() as docker:
            url = f"{docker.base_url}/v{docker.api_version}/containers/{container_id}/logs"
            with docker.get(url, params=query, stream=True, timeout=daemon.ANSWER_SECONDS) as response:
                if response.status_code != requests.codes.ok:
                    raise faults.of_engine(response.status_code, response.text)
                yield from response.iter_content(1 << 16)

    def follow(self, container_id: str, tail: int, since: str, silence: float = HEARTBEAT_SECONDS) -> Iterator[bytes]:
        """Its log and what is added to it, until it stops; b"" after so many seconds of silence."""
        path, query = f"/containers/{container_id}/logs", _LOG | {"follow": 1, "tail": tail, "since": since}
        with self._docker() as docker, self._opened(docker, "GET", path, query) as stream:
            stream.settimeout(silence)
            # At once, since a log that stays empty is open all the same.
            yield b""
            while (chunk := daemon.received(stream)) is not None:
                yield chunk

    def events(self, labels: dict[str, str], kinds: Sequence[str]) -> Iterator[Said | None]:
        """What happens from now on to containers with these labels, until the engine ends; first None: it listens."""
        labelled = [f"{key}={value}" for key, value in labels.items()]
        filters = json.dumps({"type": ["container"], "label": labelled, "event": list(kinds)})
        with self._docker() as docker, self._opened(docker, "GET", "/events", {"filters": filters}) as stream:
            yield None
            yield from map(json.loads, stream.makefile("rb"))

    def execute(self, container_id: str, asked: Execute) -> tuple[str, socket.socket]:
        """Begins a command: the exec's id, and its stream, without a timeout, to be closed. Raises NotRunning."""
        with self._docker(faults.of_exec) as docker:
            exec_id = docker.exec_create(
                container_id, asked.command, stdin=True, environment=asked.environment,
                workdir=asked.working_directory or None,
            )["Id"]  # fmt: skip
            begin = b'{"Detach": false, "Tty": false}'
            return exec_id, self._opened(docker, "POST", f"/exec/{exec_id}/start", {}, begin)

    def exit_code(self, exec_id: str) -> int | None:
        """None while it runs."""
        return cast(int | None, self._read(f"/exec/{exec_id}/json")["ExitCode"])

    def stats(self, container_id: str) -> Said:
        return cast(Said, self._read(f"/containers/{container_id}/stats", stream="false"))

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
        return cast(Said, self._read(f"/images/{reference}/json", faults.of_create))

    def images(self) -> list[Said]:
        """Every image that has a name or was pulled; not the steps of a build."""
        return cast(list[Said], self._read("/images/json"))

    def remove_image(self, reference: str) -> bool:
        """False where it is gone already, or stays since a container uses it."""
        try:
            with self._docker(faults.of_image_removal) as docker:
                docker.remove_image(reference)
        except errors.NoSuchImage:
            return False
        return True

    def platform(self) -> str:
        said = self._read("/version")
        return f"{said['Os']}/{said['Arch']}"

    def pull(self, repository: str, tag: str, credentials: dict[str, str]) -> Iterator[Said]:
        """The lines of the engine's stream; closing it ends the engine's pull.

        By hand, since docker-py waits for a silent registry without end. Raises RegistryUnreachable after a
        silence, and before the first line ImageUnavailable, ImageDenied, WrongPlatform, RegistryUnreachable.
        """
        # Sent empty, too, so that this machine's own credentials are never used.
        sent = base64.urlsafe_b64encode(json.dumps(credentials).encode()).decode()
        with self._docker(faults.of_registry, errors.RegistryUnreachable) as docker:
            url = f"{docker.base_url}/v{docker.api_version}/images/create"
            asked, head = {"fromImage": repository, "tag": tag}, {"X-Registry-Auth": sent}
            response = docker.post(url, params=asked, headers=head, stream=True, timeout=self._silence_seconds)
            if response.status_code != requests.codes.ok:
                with response:
                    raise faults.of_registry(response.status_code, response.json()["message"])
        return self._lines(response)

    def _lines(self, response: requests.Response) -> Iterator[Said]:
        with response, self._docker(faults.of_registry, errors.RegistryUnreachable):
            for line in response.iter_lines():
                yield json.loads(line)

    def _read(self, path: str, judge: Judge = faults.of_engine, **query: str | int) -> Any:
        with self._docker(judge) as docker:
            return json.loads(self._daemon.read(_target(docker, path, query)))

    def _opened(self, docker: APIClient, method: str, path: str, query: Query, body: bytes = b"") -> socket.socket:
        return self._daemon.opened(method, _target(docker, path, query), body)

    @contextmanager
    def _docker(
        self, judge: Judge = faults.of_engine, silence: type[errors.ShimError] = errors.OutcomeUnknown
    ) -> Iterator[APIClient]:
        """The engine's client. `judge` names its refusals, `silence` what a timeout means."""
        try:
            yield self._connected()
        except (APIError, daemon.Refusal, OSError, json.JSONDecodeError) as error:
            told = _told(error, judge, silence)
            if isinstance(told, errors.EngineUnavailable):
                # It may come back as another release: its API version is negotiated anew.
                self._client = None
            raise told from error

    def _connected(self) -> APIClient:
        with self._connecting:
            if self._client is None:
                try:
                    self._client = APIClient(
                        self._url, version="auto", timeout=daemon.ANSWER_SECONDS, max_pool_size=CONNECTIONS
                    )
                    # Neither a proxy nor a .netrc has a say in this.
                    self._client.trust_env = False
                except DockerException as error:
                    raise errors.EngineUnavailable(f"the engine does not answer: {error}") from error
            return self._client


def _target(docker: APIClient, path: str, query: Query) -> str:
    return f"/v{docker.api_version}{quote(path, safe='/:@')}" + (f"?{urlencode(query)}" if query else "")


def _told(error: Exception, judge: Judge, silence: type[errors.ShimError]) -> errors.ShimError:
    if isinstance(error, daemon.Refusal):
        return judge(error.status, error.words)
    if isinstance(error, APIError):
        return judge(error.status_code or 500, error.explanation or str(error))
    return faults.of_socket(error, silence)
