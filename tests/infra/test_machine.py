"""The machine layer is the same for every checkout, and its engine is not disturbed by a second one."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import engine, machine, metadata, processes, registry, world
from infra.local.digitalocean import droplets
from infra.local.processes import Processes, Program
from infra.local.steps import wait_until


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, since a Unix socket's path has at most 107 characters."""
    path = Path(tempfile.mkdtemp(prefix="toolboxes-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def supervisor(folder: Path) -> Iterator[Processes]:
    supervisor = Processes("probe", folder, run=folder)
    yield supervisor
    supervisor.stop()


def sections(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The configuration of the machine layer, with its files in `folder`."""
    monkeypatch.setattr(machine, "FOLDER", folder)
    return "\n".join(program.section(folder / "logs") for program in machine.programs())


def test_machine_layer_names_neither_checkout_nor_virtualenv(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = sections(folder, monkeypatch)
    assert str(world.CHECKOUT) not in text
    assert str(processes.BIN) not in text


def test_second_checkout_generates_the_same_machine_layer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sections(folder, monkeypatch)
    copies = {}
    for module, attribute in ((registry, "CONFIG"), (metadata, "__file__")):
        original = Path(getattr(module, attribute))
        copies[original.name] = shutil.copy(original, folder / f"second-{original.name}")
    second = folder / "second"
    for name, copy in copies.items():
        (second / name).parent.mkdir(exist_ok=True)
        shutil.move(copy, second / name)
    monkeypatch.setattr(registry, "CONFIG", second / "registry.yml")
    monkeypatch.setattr(metadata, "__file__", str(second / "metadata.py"))
    monkeypatch.setattr(world, "CHECKOUT", second)
    assert sections(folder, monkeypatch) == first


def test_caller_environment_does_not_reach_the_machine_layer() -> None:
    assert machine.ENVIRONMENT.keys() <= {*machine.INHERITED, *map(str.upper, machine.INHERITED)}
    assert not {"TOOLBOXES_WORLD", "PYTHONPATH", "VIRTUAL_ENV"} & machine.ENVIRONMENT.keys()


def process_id(supervisor: Processes, program: str) -> str:
    def lines() -> list[str]:
        return (supervisor.directory / program).read_text().split() if supervisor.states() else []

    return wait_until(lines, 20, program)[-1]


def sleeper(name: str, folder: Path, setting: str) -> Program:
    """A program that appends its process id to a file at each start."""
    words = ["/bin/sh", "-c", f"echo $$ >>{folder / name}; exec sleep 300"]
    return Program(name, words, {"SETTING": setting}, directory=folder)


def test_undisturbed_program_keeps_running_when_its_section_changes(supervisor: Processes) -> None:
    folder = supervisor.directory
    names = ("engine", "other")
    assert supervisor.apply([sleeper(name, folder, "first") for name in names], undisturbed=["engine"]) == []
    wait_until(lambda: set(supervisor.states().values()) == {processes.RUNNING}, 20, "both programs")
    before = {name: process_id(supervisor, name) for name in names}
    changed = [sleeper(name, folder, "second") for name in names]
    assert supervisor.apply(changed, undisturbed=["engine"]) == ["engine"]
    wait_until(lambda: process_id(supervisor, "other") != before["other"], 20, "the other program's restart")
    assert process_id(supervisor, "engine") == before["engine"]
    # The kept section stays the one that is compared with next time.
    assert supervisor.apply(changed, undisturbed=["engine"]) == ["engine"]
    assert process_id(supervisor, "engine") == before["engine"]


def test_undisturbed_program_that_is_stopped_gets_its_new_section(supervisor: Processes) -> None:
    folder = supervisor.directory
    supervisor.apply([sleeper("engine", folder, "first")])
    wait_until(lambda: supervisor.states()["engine"] == processes.RUNNING, 20, "the program")
    supervisor.halt("engine")
    assert supervisor.apply([sleeper("engine", folder, "second")], undisturbed=["engine"]) == []
    wait_until(lambda: supervisor.states()["engine"] == processes.RUNNING, 20, "the program")
    assert 'SETTING="second"' in supervisor.config.read_text()


class RecordedDroplets(droplets.Droplets):
    def __init__(self) -> None:
        self.resumed = threading.Semaphore(0)

    def resume(self) -> None:
        self.resumed.release()


def test_powered_droplets_boot_again_after_each_engine_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(droplets, "ENGINE_POLL_SECONDS", 0.01)
    recorded, engine_id, answers = RecordedDroplets(), ["1"], [True]
    arguments = (recorded, lambda: engine_id[0], lambda: answers[0])
    threading.Thread(target=droplets.restart_after_engine, args=arguments, daemon=True).start()
    assert not recorded.resumed.acquire(timeout=0.2), "the engine was not restarted"
    answers[0] = False
    engine_id[0] = "2"
    assert not recorded.resumed.acquire(timeout=0.2), "the engine does not answer yet"
    answers[0] = True
    assert recorded.resumed.acquire(timeout=5)
    assert not recorded.resumed.acquire(timeout=0.2), "once for each restart"
    engine_id[0] = "3"
    assert recorded.resumed.acquire(timeout=5)


def test_engine_id_is_absent_while_no_engine_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PIDFILE", folder / "docker.pid")
    assert engine.process_id() is None
    (folder / "docker.pid").write_text("42")
    assert engine.process_id() == "42"


DOCKER_STUB = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
    *toolboxes.checkout*) echo /another/checkout ;;
    *State.Running*) echo true ;;
    *"test -S /run/toolboxes/machine.sock") exit "$IDLE" ;;
esac
"""


@pytest.mark.parametrize(("idle", "removed"), [("0", False), ("1", True)])
def test_container_of_another_checkout_is_replaced_only_if_idle(tmp_path: Path, idle: str, removed: bool) -> None:
    stub = tmp_path / "docker"
    stub.write_text(DOCKER_STUB)
    stub.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CALLS": str(tmp_path / "calls"), "IDLE": idle}
    words = [str(world.CHECKOUT / "infra/local/container"), "run", "true"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert ("rm --force toolboxes-local" in (tmp_path / "calls").read_text()) is removed
    if not removed:
        assert done.returncode == 1
        assert "The checkout /another/checkout is up on this machine." in done.stderr
