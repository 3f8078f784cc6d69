"""Holidays of a site, and days worked instead."""

from __future__ import annotations

from fastapi import FastAPI, Response
from sqlalchemy import delete, select
from sqlalchemy.orm import Session as Transaction

from broker.dispatch.norm import NormError
from broker.dispatch.norm.country import public_holidays
from broker.dispatch.tables import Holiday, Site
from broker.dispatch.web.admin.desks import SiteDesk
from broker.dispatch.web.admin.fields import LONGEST_NAME, Key, Line, day_of, number
from broker.dispatch.web.pages import Changing, FormError, Ident, Web, cleaned


def add(app: FastAPI, web: Web) -> None:
    desk = SiteDesk(web)

    @app.post("/admin/sites/{site}/holidays", include_in_schema=False)
    def add_holiday(visitor: Changing, site: Ident, day: Key, name: Line = "", working: Key = "") -> Response:
        row = Holiday(
            site=site, day=day_of(day), name=cleaned(name, LONGEST_NAME, lines=False) if name.strip() else "",
            working=working == "1",
        )  # fmt: skip
        return desk.change(visitor, site, "holiday_added", row.day, lambda db: _merge(db, row), working=row.working)

    @app.post("/admin/sites/{site}/holidays/fill", include_in_schema=False)
    def fill_holidays(visitor: Changing, site: Ident, country: Key, year: Key) -> Response:
        """Those of a country; what is there for a day already stays."""
        chosen = number(year, 2000, 2100)
        country = country.strip().upper()

        def do(db: Transaction) -> None:
            try:
                found = public_holidays(country, chosen, db.get_one(Site, site).language)
            except NormError as error:
                raise FormError("web.error.norm", detail=error.detail) from error
            there = set(db.scalars(select(Holiday.day).where(Holiday.site == site)))
            for h in found:
                if h.day.isoformat() not in there:
                    db.add(Holiday(site=site, day=h.day.isoformat(), name=h.name[:LONGEST_NAME], working=h.working))

        return desk.change(visitor, site, "holidays_filled", country, do, year=chosen)

    @app.post("/admin/sites/{site}/holidays/remove", include_in_schema=False)
    def remove_holiday(visitor: Changing, site: Ident, day: Key) -> Response:
        def do(db: Transaction) -> None:
            db.execute(delete(Holiday).where(Holiday.site == site, Holiday.day == day))

        return desk.change(visitor, site, "holiday_removed", day, do)


def _merge(db: Transaction, row: Holiday) -> None:
    db.merge(row)
