"""A shim says who it is, once; afterwards it hints now and then that something has changed. None of it is believed."""

from __future__ import annotations

import logging
from dataclasses import replace

from functions.domain import toolbox_observe
from functions.domain.enrolment import Enrolling, enrolled_already, judge_certificate, judge_droplet, judge_token
from functions.domain.errors import Contended, EnrolmentRefused, Unauthorized
from functions.domain.toolbox import LEAVING, Toolbox
from functions.lifecycle.documents import load, toolbox_ref
from functions.lifecycle.hold import ATTEMPTS, backoff, stamped, write
from functions.lifecycle.ports import Certificates, Ports
from functions.lifecycle.provision import hint
from functions.lifecycle.rates import Rates
from functions.lifecycle.toolbox_converge import told

log = logging.getLogger(__name__)


def enrol(ports: Ports, asked: Enrolling, certificates: Certificates) -> None:
    """Record the certificate as the toolbox's. Raises EnrolmentRefused, ToolboxUnreachable, DigitalOcean's errors."""
    for attempt in range(ATTEMPTS):
        found = load(Toolbox, ports.store.get([toolbox_ref(asked.toolbox_id)])[0])
        if found is None or found.value.status in LEAVING:
            raise EnrolmentRefused("there is no such toolbox")
        toolbox = found.value
        if enrolled_already(toolbox, asked):
            return
        judge_token(toolbox, asked, ports.now())
        seen = judge_droplet(toolbox, asked, ports.droplets.get(asked.droplet_id))
        assert seen.address
        judge_certificate(asked, certificates.shown_at(seen.address), seen.address)
        known = toolbox_observe.enrolled(toolbox, seen, asked.certificate, asked.fingerprint)
        after = stamped(ports, replace(known, due_at=ports.now()))
        if write(ports, after, found, told(ports, toolbox, after)):
            log.info("enrolled", extra={"toolbox": toolbox.id, "droplet": seen.id})
            hint(ports, toolbox.id)
            return
        backoff(ports, attempt)
    raise Contended("the toolbox is being changed by others; ask again")


def notify(ports: Ports, token: str, certificates: Certificates, rates: Rates) -> None:
    """Have the toolbox looked at, where its own shim asks for it. Raises Unauthorized, TooManyRequests."""
    toolbox_id = certificates.claimed(token)
    found = load(Toolbox, ports.store.get([toolbox_ref(toolbox_id)])[0])
    if found is None or found.value.certificate is None:
        raise Unauthorized("no shim is enrolled for this toolbox")
    certificates.verify(found.value.certificate, token, "notify", toolbox_id)
    # After the proof, so that nobody else can use up what this toolbox may ask.
    rates.take(toolbox_id)
    hint(ports, toolbox_id)
