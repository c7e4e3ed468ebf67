"""Processes that outlive the command that started them: one supervisord for the machine layer, one per world.

supervisord compares the configuration it runs with the one that is written, and restarts only the programs
whose section changed. So whatever should restart a program is made part of its section.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from infra.local import command, world
from infra.local.steps import wait_until

BIN = Path(sys.executable).parent
# supervisord's word for all is well.
RUNNING = "RUNNING"
# supervisorctl's exit statuses where supervisord, or a program, does not run.
NOT_RUNNING = (1, 2, 3, 4, 7)


@dataclass(frozen=True)
class Program:
    """One process to keep running. `stop_seconds` is how long it may take to end before it is killed."""

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: int = 10
    autostart: bool = True

    def section(self, logs: Path) -> str:
        environment = ",".join(f'{name}="{value}"' for name, value in self.environment.items())
        lines = [
            f"[program:{self.name}]",
            f"command={shlex.join(self.command)}",
            f"environment={environment}",
            f"directory={world.CHECKOUT}",
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
    """The processes of one layer: the `machine`, or the world of that name."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.logs = directory / "logs"
        self.socket = world.RUN / f"{name}.sock"
        self.config = directory / "supervisord.conf"

    def running(self) -> bool:
        return self.socket.exists() and self._control("pid", refusals=NOT_RUNNING).isdigit()

    def apply(self, programs: Iterable[Program]) -> None:
        """Makes exactly these programs run: starts, restarts and ends what differs, and nothing else."""
        self.logs.mkdir(parents=True, exist_ok=True)
        world.RUN.mkdir(parents=True, exist_ok=True)
        sections = [self._head(), *(program.section(self.logs) for program in programs)]
        self.config.write_text("\n".join(sections))
        if self.running():
            self._control("update")
            return
        self._end_orphans()
        command.run([BIN / "supervisord", "-c", self.config])
        wait_until(self.running, 10, f"supervisord of {self.name}")

    def start(self, program: str) -> None:
        """Starts a program that does not start by itself; nothing where it runs."""
        if self.states().get(program) != RUNNING:
            self._control("start", program)

    def restart(self, program: str) -> None:
        self._control("restart", program)

    def halt(self, program: str) -> None:
        """Ends one program until it is started again; nothing where it does not run."""
        self._control("stop", program)

    def stop(self) -> None:
        """Ends every program, then supervisord; nothing where nothing runs."""
        if self.running():
            self._control("shutdown")
            wait_until(lambda: not self.running(), 90, f"the end of {self.name}'s processes")
        self._end_orphans()

    def states(self) -> dict[str, str]:
        """Each program's state in supervisord's words, RUNNING where all is well; empty where nothing runs."""
        if not self.running():
            return {}
        lines = self._control("status", refusals=NOT_RUNNING).splitlines()
        return {words[0]: words[1] for words in map(str.split, lines)}

    def last_lines(self, program: str, lines: int = 20) -> str:
        log = self.logs / f"{program}.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""

    def _head(self) -> str:
        return "\n".join(
            [
                f"[unix_http_server]\nfile={self.socket}\nchmod=0700",
                f"[supervisord]\nlogfile={self.logs}/supervisord.log\npidfile={world.RUN}/{self.name}.pid",
                "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
                f"[supervisorctl]\nserverurl=unix://{self.socket}\n",
            ]
        )

    def _control(self, *arguments: str, refusals: tuple[int, ...] = ()) -> str:
        return command.run([BIN / "supervisorctl", "-c", self.config, *arguments], seconds=120, refusals=refusals)

    def _end_orphans(self) -> None:
        """Ends what a supervisord that was killed left behind, parents before children; three rounds at most."""
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
        """supervisord gives its own address to all that it starts, and they to theirs; nginx overwrites that."""
        try:
            name = process.name()
            if name in ("nginx", "supervisord"):
                return str(self.directory) in " ".join(process.cmdline()) and _is_here(process)
            # A container's shim ends when the next engine ends the container.
            marked = process.environ().get("SUPERVISOR_SERVER_URL") == f"unix://{self.socket}"
            return marked and not name.startswith("containerd-shim") and _is_here(process)
        except (psutil.Error, OSError):
            return False


def _is_here(process: psutil.Process) -> bool:
    """In another mount namespace the same path is another's."""
    return Path(f"/proc/{process.pid}/ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink()


def _parent(process: psutil.Process) -> int | None:
    try:
        return int(process.ppid())
    except psutil.NoSuchProcess:
        return None


def _signal(process: psutil.Process, how: Literal["terminate", "kill"]) -> None:
    with suppress(psutil.NoSuchProcess):
        getattr(process, how)()
