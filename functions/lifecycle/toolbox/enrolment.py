"""A shim says who it is, once; afterwards it hints now and then that something has changed. None of it is believed."""

from __future__ import annotations

import logging
from dataclasses import replace

from functions.domain.errors import EnrolmentRefused, Unauthorized
from functions.domain.toolbox import observe as toolbox_observe
from functions.domain.toolbox.enrolment import (
    EnrolmentRequest,
    check_certificate,
    check_droplet,
    check_token,
    is_enrolled,
)
from functions.domain.toolbox.model import LEAVING
from functions.lifecycle.account.rates import Rates
from functions.lifecycle.dependencies import Certificates, Dependencies
from functions.lifecycle.reconcile.toolbox import event_writes
from functions.lifecycle.repository import load_toolbox, save_or_conflict, stamp, update_with_retry
from functions.lifecycle.toolbox.change import notify_worker

log = logging.getLogger(__name__)


def enrol(deps: Dependencies, asked: EnrolmentRequest, certificates: Certificates) -> None:
    """Record the certificate as the toolbox's. Raises EnrolmentRefused, ToolboxUnreachable, DigitalOcean's errors."""

    def attempt() -> None:
        found = load_toolbox(deps, asked.toolbox_id)
        if found is None or found.value.status in LEAVING:
            raise EnrolmentRefused("there is no such toolbox")
        toolbox = found.value
        if is_enrolled(toolbox, asked):
            return
        check_token(toolbox, asked, deps.now())
        seen = check_droplet(toolbox, asked, deps.droplets.get(asked.droplet_id))
        assert seen.address
        check_certificate(asked, certificates.fingerprint_at(seen.address), seen.address)
        known = toolbox_observe.fold_enrolment(toolbox, seen, asked.certificate, asked.fingerprint)
        after = stamp(deps, replace(known, due_at=deps.now()))
        save_or_conflict(deps, after, found, event_writes(deps, toolbox, after))
        log.info("enrolled", extra={"toolbox": toolbox.id, "droplet": seen.id})
        notify_worker(deps, toolbox.id)

    update_with_retry(deps, attempt, "the toolbox is being changed by others; ask again")


def notify(deps: Dependencies, token: str, certificates: Certificates, rates: Rates) -> None:
    """Have the toolbox looked at, where its own shim asks for it. Raises Unauthorized, TooManyRequests."""
    toolbox_id = certificates.unverified_toolbox_id(token)
    found = load_toolbox(deps, toolbox_id)
    if found is None or found.value.certificate is None:
        raise Unauthorized("no shim is enrolled for this toolbox")
    certificates.verify(found.value.certificate, token, "notify", toolbox_id)
    # After the proof, so that nobody else can use up what this toolbox may ask.
    rates.take(toolbox_id)
    notify_worker(deps, toolbox_id)
