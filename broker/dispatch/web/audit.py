"""What people change of sites, people and the like is written down, and who logged in or tried to; without secrets."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session as Transaction
from uuid6 import uuid7

from broker.dispatch.tables import Audit
from broker.dispatch.web.rights import EVERYWHERE

UNKNOWN = ""
"""Actor of what nobody known has done."""


def note(
    db: Transaction, at: float, actor: str, action: str, subject: str, *, site: str = EVERYWHERE, **detail: Any
) -> None:
    """One line. detail: plain values, never a password or an address."""
    db.add(Audit(id=str(uuid7()), at=at, actor=actor, action=action, site=site, subject=subject[:200], detail=detail))
