"""One-time tokens: made, found again, withdrawn.

A token has 192 random bits, and only its SHA-256 is kept. It is looked up by that: how long the look-up takes may tell
something of the hash, from which nobody gets to the token.
"""

from __future__ import annotations

import hashlib
import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session
from uuid6 import uuid7

from broker.dispatch.tables import Audit, Enrolment
from broker.pki import names

HOURS = 72.0
"""How long a token may be used: a card that is written on Friday is put in on Monday."""
MAX_HOURS = 30 * 24.0
CONSOLE = "dispatch"
"""Who did it, where it was done on the command line."""
_BYTES = 24


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def new_token(session: Session, site: str, node: str, by: str, now: float, hours: float = HOURS) -> str:  # noqa: PLR0917
    """A token for the box of `site/node`, also where that has one: then its use revokes what the old box has.

    by: person id, or CONSOLE. now: Unix seconds. Raises PkiError for names that no certificate can carry, ValueError
    for a time that is no good.
    """
    names.node(f"{site}/{node}")
    if not 0 < hours <= MAX_HOURS:
        raise ValueError(f"{hours:g} hours: a token is good for more than 0 and at most {MAX_HOURS:g}")
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
