"""One-time tokens: made, found again, withdrawn.

A token has 192 random bits, and only its SHA-256 is kept. It is looked up by that: how long the look-up takes may tell
something of the hash, from which nobody gets to the token.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session
from uuid6 import uuid7

from broker.dispatch.database import lock as hold
from broker.dispatch.tables import Audit, Enrolment, Node
from broker.pki import names

HOURS = 72.0
"""How long a token may be used: a card that is written on Friday is put in on Monday."""
MAX_HOURS = 30 * 24.0
CONSOLE = "dispatch"
"""Who did it, where it was done on the command line."""
_BYTES = 24
Held = Literal["box", "card"]
"""Who has a node's name: a box, which another would shut out; or a card that no box has used yet."""


class TakenError(Exception):
    """The name of a node that is there already, where nobody has said that another box is to take its place."""

    def __init__(self, node: str, held: Held) -> None:
        what = "has a box already" if held == "box" else "has a card already, which no box has used yet"
        super().__init__(f"{node} {what}")
        self.node, self.held = node, held


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def holders(session: Session, site: str, now: float) -> dict[str, Held]:
    """Nodes of a site, by id, that have a box as far as anybody here has heard, or a card that may still be used.

    A box that has ever reported counts, also when it was revoked: its name stands in cases and figures.
    """
    live = Enrolment.site == site, Enrolment.ended_at.is_(None)
    waiting = select(Enrolment.node).where(*live, Enrolment.serial.is_(None), Enrolment.expires_at > now)
    enrolled = select(Enrolment.node).where(*live, Enrolment.serial.is_not(None))
    found: dict[str, Held] = dict.fromkeys(session.scalars(waiting), "card")
    for boxes in (enrolled, select(Node.id).where(Node.site == site)):
        found |= dict.fromkeys(session.scalars(boxes), "box")
    return found


def new_token(  # noqa: PLR0917
    session: Session, site: str, node: str, by: str, now: float, hours: float = HOURS, *, replace: bool = False
) -> str:
    """A token for the box of `site/node`. Its use revokes what another box has of that name.

    by: person id, or CONSOLE. now: Unix seconds. replace: another box, or another card, may be there. Raises TakenError
    where one is and that was not said, PkiError for names that no certificate can carry, ValueError for a time that is
    no good.
    """
    names.node(f"{site}/{node}")
    if not 0 < hours <= MAX_HOURS:
        raise ValueError(f"{hours:g} hours: a token is good for more than 0 and at most {MAX_HOURS:g}")
    hold(session, f"enrolment {site}/{node}")  # of two who ask at once one is told
    if not replace and (held := holders(session, site, now).get(node)) is not None:
        raise TakenError(f"{site}/{node}", held)
    token = secrets.token_urlsafe(_BYTES)
    row = Enrolment(
        id=str(uuid7()), token=digest(token), site=site, node=node, by=by, made_at=now, expires_at=now + 3600 * hours
    )
    session.add(row)
    note(session, row, "enrol_token", by, now, expires_at=row.expires_at)
    return token


def find(session: Session, token: str, *, lock: bool = False) -> Enrolment | None:
    """The row of a token, whatever its state. lock: nobody else changes it before this transaction ends."""
    asked = select(Enrolment).where(Enrolment.token == digest(token))
    return session.scalar(asked.with_for_update() if lock else asked)


def note(session: Session, row: Enrolment, action: str, actor: str, now: float, **detail: object) -> None:
    """A line of `audit`; without secrets."""
    session.add(
        Audit(
            id=str(uuid7()), at=now, actor=actor, action=action, site=row.site, subject=f"{row.site}/{row.node}",
            detail=detail,
        )
    )  # fmt: skip
