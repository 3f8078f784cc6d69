"""The administrator's pages: sites with their members, shifts, duties, holidays and chain; people with their contacts.

People, and whoever may do something on all sites, are the business of administrators of all sites; an administrator
of a site manages that site. A new row brings its id in the form, so that a form sent twice makes one row. After each
change of a site the whole roster is read as the norm's clock reads it; what would make no sense is not kept.
"""

from __future__ import annotations

from fastapi import FastAPI

from broker.dispatch.web.admin import crews, days, people, sites, written
from broker.dispatch.web.pages import Web


def add(app: FastAPI, web: Web) -> None:
    for part in (sites, crews, days, people, written):
        part.add(app, web)
