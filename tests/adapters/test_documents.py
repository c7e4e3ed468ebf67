"""Stored documents: every schema that was ever written is read, and only the present one is written."""

from __future__ import annotations

import json
import types
import typing
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from functions.adapters.documents.codec import KINDS, SCHEMA, DocumentCodec
from functions.domain.account.model import Account, AccountStatus, Registry
from functions.domain.errors import DocumentUnreadable
from functions.domain.event import Event
from functions.domain.instance.model import Instance, Rotation
from functions.domain.rollout.model import Rollout
from functions.domain.toolbox.model import Toolbox, ToolboxState
from functions.lifecycle.dependencies import Create, Delete, Document, Replace
from functions.lifecycle.repository import instance_ref, toolbox_ref
from tests.fakes.world import World

CODEC = DocumentCodec()
# One folder per schema, one file per collection; documents by a name for the state that they were recorded in.
RECORDED = Path(__file__).parent / "recorded"
FILES: dict[str, type] = {
    "account_tool_environments": Toolbox,
    "account_tool_instances": Instance,
    "accounts": Account,
    "instance_events": Event,
    "registries": Registry,
    "rollouts": Rollout,
    "rotations": Rotation,
    "toolbox_events": Event,
}
# By the place in a document of schema 1, the place of the same value in schema 2.
RENAMED = {
    Instance: {
        "replacing": "previous_version",
        "spec.drawn": "spec.allocated",
        "desired.redraws": "desired.reallocations",
        "desired.fresh_from": "desired.restart_after",
        "observed.gone": "observed.absent",
        "observed.uncertain": "observed.needs_inspection",
        "observed.may_begin_until": "observed.in_flight_until",
        "observed.trouble": "observed.obstacle",
        "observed.stopped": "observed.requested_exit",
        "observed.kept": "observed.post_mortem_of",
        "observed.taken": "observed.refused_ports",
        "observed.previous_uncertain": "observed.previous_needs_inspection",
        "observed.fell_back": "observed.rollback_reason",
    },
    Toolbox: {
        "wanted": "desired_state",
        "strangers": "orphans",
        "firewalled": "has_firewall",
        "redeploy": "needs_redeploy",
        "farewell": "instances_ended",
        "ended": "reservations_freed",
        "trouble": "obstacle",
        "standing_since": "account_status_since",
        "attempt.over": "attempt.resolved",
    },
    Account: {"standing": "status"},
}


def recorded(schema: int) -> list[Any]:
    """A parameter (file, name) for each document recorded of `schema`."""
    files = sorted((RECORDED / f"schema-{schema}").glob("*.json"))
    return [pytest.param(file.stem, name, id=f"{file.stem}-{name}") for file in files for name in documents(file)]


def documents(file: Path) -> dict[str, Document]:
    def with_times(pairs: dict[str, Any]) -> Any:
        return datetime.fromisoformat(pairs["$time"]) if "$time" in pairs else pairs

    found = json.loads(file.read_text(), object_hook=with_times)
    return {name: document["data"] for name, document in found.items()}


def load(schema: int, file: str, name: str) -> Document:
    return documents(RECORDED / f"schema-{schema}" / f"{file}.json")[name]


def at(value: Any, path: str) -> Any:
    """The value at a dotted path of a document or of a model."""
    for name in path.split("."):
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    return value


def filled(kind: Any, numbers: typing.Iterator[int], name: str = "") -> Any:
    """A value of `kind` in which every field differs from its default and from every other field."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return filled(arguments[0], numbers, name)
    if origin is list:
        return [filled(arguments[0], numbers), filled(arguments[0], numbers)]
    if origin is dict:
        return {filled(arguments[0], numbers): filled(arguments[1], numbers)}
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: filled(hints[field.name], numbers, field.name) for field in fields(kind)})  # type: ignore[operator]
    if issubclass(kind, StrEnum):
        return list(kind)[-1]
    number = next(numbers)
    simple: dict[type, Any] = {
        # Docker's notation of a size, which is all that a document says in words and in bytes.
        str: f"{number}m" if name == "memory" else f"text {number}",
        int: number,
        float: number + 0.5,
        bool: True,
        datetime: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
    }
    return simple[kind]


def test_documents_are_recorded_for_every_schema_and_kind() -> None:
    for schema in range(1, SCHEMA + 1):
        files = {file.stem for file in (RECORDED / f"schema-{schema}").glob("*.json")}
        assert files == set(FILES)
    assert set(FILES.values()) == set(KINDS)


@pytest.mark.parametrize(("file", "name"), recorded(1))
def test_document_of_schema_1_is_saved_as_schema_2_and_read_back(file: str, name: str) -> None:
    value: Any = CODEC.decode(FILES[file], load(1, file, name))
    saved = CODEC.encode(value)
    assert saved == load(2, file, name)
    assert saved["schema"] == 2
    assert CODEC.decode(FILES[file], saved) == value


@pytest.mark.parametrize(("file", "name"), recorded(1))
def test_reading_a_document_of_schema_1_keeps_every_value(file: str, name: str) -> None:
    old, saved = load(1, file, name), CODEC.encode(CODEC.decode(FILES[file], load(1, file, name)))
    renamed = RENAMED.get(FILES[file], {})

    def check(before: Any, after: Any, path: str) -> None:
        for key, value in before.items():
            place = f"{path}{key}"
            new = renamed.get(place.removeprefix("replacing."), place).rpartition(".")[2]
            if isinstance(value, dict) and key not in ("strangers", "container", "previous"):
                check(value, after[new], f"{place}.")
            else:
                assert after[new] == value, place

    check(old, saved, "")


@pytest.mark.parametrize(("file", "name"), recorded(1))
def test_reading_an_older_document_leaves_it_as_it_was(file: str, name: str) -> None:
    document = load(1, file, name)
    CODEC.decode(FILES[file], document)
    assert document == load(1, file, name)


@pytest.mark.parametrize(("file", "name"), recorded(SCHEMA))
def test_document_of_the_present_schema_is_saved_unchanged(file: str, name: str) -> None:
    document = load(SCHEMA, file, name)
    assert CODEC.encode(CODEC.decode(FILES[file], document)) == document


def test_instance_of_schema_1_is_read_with_the_present_names() -> None:
    instance = CODEC.decode(Instance, load(1, "account_tool_instances", "updating"))
    assert instance.previous_version is not None
    assert instance.previous_version.spec.allocated == [instance.spec.ports[0]]
    assert instance.spec.allocated == [instance.spec.ports[0]]
    assert instance.observed.previous is not None
    assert (instance.desired.generation, instance.desired.reallocations, instance.settled) == (2, 0, False)


def test_toolbox_of_schema_1_is_read_with_the_present_names() -> None:
    toolbox = CODEC.decode(Toolbox, load(1, "account_tool_environments", "deprovisioned"))
    assert (toolbox.desired_state, toolbox.instances_ended) == (ToolboxState.DEPROVISIONED, True)
    assert (toolbox.reservations_freed, toolbox.has_firewall) == (True, False)
    assert toolbox.account_status_since == datetime(2026, 1, 1, 0, 20, 40, tzinfo=UTC)
    assert toolbox.attempt is not None and toolbox.attempt.resolved


def test_account_of_schema_1_is_read_with_its_status() -> None:
    account = CODEC.decode(Account, load(1, "accounts", "suspended"))
    assert (account.account, account.status) == ("account-a", AccountStatus.SUSPENDED)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("port_redrawn", "port_reallocated"),
        ("stray_droplet_found", "orphan_droplet_found"),
        ("stranger_found", "orphan_container_found"),
        ("crashed", "crashed"),
    ],
)
def test_event_of_schema_1_is_read_with_its_present_type(old: str, new: str) -> None:
    document = load(1, "instance_events", "event-1") | {"type": old}
    assert CODEC.decode(Event, document).type == new


@pytest.mark.parametrize("kind", RENAMED)
def test_fields_of_schema_1_keep_their_values_under_new_names(kind: type) -> None:
    expected = filled(kind, count(20))
    document = CODEC.encode(expected)
    del document["schema"]
    for old, new in RENAMED[kind].items():
        parent, _, key = new.rpartition(".")
        owner = at(document, parent) if parent else document
        owner[old.rpartition(".")[2]] = owner.pop(key)
    if kind is Instance:
        spec = document["replacing"]["spec"]
        spec["drawn"] = spec.pop("allocated")
    assert CODEC.decode(kind, document) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_survives_being_stored(kind: type) -> None:
    value = filled(kind, count(20))
    assert CODEC.decode(kind, CODEC.encode(value)) == value


def test_memory_limit_is_stored_in_bytes_too() -> None:
    document = load(SCHEMA, "account_tool_instances", "running")
    assert (document["spec"]["limits"]["memory"], document["memory_bytes"]) == ("256m", 256 << 20)


def test_keys_left_over_from_an_older_schema_are_ignored() -> None:
    """A Replace leaves the top-level keys that it does not name, so an upgraded document still has its old ones."""
    old, new = (load(schema, "account_tool_environments", "active") for schema in (1, 2))
    assert CODEC.decode(Toolbox, old | new) == CODEC.decode(Toolbox, new)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schema", [SCHEMA + 1, 0, None, "2"])
def test_document_of_an_unknown_schema_is_refused(kind: type, schema: object) -> None:
    document = CODEC.encode(filled(kind, count(20))) | {"schema": schema}
    with pytest.raises(DocumentUnreadable, match=r"has schema .* reads schemas 1 to 2"):
        CODEC.decode(kind, document)


@pytest.mark.parametrize(("key", "value"), [("status", "sleeping"), ("observed", None), ("desired", {})])
def test_malformed_document_is_refused_by_its_id(key: str, value: object) -> None:
    document = load(SCHEMA, "account_tool_instances", "running") | {key: value}
    with pytest.raises(DocumentUnreadable, match=rf"instance '{document['id']}' is malformed"):
        CODEC.decode(Instance, document)


def test_document_of_schema_1_without_a_field_is_refused() -> None:
    document = load(1, "account_tool_environments", "active")
    del document["attempt"]
    with pytest.raises(DocumentUnreadable, match="cannot be upgraded from schema 1 to 2"):
        CODEC.decode(Toolbox, document)


def test_document_of_a_newer_schema_is_never_overwritten() -> None:
    world = World()
    toolbox = world.add_toolbox()
    instance = world.deploy()
    for ref in (toolbox_ref(toolbox.id), instance_ref(instance.id)):
        [found] = world.store.get([ref])
        assert found
        world.store.commit([Replace(ref, {"schema": SCHEMA + 1, "due_at": world.now()}, found.version)])
    before = world.store.get([toolbox_ref(toolbox.id), instance_ref(instance.id)])
    with pytest.raises(DocumentUnreadable):
        world.stop(instance.name)
    with suppress(DocumentUnreadable):
        world.sweep()
    assert world.store.get([toolbox_ref(toolbox.id), instance_ref(instance.id)]) == before


def test_instance_of_schema_1_is_upgraded_by_its_next_save() -> None:
    world = World()
    world.add_toolbox()
    instance = world.deploy()
    ref = instance_ref(instance.id)
    [found] = world.store.get([ref])
    assert found
    older = dict(found.data)
    del older["schema"]
    older["replacing"] = older.pop("previous_version")
    for part, old, new in (("desired", "redraws", "reallocations"), ("desired", "fresh_from", "restart_after")):
        older[part] = {old if key == new else key: value for key, value in older[part].items()}
    older["spec"] = {"drawn" if key == "allocated" else key: value for key, value in older["spec"].items()}
    observed = {new.partition(".")[2]: old.partition(".")[2] for old, new in RENAMED[Instance].items()}
    older["observed"] = {observed.get(key, key): value for key, value in older["observed"].items()}
    world.store.commit([Delete(ref)])
    world.store.commit([Create(ref, older)])
    world.stop(instance.name)
    [stored] = world.store.get([ref])
    assert stored
    assert (stored.data["schema"], stored.data["status"]) == (SCHEMA, "stopped")
    assert world.stored_at(instance.id).desired.state == "stopped"
