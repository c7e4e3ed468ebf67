"""A shim's two messages to the control plane: it enrols once, and later hints that something has changed.

Neither is believed. An enrolment is checked against DigitalOcean's API and against the certificate at the droplet's
address, and a hint only has the toolbox inspected.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from functions.domain.errors import EnrolmentRefused, Unauthorized
from functions.domain.toolbox import observe
from functions.domain.toolbox.enrolment import (
    EnrolmentRequest,
    check_certificate,
    check_droplet,
    check_token,
    is_enrolled,
)
from functions.domain.toolbox.model import LEAVING
from functions.lifecycle.account.admission import Rates
from functions.lifecycle.dependencies import Certificates, Dependencies
from functions.lifecycle.reconcile.toolbox import event_writes
from functions.lifecycle.repository import load_toolbox, save_or_conflict, stamp, update_with_retry
from functions.lifecycle.toolbox.change import notify_worker

log = logging.getLogger(__name__)


def enrol(deps: Dependencies, request: EnrolmentRequest, certificates: Certificates) -> None:
    """Record the shim's certificate as the toolbox's, the only one that the functions will speak to.

    Raises EnrolmentRefused, ToolboxUnreachable and DigitalOcean's errors.
    """

    def attempt() -> None:
        found = load_toolbox(deps, request.toolbox_id)
        if found is None or found.value.status in LEAVING:
            raise EnrolmentRefused("There is no such toolbox, or it is being deprovisioned.")
        toolbox = found.value
        if is_enrolled(toolbox, request):
            return
        check_token(toolbox, request, deps.now())
        droplet = check_droplet(toolbox, request, deps.droplets.get(request.droplet_id))
        assert droplet.address
        check_certificate(request, certificates.fingerprint_at(droplet.address), droplet.address)
        enrolled = observe.fold_enrolment(toolbox, droplet, request.certificate, request.fingerprint)
        after = stamp(deps, replace(enrolled, due_at=deps.now()))
        save_or_conflict(deps, after, found, event_writes(deps, toolbox, after))
        log.info("enrolled", extra={"toolbox": toolbox.id, "droplet": droplet.id})
        notify_worker(deps, toolbox.id)

    update_with_retry(deps, attempt, "The toolbox is being changed by other requests. Try again.")


def notify(deps: Dependencies, token: str, certificates: Certificates, rates: Rates) -> None:
    """Have a toolbox inspected because its own shim asks for it. Raises Unauthorized, TooManyRequests."""
    toolbox_id = certificates.unverified_toolbox_id(token)
    found = load_toolbox(deps, toolbox_id)
    if found is None or found.value.certificate is None:
        raise Unauthorized("No shim is enrolled for this toolbox.")
    certificates.verify(found.value.certificate, token, "notify", toolbox_id)
    # Only after the token is verified, so that nobody else can use up this toolbox's rate.
    rates.take(toolbox_id)
    notify_worker(deps, toolbox_id)
