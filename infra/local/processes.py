"""Supervised processes that outlive the command that started them.

One supervisord runs the machine layer and one runs each world. supervisord compares its running configuration with
the written one and restarts only the programs whose section changed. Anything that must restart a program (a new
source, a new setting) is therefore made part of its section, and anything that must not (the folder of the checkout
that happens to run `up`) is kept out of it.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from infra.local import command, world
from infra.local.steps import wait_until

BIN = Path(sys.executable).parent
RUNNING = "RUNNING"
"""The state that supervisord reports for a healthy program."""
NOT_RUNNING_STATUSES = (1, 2, 3, 4, 7)
"""Exit statuses of supervisorctl when supervisord, or one of its programs, is not running."""
SECTION = re.compile(r"^\[program:(?P<name>[^\]]+)\]\n(?:(?!\[).*\n)*", re.MULTILINE)


@dataclass(frozen=True)
class Program:
    """One supervised process. After `stop_seconds` without an exit it is killed."""

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: int = 10
    autostart: bool = True
    directory: Path = world.CHECKOUT

    def section(self, logs: Path) -> str:
        """The program's section of supervisord's configuration, with its log file below `logs`."""
        environment = ",".join(f'{name}="{value}"' for name, value in self.environment.items())
        lines = [
            f"[program:{self.name}]",
            f"command={shlex.join(self.command)}",
            f"environment={environment}",
            f"directory={self.directory}",
            f"autostart={self.autostart}",
            f"stopwaitsecs={self.stop_seconds}",
            "autorestart=true",
            "startretries=20",
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile={logs / self.name}.log",
            "stdout_logfile_maxbytes=5MB",
            "stdout_logfile_backups=1",
        ]
        # supervisord expands %(name)s in every value.
        return "\n".join(lines).replace("%", "%%") + "\n"


class Processes:
    """The processes of one layer: the machine layer, or the world of that name.

    `environment` is the whole environment of supervisord and its programs; by default they inherit the caller's.
    """

    def __init__(
        self, name: str, directory: Path, *, run: Path = world.RUN, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.directory = directory
        self.logs = directory / "logs"
        self.socket = run / f"{name}.sock"
        self.config = directory / "supervisord.conf"
        self._environment = environment

    def running(self) -> bool:
        return self.socket.exists() and self._control("pid", statuses=NOT_RUNNING_STATUSES).isdigit()

    def apply(self, programs: Iterable[Program], *, undisturbed: Collection[str] = ()) -> list[str]:
        """Start, restart and stop programs until exactly these run; programs without a change are not touched.

        A program named in `undisturbed` that runs already keeps its present section, whatever the new one says.
        Returns the names of those whose new section was therefore not applied.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        sections = {program.name: program.section(self.logs) for program in programs}
        states = self.states()
        retained = {
            name: section
            for name, section in self._sections().items()
            if name in undisturbed and states.get(name) == RUNNING and section != sections.get(name)
        }
        self.config.write_text("\n".join([self._head(), *(sections | retained).values()]))
        if states:
            self._control("update")
        else:
            self._end_orphans()
            command.run([BIN / "supervisord", "-c", self.config], environment=self._environment)
            wait_until(self.running, 10, f"supervisord of {self.name}")
        return sorted(retained)

    def start(self, program: str) -> None:
        """Start a program that has no autostart. Does nothing if it runs."""
        if self.states().get(program) != RUNNING:
            self._control("start", program)

    def restart(self, program: str) -> None:
        self._control("restart", program)

    def halt(self, program: str) -> None:
        """Stop one program until `start`. Does nothing if it is stopped."""
        self._control("stop", program)

    def stop(self) -> None:
        """Stop every program, then supervisord. Does nothing if none runs."""
        if self.running():
            self._control("shutdown")
            wait_until(lambda: not self.running(), 90, f"the processes of {self.name} to stop")
        self._end_orphans()

    def states(self) -> dict[str, str]:
        """supervisord's state of each program, RUNNING if healthy; empty if supervisord is not running."""
        if not self.running():
            return {}
        lines = self._control("status", statuses=NOT_RUNNING_STATUSES).splitlines()
        return {words[0]: words[1] for words in map(str.split, lines)}

    def last_lines(self, program: str, lines: int = 20) -> str:
        """The end of the program's log."""
        log = self.logs / f"{program}.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""

    def _sections(self) -> dict[str, str]:
        """The program sections of the configuration as it was last written."""
        text = self.config.read_text() if self.config.exists() else ""
        return {match["name"]: match[0].rstrip("\n") + "\n" for match in SECTION.finditer(text)}

    def _head(self) -> str:
        pidfile = self.socket.with_suffix(".pid")
        return "\n".join(
            [
                f"[unix_http_server]\nfile={self.socket}\nchmod=0700",
                f"[supervisord]\nlogfile={self.logs}/supervisord.log\npidfile={pidfile}\ndirectory={self.directory}",
                "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
                f"[supervisorctl]\nserverurl=unix://{self.socket}\n",
            ]
        )

    def _control(self, *arguments: str, statuses: tuple[int, ...] = ()) -> str:
        return command.run([BIN / "supervisorctl", "-c", self.config, *arguments], seconds=120, statuses=statuses)

    def _end_orphans(self) -> None:
        """End the processes that a killed supervisord left behind: parents before children, three rounds at most."""
        for _ in range(3):
            orphans = {process.pid: process for process in psutil.process_iter() if self._owns(process)}
            eldest = [process for process in orphans.values() if _parent(process) not in orphans]
            if not eldest:
                return
            for process in eldest:
                _signal(process, "terminate")
            for process in psutil.wait_procs(eldest, timeout=20)[1]:
                _signal(process, "kill")

    def _owns(self, process: psutil.Process) -> bool:
        """Whether this supervisord, or one of its programs, started the process.

        supervisord puts its own address into the environment of its programs, whose children inherit it. nginx
        overwrites its environment, so that it is recognised by its command line.
        """
        try:
            name = process.name()
            if name in ("nginx", "supervisord"):
                return str(self.directory) in " ".join(process.cmdline()) and _shares_mounts(process)
            # containerd's shim must stay: through it the next engine ends the container.
            inherited = process.environ().get("SUPERVISOR_SERVER_URL") == f"unix://{self.socket}"
            return inherited and not name.startswith("containerd-shim") and _shares_mounts(process)
        except (psutil.Error, OSError):
            return False


def _shares_mounts(process: psutil.Process) -> bool:
    """Whether paths mean the same to that process: a container on this machine may have equal ones."""
    return Path(f"/proc/{process.pid}/ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink()


def _parent(process: psutil.Process) -> int | None:
    try:
        return int(process.ppid())
    except psutil.NoSuchProcess:
        return None


def _signal(process: psutil.Process, method: Literal["terminate", "kill"]) -> None:
    with suppress(psutil.NoSuchProcess):
        getattr(process, method)()
