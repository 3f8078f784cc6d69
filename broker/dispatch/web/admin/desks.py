"""A change of a site or of a person: who may, what is written down, whether the whole still makes sense."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, HTTPException, Query, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import func, select
from sqlalchemy.orm import Session as Transaction

from broker.dispatch import leaving, roster
from broker.dispatch.database import transaction
from broker.dispatch.norm import NormError
from broker.dispatch.tables import Membership, Person, Role, Site
from broker.dispatch.web import audit
from broker.dispatch.web.pages import FormError, Web
from broker.dispatch.web.rights import EVERYWHERE, Right, Visitor

log = logging.getLogger(__name__)

_ACTIONS = {"duty": "duty_ended", "step": "step_ended", "case": "case_given_back"}
_Count = Annotated[int, Query(ge=0, le=10**6)]


@dataclass(frozen=True, slots=True)
class Told:
    """What a change ended besides, as the page after it says it: how many of each, and of which sites."""

    duty: int = 0
    step: int = 0
    case: int = 0
    sites: tuple[str, ...] = ()


def _told(
    duty: _Count = 0, step: _Count = 0, case: _Count = 0, of: Annotated[list[str] | None, Query(max_length=1000)] = None
) -> Told:
    return Told(duty, step, case, tuple(of or ()))


AfterChange = Annotated[Told, Depends(_told)]
"""Out of the address that `_after` made."""


def _after(address: str, ended: Iterable[leaving.Ended]) -> Response:
    """To the page, which says what ended besides."""
    found = list(ended)
    counted = Counter(what.what for what in found)
    query = urlencode([*counted.items(), *(("of", site) for site in dict.fromkeys(what.site for what in found))])
    return RedirectResponse(f"{address}?{query}" if query else address, 303)


def _end(
    db: Transaction, web: Web, visitor: Visitor, person: Person, site: str | None = None
) -> tuple[leaving.Ended, ...]:
    """What somebody has where (site: only there) they may take no cases any more ends, and is written down."""
    now = web.clock.now()
    ended = leaving.end(db, person.id, visitor.id, now, site)
    for what in ended:
        audit.note(db, now, visitor.id, _ACTIONS[what.what], person.login, site=what.site, name=what.name)
    return ended


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
        leaves: str | None = None,
        **more: Any,
    ) -> Response:
        """detail, more: what is written down; `do` may add to `detail`. leaves: id of somebody who may have lost the
        role that their duties and cases need. Raises HTTPException, FormError."""
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
            leaver = db.get(Person, leaves) if leaves else None
            ended = _end(db, self.web, visitor, leaver, site) if leaver else ()
        return _after(f"/admin/sites/{site}", ended)

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
        """detail: what is written down. Where the person may act less after it, what hung on that ends."""
        everywhere(visitor)
        with transaction(self.web.engine) as db:
            row = db.get(Person, person)
            if row is None:
                raise HTTPException(404, "nobody of this id")
            do(db, row)
            db.flush()
            _admin_left(db)
            audit.note(db, self.web.clock.now(), visitor.id, action, row.login, **detail)
            ended = _end(db, self.web, visitor, row)
        return _after(f"/admin/people/{person}", ended)


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


def unmanned(db: Transaction, site: str, now: float) -> dict[str, str]:
    """The shifts of a site that nobody is on when they run now or next: names by id. Empty for a roster that makes no
    sense: changing it says why."""
    try:
        return {shift.id: shift.name for shift in roster.read(db, site).calendar.unmanned(now)}
    except NormError as error:
        log.warning("site %s: its roster cannot be used: %s", site, error)
        return {}
