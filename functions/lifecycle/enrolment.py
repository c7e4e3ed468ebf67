"""A shim says who it is, once; afterwards it hints now and then that something has changed. None of it is believed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from functions.domain import toolbox_observe
from functions.domain.enrolment import Enrolling, enrolled_already, judge_certificate, judge_droplet, judge_token
from functions.domain.errors import Contended, EnrolmentRefused, Unauthorized
from functions.domain.toolbox import LEAVING, Toolbox
from functions.lifecycle.documents import load, toolbox_ref
from functions.lifecycle.hold import ATTEMPTS, backoff, stamped, write
from functions.lifecycle.ports import Ports
from functions.lifecycle.provision import hint
from functions.lifecycle.toolbox_converge import told

log = logging.getLogger(__name__)

# The fingerprint of the certificate that is shown at the shim's port of an address. Raises ToolboxUnreachable.
Shown = Callable[[str], str]
# Whether a token was signed for an audience with a certificate's own key, by that toolbox. Raises Unauthorized.
Proves = Callable[[str], None]


def enrol(ports: Ports, asked: Enrolling, shown: Shown) -> None:
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
        judge_certificate(asked, shown(seen.address), seen.address)
        known = toolbox_observe.enrolled(toolbox, seen, asked.certificate, asked.fingerprint)
        after = stamped(ports, replace(known, due_at=ports.now()))
        if write(ports, after, found, told(ports, toolbox, after)):
            log.info("enrolled", extra={"toolbox": toolbox.id, "droplet": seen.id})
            hint(ports, toolbox.id)
            return
        backoff(ports, attempt)
    raise Contended("the toolbox is being changed by others; ask again")


def notify(ports: Ports, toolbox_id: str, proves: Proves) -> None:
    """Have the toolbox looked at, where its own shim asks for it; `proves` is given the enrolled certificate."""
    found = load(Toolbox, ports.store.get([toolbox_ref(toolbox_id)])[0])
    if found is None or found.value.certificate is None:
        raise Unauthorized("no shim is enrolled for this toolbox")
    proves(found.value.certificate)
    hint(ports, toolbox_id)
