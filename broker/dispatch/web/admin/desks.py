"""A change of a site or of a person: who may, what is written down, whether the whole still makes sense."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import HTTPException, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import func, select
from sqlalchemy.orm import Session as Transaction

from broker.dispatch import roster
from broker.dispatch.database import transaction
from broker.dispatch.norm import NormError
from broker.dispatch.tables import Membership, Person, Role, Site
from broker.dispatch.web import audit
from broker.dispatch.web.pages import FormError, Web
from broker.dispatch.web.rights import EVERYWHERE, Right, Visitor


class SiteDesk:
    """What the routes of a site share: rights, the change itself, what is written down, the check of the whole."""

    def __init__(self, web: Web) -> None:
        self.web = web

    def change(  # noqa: PLR0917
        self,
        visitor: Visitor,
        site: str,
        action: str,
        subject: str,
        do: Callable[[Transaction], None],
        detail: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Response:
        """detail, more: what is written down; `do` may add to `detail`. Raises HTTPException, FormError."""
        self.allow(visitor, site)
        with transaction(self.web.engine) as db:
            if db.get(Site, site) is None:
                raise HTTPException(404, "no such site")
            do(db)
            db.flush()
            try:
                roster.read(db, site)
            except NormError as error:
                raise FormError("web.error.norm", detail=error.detail) from error
            audit.note(db, self.web.clock.now(), visitor.id, action, subject, site=site, **(detail or {}), **more)
        return RedirectResponse(f"/admin/sites/{site}", 303)

    def allow(self, visitor: Visitor, site: str) -> None:
        if not visitor.may(Right.MANAGE, site):
            raise HTTPException(404, "no such site")


def everywhere(visitor: Visitor) -> None:
    if not visitor.may(Right.MANAGE, EVERYWHERE):
        raise HTTPException(403, "for administrators of all sites")


class PeopleDesk:
    """What the routes of a person share."""

    def __init__(self, web: Web) -> None:
        self.web = web

    def change(
        self, visitor: Visitor, person: str, action: str, do: Callable[[Transaction, Person], None], **detail: Any
    ) -> Response:
        everywhere(visitor)
        with transaction(self.web.engine) as db:
            row = db.get(Person, person)
            if row is None:
                raise HTTPException(404, "nobody of this id")
            do(db, row)
            db.flush()
            _admin_left(db)
            audit.note(db, self.web.clock.now(), visitor.id, action, row.login, **detail)
        return RedirectResponse(f"/admin/people/{person}", 303)


def _admin_left(db: Transaction) -> None:
    """Raises FormError where nobody would be left to let anybody in."""
    left = db.scalar(
        select(func.count())
        .select_from(Membership)
        .join(Person, Person.id == Membership.person)
        .where(
            Membership.site == EVERYWHERE,
            Membership.role == Role.ADMIN.value,
            Person.active,
            Person.password.is_not(None),
        )
    )
    if not left:
        raise FormError("web.error.last_admin")
