"""The safety officer's pages: the ledger of all cases with filters, its export, the hand-over of a shift."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Annotated
from urllib.parse import parse_qs, urlencode
from zoneinfo import ZoneInfo

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import ColumnElement, and_, func, or_, select, true
from sqlalchemy.orm import Session as Transaction

from broker.dispatch import report, roster
from broker.dispatch.database import reading, transaction
from broker.dispatch.norm.calendar import ShiftAt, SiteCalendar
from broker.dispatch.norm.review import REVIEW_S
from broker.dispatch.notify.message import SEVERITIES
from broker.dispatch.tables import Case, CaseState, Membership, Person, Site
from broker.dispatch.web import audit, export
from broker.dispatch.web.pages import PER_PAGE, FormError, Known, Web, overdue_at, visible
from broker.dispatch.web.rights import EVERYWHERE, Right, Visitor

_BATCH = 500
_SHIFTS = 12
"""Shifts that the hand-over page offers, the running ones and those before."""
_one_workbook = threading.Semaphore(1)  # they take a while, and a core


@dataclass(frozen=True, slots=True)
class Filters:
    """What of the ledger is wanted; empty: all. Days are those of the site chosen, else of the first one.

    overdue: not taken in the norm's five minutes, whether it is by now or not. case: the beginning of a case's id, or
    an alarm's. The other switches: marks of a case.
    """

    site: str = ""
    rule: str = ""
    state: str = ""
    overdue: str = ""
    person: str = ""
    start: str = ""
    end: str = ""
    severity: str = ""
    case: str = ""
    false_alarm: str = ""
    hold: str = ""
    important: str = ""
    reopened: str = ""
    late: str = ""

    def query(self, **more: object) -> str:
        told = {f: getattr(self, f) for f in self.__slots__} | more
        return urlencode({k: v for k, v in told.items() if v})


SWITCHES = ("overdue", "false_alarm", "hold", "important", "reopened", "late")
_WORD = r"^[0-9A-Za-z_.-]*$"
_Word = Annotated[str, Query(max_length=64, pattern=_WORD)]


def filters(  # noqa: PLR0917 FastAPI fills them by name
    site: _Word = "", rule: _Word = "", state: _Word = "", overdue: _Word = "", person: _Word = "", start: _Word = "",
    end: _Word = "", severity: _Word = "", case: _Word = "", false_alarm: _Word = "", hold: _Word = "",
    important: _Word = "", reopened: _Word = "", late: _Word = "",
) -> Filters:  # fmt: skip
    """As a dependency."""
    return Filters(
        site, rule, state, overdue, person, start, end, severity, case, false_alarm, hold, important, reopened, late
    )


def back_to(query: str) -> str:
    """The ledger's address with the filters and the page of `query`, which came with an address; empty for none."""
    given = {name: values[0] for name, values in parse_qs(query[:2000]).items()}
    known = {n: v for n, v in given.items() if n in Filters.__slots__ and len(v) <= 64 and re.match(_WORD, v)}
    page = given.get("page", "")
    if not re.fullmatch(r"[1-9]\d{0,4}", page):
        return ""
    return f"/ledger?{Filters(**known).query(page=page)}"


def _midnight(day: str, zone: ZoneInfo, later: int = 0) -> float:
    """Raises FormError."""
    try:
        return datetime.combine(date.fromisoformat(day) + timedelta(days=later), time(), zone).timestamp()
    except (ValueError, OverflowError) as error:
        raise FormError("web.error.day") from error


def wanted(chosen: Filters, zone: ZoneInfo, now: float) -> ColumnElement[bool]:
    """The filters as a condition. Raises FormError."""
    if chosen.state and chosen.state not in list(CaseState):
        raise FormError("web.error.state")
    if chosen.severity and chosen.severity not in SEVERITIES:
        raise FormError("web.error.choice")
    marks = {
        "false_alarm": Case.state == CaseState.FALSE_ALARM.value, "hold": Case.hold, "important": Case.important,
        "reopened": Case.reopened > 0, "late": Case.late,
    }  # fmt: skip
    return and_(
        Case.site == chosen.site if chosen.site else true(),
        Case.rule == chosen.rule if chosen.rule else true(),
        Case.state == chosen.state if chosen.state else true(),
        or_(overdue_at(now), Case.assigned_at > Case.review_from + REVIEW_S) if chosen.overdue else true(),
        Case.owner == chosen.person if chosen.person else true(),
        Case.severity == chosen.severity if chosen.severity else true(),
        _named(chosen.case) if chosen.case else true(),
        *(which for name, which in marks.items() if getattr(chosen, name)),
        Case.opened_at >= _midnight(chosen.start, zone) if chosen.start else true(),
        Case.opened_at < _midnight(chosen.end, zone, later=1) if chosen.end else true(),
    )


def _named(case: str) -> ColumnElement[bool]:
    return or_(Case.id.startswith(case, autoescape=True), Case.alarm.startswith(case, autoescape=True))


def _officer(visitor: Known) -> Visitor:
    if not visitor.anywhere(Right.LEAD):
        raise HTTPException(403, "for safety officers")
    return visitor


Officer = Annotated[Visitor, Depends(_officer)]
Chosen = Annotated[Filters, Depends(filters)]


def add(app: FastAPI, web: Web) -> None:
    _add_ledger(app, web)
    _add_exports(app, web)
    _add_handover(app, web)


def condition(web: Web, db: Transaction, visitor: Visitor, chosen: Filters) -> tuple[ColumnElement[bool], list[Site]]:
    sites = web.sites(db, visitor, Right.LEAD)
    zones = [site.time_zone for site in sites if site.id == chosen.site or not chosen.site]
    of_sites = true() if visitor.may(Right.LEAD, EVERYWHERE) else Case.site.in_([site.id for site in sites])
    zone = ZoneInfo(zones[0] if zones else "UTC")
    return and_(visible(visitor), of_sites, wanted(chosen, zone, web.clock.now())), sites


def _add_ledger(app: FastAPI, web: Web) -> None:
    @app.get("/ledger", include_in_schema=False)
    def ledger(
        request: Request, visitor: Officer, chosen: Chosen, page: Annotated[int, Query(ge=1, le=100_000)] = 1
    ) -> Response:
        t = web.text(request, visitor)
        with reading(web.engine) as db:
            where, sites = condition(web, db, visitor, chosen)
            total = db.scalar(select(func.count()).select_from(Case).where(where)) or 0
            rows = db.scalars(
                select(Case)
                .where(where)
                .order_by(Case.opened_at.desc(), Case.id)
                .limit(PER_PAGE)
                .offset((page - 1) * PER_PAGE)
            ).all()
            words = web.words(db, t, {row.site for row in rows})
            of_sites = Membership.site.in_([*(site.id for site in sites), EVERYWHERE])
            people = db.execute(
                select(Person.id, Person.name)
                .where(Person.id.in_(select(Membership.person).where(of_sites)))
                .order_by(Person.name)
            ).all()
        pages = max(1, -(-total // PER_PAGE))
        return web.render(
            request,
            "ledger.html",
            "ledger",
            visitor,
            t=t,
            cases=[(words.case(row), words.stamp(row.opened_at, row.site)) for row in rows],
            total=total,
            page=page,
            pages=pages,
            before=f"?{chosen.query(page=page - 1)}" if page > 1 else "",
            after=f"?{chosen.query(page=page + 1)}" if page < pages else "",
            query=chosen.query(),
            here=chosen.query(page=page),
            severities=[(s, words.severity(s)) for s in reversed(SEVERITIES)],
            switches=SWITCHES,
            chosen=chosen,
            sites=sites,
            states=list(CaseState),
            rules=sorted(
                (key.split(".")[1], text)
                for key, text in t.texts.items()
                if key.startswith("rule.") and key.endswith(".name") and key != "rule.other.name"
            ),
            people=people,
        )


def _add_exports(app: FastAPI, web: Web) -> None:
    def exported(request: Request, visitor: Visitor, chosen: Filters) -> Iterator[list[export.Value]]:
        t = web.text(request, visitor)
        with reading(web.engine) as db:
            where, _ = condition(web, db, visitor, chosen)
            words = web.words(db, t)
            rows = select(Case).where(where).order_by(Case.opened_at, Case.id).execution_options(yield_per=_BATCH)
            for case in db.scalars(rows):
                yield export.row(case, words)

    def named(visitor: Visitor, chosen: Filters, suffix: str) -> dict[str, str]:
        """Headers of a download. Also checks the filters, and writes down who takes what, before the first byte is
        sent."""
        web.spend("export", visitor.id)
        with reading(web.engine) as db:
            where, sites = condition(web, db, visitor, chosen)
            count = db.scalar(select(func.count()).select_from(Case).where(where)) or 0
        if suffix == "xlsx" and count > export.MOST_XLSX:
            raise FormError("web.error.too_many", most=export.MOST_XLSX)
        of_sites = [chosen.site] if chosen.site else [site.id for site in sites]
        if not chosen.site and visitor.may(Right.LEAD, EVERYWHERE):
            of_sites = [EVERYWHERE]
        with transaction(web.engine) as db:
            for site in of_sites:  # a line each, so that whoever manages one of them finds it
                audit.note(
                    db, web.clock.now(), visitor.id, "exported", f"cases.{suffix}", site=site, cases=count,
                    filters=chosen.query(),
                )  # fmt: skip
        return {"Content-Disposition": f'attachment; filename="cases.{suffix}"'}

    @app.get("/ledger.csv", include_in_schema=False)
    def as_csv(request: Request, visitor: Officer, chosen: Chosen) -> Response:
        headers = named(visitor, chosen, "csv")
        headings = [web.text(request, visitor)(f"web.column.{c}") for c in export.COLUMNS]
        content = export.as_csv(headings, exported(request, visitor, chosen))
        return StreamingResponse(content, media_type="text/csv; charset=utf-8", headers=headers)

    @app.get("/ledger.xlsx", include_in_schema=False)
    def as_xlsx(request: Request, visitor: Officer, chosen: Chosen) -> Response:
        headers = named(visitor, chosen, "xlsx")
        t = web.text(request, visitor)
        headings = [t(f"web.column.{c}") for c in export.COLUMNS]
        with _one_workbook:
            file = export.as_xlsx(headings, exported(request, visitor, chosen), t("web.list.ledger"))

        def content() -> Iterator[bytes]:
            with file:
                while chunk := file.read(65536):
                    yield chunk

        kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
        return StreamingResponse(content(), media_type=kind, headers=headers)


def _add_handover(app: FastAPI, web: Web) -> None:
    @app.get("/handover", include_in_schema=False)
    def handover(
        request: Request,
        visitor: Officer,
        site: _Word = "",
        shift: Annotated[str, Query(max_length=80)] = "",
    ) -> Response:
        """The report of a shift; of one that still runs, as of now."""
        t = web.text(request, visitor)
        now = web.clock.now()
        with reading(web.engine) as db:
            sites = web.sites(db, visitor, Right.LEAD)
            chosen = next((s for s in sites if s.id == site), None) if site else next(iter(sites), None)
            if site and chosen is None:
                raise HTTPException(404, "no such site")
            shifts: list[ShiftAt] = []
            written = picked = None
            if chosen is not None:
                shifts = recent(roster.read(db, chosen.id).calendar, now)
                over = next((s for s in shifts if s.end <= now), None)
                picked = next((s for s in shifts if key(s) == shift), over or next(iter(shifts), None))
            if chosen is not None and picked is not None:
                written = report.write(report.gather(db, chosen.id, picked, now), t.language)
            words = web.words(db, t)
            offered = [
                (key(s), f"{s.shift.name} · {words.stamp(s.start, chosen.id)[:16]}")
                for s in shifts
                if chosen is not None
            ]
        return web.render(
            request,
            "handover.html",
            "ledger",
            visitor,
            t=t,
            sites=sites,
            site=chosen.id if chosen else "",
            shifts=offered,
            picked=key(picked) if picked else "",
            running=picked is not None and picked.end > now,
            report=written,
        )


def key(shift: ShiftAt) -> str:
    """Names a shift of a day in an address."""
    return f"{shift.day.isoformat()}.{shift.shift.id}"


def recent(calendar: SiteCalendar, now: float) -> list[ShiftAt]:
    """The shifts that run or ended last, the newest first."""
    today = calendar.local(now).date()
    days = [today - timedelta(days=n) for n in range(-1, 8)]
    found = [shift for day in days for shift in calendar.starting(day) if shift.start <= now]
    return sorted(found, key=lambda s: (s.start, s.end), reverse=True)[:_SHIFTS]
