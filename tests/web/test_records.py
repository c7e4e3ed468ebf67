"""Records of representative documents are answered with the fields and values that are recorded beside this test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from functions.lifecycle.dependencies import Ref, Snapshot
from functions.web import console, containers, digitalocean_options, operators, records, registries, webhooks
from tests.web import documents

RECORDED: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("recorded_answers.json").read_text())
KINDS: dict[str, tuple[type[records.Record], Mapping[str, object]]] = {
    "toolboxes": (records.ToolboxRecord, documents.TOOLBOXES),
    "instances": (records.InstanceRecord, documents.INSTANCES),
    "events": (records.EventRecord, documents.EVENTS),
    "post_mortems": (records.PostMortemRecord, documents.POST_MORTEMS),
    "health": (records.Health, {"active": documents.ACTIVE_TOOLBOX.health}),
    "registries": (registries.RegistryRecord, {"one": documents.REGISTRY}),
    "rollouts": (operators.RolloutRecord, documents.ROLLOUTS),
    "orphan_droplets": (operators.OrphanDropletRecord, documents.ORPHAN_DROPLETS),
    "executed": (containers.ExecRecord, documents.EXECUTED),
    "stats": (containers.StatsRecord, {"one": documents.STATS}),
    "regions": (digitalocean_options.Region, {"one": documents.REGION}),
    "sizes": (digitalocean_options.Size, {"one": documents.SIZE}),
}
CASES = [(kind, name) for kind, (_, found) in KINDS.items() for name in found]


def same(answered: bytes, recorded: object) -> bool:
    """Also in the order of the keys."""
    return json.dumps(json.loads(answered)) == json.dumps(recorded)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_record_has_the_recorded_fields_and_values(kind: str, name: str) -> None:
    model, found = KINDS[kind]
    assert same(records.answer(model.model_validate(found[name])).data, RECORDED[kind][name])


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_has_the_records_of_its_documents(kind: str) -> None:
    model, found = KINDS[kind]
    assert same(records.answer_list(model, found.values()).data, list(RECORDED[kind].values()))


def test_the_console_shows_the_recorded_status() -> None:
    known = {documents.INSTANCE: documents.RUNNING}
    shown = console.console_status(documents.ACTIVE_TOOLBOX, documents.STATUS, known, documents.AT)
    assert same(records.answer(shown).data, RECORDED["console"]["status"])


@pytest.mark.parametrize(
    ("kind", "name", "document"),
    [("instance.crashed", "instance", documents.RUNNING), ("toolbox.status_changed", "toolbox", documents.NEW_TOOLBOX)],
)
def test_an_outbound_webhook_has_the_recorded_content(kind: str, name: str, document: Any) -> None:
    stored = {key: value for key, value in documents.EVENTS["announced"].items() if key != "id"}
    event = Snapshot(Ref("x", documents.EVENTS["announced"]["id"]), stored, 1)
    assert same(webhooks.outbound_message(kind, event, document), RECORDED["announcements"][name])
