"""The *Cards* page: an installer chooses a node, and gets its card as an image, a manifest, or a file."""

from __future__ import annotations

import re
import secrets
from typing import Annotated

from fastapi import FastAPI, Form, HTTPException, Request, Response
from fastapi import Path as PathParam
from fastapi.responses import FileResponse, RedirectResponse, StreamingResponse
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session as Transaction

from broker.dispatch import tables
from broker.dispatch.database import reading, transaction
from broker.dispatch.enrol import TakenError, holders, new_token
from broker.dispatch.text import LANGUAGES
from broker.dispatch.web import audit
from broker.dispatch.web.admin.fields import LONGEST_NAME, ZONES, Key, Line
from broker.dispatch.web.pages import Changing, FormError, Ident, Known, Web
from broker.dispatch.web.rights import Right, Visitor
from deploy.card import joined
from deploy.card.cards import Cards, Wanted, new_password
from deploy.card.errors import CardError
from deploy.card.label import SIZES, WRITERS, of_node
from deploy.card.node import Node
from deploy.card.payload import Token
from deploy.card.wifi import Wifi
from deploy.card.workshop import Card, Workshop

REFRESH_S = 5
_FIELDS = {"node": "node", "latitude": "place", "longitude": "place"}
_SECRET = {"Cache-Control": "no-store"}
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")
_LABELS = {".svg": "image/svg+xml", ".pdf": "application/pdf", ".png": "image/png"}
Number = Annotated[str, PathParam(pattern=r"^[0-9a-f-]{36}$")]
Secret = Annotated[str, Form(max_length=200)]


def add(app: FastAPI, web: Web, cards: Cards) -> Workshop:
    """Raises OSError where the folder for cards cannot be used."""
    workshop = Workshop(cards, web.clock.now)
    web.cards = True
    _add_orders(app, web, workshop)
    _add_made(app, web, workshop)
    _add_downloads(app, web, workshop)
    return workshop


def _site(db: Transaction, visitor: Visitor, site: str) -> tables.Site:
    row = db.get(tables.Site, site)
    if row is None or not visitor.may(Right.INSTALL, site):
        raise HTTPException(404, "no such site")
    return row


def _card(workshop: Workshop, visitor: Visitor, number: str, *, ready: bool = True) -> Card:
    card = workshop.get(number)
    if card is None or not visitor.may(Right.INSTALL, card.node.site) or (ready and card.state != "ready"):
        raise HTTPException(404, "no such card")
    return card


def _add_orders(app: FastAPI, web: Web, workshop: Workshop) -> None:
    @app.get("/cards", include_in_schema=False)
    def overview(request: Request, visitor: Known) -> Response:
        if not visitor.anywhere(Right.INSTALL):
            raise HTTPException(403, "for installers")
        with reading(web.engine) as db:
            sites = web.sites(db, visitor, Right.INSTALL)
            reported = {(node.site, node.id): node for node in db.scalars(select(tables.Node))}
            words = web.words(db, web.text(request, visitor))
            held = {site.id: holders(db, site.id, web.clock.now()) for site in sites}

        def state(site: str, name: str, held_by: str) -> tuple[str, str, str]:
            node = reported.get((site, name))
            if node is None:
                return name, f"only_{held_by}", ""
            return name, "online" if node.online and not node.silent else "silent", words.stamp(node.heard_at, site)

        lists = {site: [state(site, *one) for one in sorted(names.items())] for site, names in held.items()}
        made = [(card, words.stamp(card.at, card.node.site)) for card in workshop if card.node.site in held]
        return web.render(request, "cards.html", "cards", visitor, sites=sites, nodes=lists, made=made)

    @app.get("/cards/{site}", include_in_schema=False)
    def form(request: Request, visitor: Known, site: Ident, node: str = "") -> Response:
        with reading(web.engine) as db:
            row = _site(db, visitor, site)
            known = holders(db, site, web.clock.now())
        last = next((card.node for card in workshop if card.node.site == site), None)
        return web.render(
            request, "card_order.html", "cards", visitor, site=row, node=node if node in known else "",
            held=known.get(node, ""), last=last, zones=ZONES, langs=LANGUAGES, longest=LONGEST_NAME,
        )  # fmt: skip

    @app.post("/cards/{site}", include_in_schema=False)
    def order(
        *, request: Request, visitor: Changing, site: Ident, node: Key = "", name: Line = "", language: Key = "",
        time_zone: Key = "", latitude: Key = "", longitude: Key = "", camera: Key = "usb", address: Line = "",
        ssid: Line = "", wifi_password: Secret = "", country: Key = "CN", replace: Key = "",
    ) -> Response:  # fmt: skip
        with reading(web.engine) as db:
            _site(db, visitor, site)
        try:
            wifi = Wifi(ssid, wifi_password, country.upper()) if ssid else None
            who = Node.model_validate(
                {
                    "site": site, "node": node.strip(), "name": name.strip()[:LONGEST_NAME], "language": language,
                    "time_zone": time_zone,
                    "latitude": latitude.strip() or None, "longitude": longitude.strip() or None,
                }
            )  # fmt: skip
            wanted = Wanted(who, new_password(), address.strip() if camera == "rtsp" else camera, wifi)
            card = workshop.order(wanted, lambda: _token(visitor, who, replace=replace == who.node), visitor.id)
        except ValidationError as error:
            field = next(iter(error.errors()[0]["loc"]), "latitude")
            raise FormError(f"web.cards.wrong_{_FIELDS.get(str(field), 'form')}") from error
        except TakenError as error:
            raise FormError(f"web.cards.taken_{error.held}", node=who.node) from error
        except CardError as error:
            language = web.text(request, visitor).language
            raise FormError("web.cards.wrong", problem=error.told(language)) from error
        return RedirectResponse(f"/cards/made/{card.id}", 303)

    def _token(visitor: Visitor, node: Node, *, replace: bool) -> Token:
        """Asked within the transaction: what the form showed may be old. Raises TakenError."""
        now, hours = web.clock.now(), workshop.cards.hours
        with transaction(web.engine) as db:
            token = new_token(db, node.site, node.node, visitor.id, now, hours, replace=replace)
            audit.note(db, now, visitor.id, "card_made", node.id, site=node.site)
        return Token(token, now + 3600 * hours)


def _add_made(app: FastAPI, web: Web, workshop: Workshop) -> None:
    @app.get("/cards/made/{number}", include_in_schema=False)
    def made(request: Request, visitor: Known, number: Number) -> Response:
        card = _card(workshop, visitor, number, ready=False)
        t = web.text(request, visitor)
        with reading(web.engine) as db:
            until = web.words(db, t).stamp(card.expires, card.node.site)
        problem = card.problem[t.language] if card.problem else ""
        response = web.render(
            request, "card_made.html", "cards", visitor, t=t, card=card, until=until, problem=problem,
            sizes=list(SIZES), size_mb=round(card.made.packed / 1e6) if card.made else 0,
        )  # fmt: skip
        response.headers.update(_SECRET)
        if card.state == "making":
            response.headers["Refresh"] = str(REFRESH_S)
        return response

    @app.post("/cards/made/{number}/remove", include_in_schema=False)
    def remove(visitor: Changing, number: Number) -> Response:
        card = _card(workshop, visitor, number, ready=False)
        workshop.remove(card.id)
        with transaction(web.engine) as db:
            audit.note(db, web.clock.now(), visitor.id, "card_removed", card.node.id, site=card.node.site)
        return RedirectResponse("/cards", 303)


def _add_downloads(app: FastAPI, web: Web, workshop: Workshop) -> None:
    @app.get("/cards/made/{number}/image", include_in_schema=False)
    def image(request: Request, visitor: Known, number: Number) -> Response:
        return _image(request, _card(workshop, visitor, number))

    @app.get("/cards/made/{number}/manifest", include_in_schema=False)
    def manifest(visitor: Known, number: Number) -> Response:
        card = _card(workshop, visitor, number)
        url = f"{web.base}/cards/get/{card.id}/{card.key}/{card.file_name}.img.xz"
        content = workshop.manifest(card, url, f"{web.base}/static/mark.svg")
        return _download(Response(content, media_type="application/json"), card, joined.MANIFEST)

    @app.get("/cards/made/{number}/node.zip", include_in_schema=False)
    def node_file(visitor: Known, number: Number) -> Response:
        card = _card(workshop, visitor, number)
        return _download(FileResponse(workshop.node_file(card), media_type="application/zip"), card, ".zip")

    @app.get("/cards/made/{number}/label{kind}", include_in_schema=False)
    def label(request: Request, visitor: Known, number: Number, kind: str, size: str = "a6") -> Response:
        card = _card(workshop, visitor, number)
        if kind not in _LABELS:
            raise HTTPException(404, "no such file")
        language = web.text(request, visitor).language
        try:
            content = WRITERS[kind](of_node(card.node), size, language)
        except CardError as error:
            raise FormError("web.cards.wrong", problem=error.told(language)) from error
        return _download(Response(content, media_type=_LABELS[kind]), card, kind)

    @app.get("/cards/get/{number}/{key}/{name}", include_in_schema=False)
    def for_imager(request: Request, number: Number, key: str, name: str) -> Response:
        """For Raspberry Pi Imager, which cannot log in: the address itself is the secret."""
        card = workshop.get(number)
        right = card is not None and secrets.compare_digest(card.key.encode(), key.encode())
        if card is None or not right or card.state != "ready" or name != f"{card.file_name}.img.xz":
            raise HTTPException(404, "no such card")
        return _image(request, card)

    def _image(request: Request, card: Card) -> Response:
        first, second = workshop.streams(card)
        size = first.stat().st_size + second.stat().st_size
        start, end, status, headers = 0, size, 200, {"Accept-Ranges": "bytes"}
        if asked := _RANGE.fullmatch(request.headers.get("range", "")):
            start = int(asked[1])
            end = min(int(asked[2]) + 1, size) if asked[2] else size
            if start >= end:
                return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        headers["Content-Length"] = str(end - start)
        parts = joined.joined(first, second, start, end)
        response = StreamingResponse(parts, status, headers, media_type="application/x-xz")
        return _download(response, card, ".img.xz")


def _download(response: Response, card: Card, ending: str) -> Response:
    response.headers["Content-Disposition"] = f'attachment; filename="{card.file_name}{ending}"'
    response.headers.update(_SECRET)
    return response
