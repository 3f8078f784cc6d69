"""Cards that a server makes: one folder each, until the token in it has expired.

    made/ID/card.json   what it is, and how far it has come; with the password of the node's page
    made/ID/node.zip    the node file
    made/ID/head.xz     the first stream of the node's image; the second is kept with the official image

All of it is secret: whoever has a card can become its node.
"""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from uuid6 import uuid7

from broker import files
from deploy.card import joined
from deploy.card.cards import Cards, Wanted, check, payload
from deploy.card.errors import CardError
from deploy.card.joined import Base, Made
from deploy.card.node import Node
from deploy.card.payload import Token, inject, pack

log = logging.getLogger(__name__)

MOST = 20
"""Cards at a time; each takes about 250 MB."""
State = Literal["making", "ready", "failed"]


@dataclass(frozen=True)
class Card:
    """by: person id. at, expires: Unix seconds. image: SHA-256 of the official one that it is made of.

    key: opens its image for Raspberry Pi Imager, which cannot log in.

    problem: why it failed, by language. made: once it is ready.
    """

    id: str
    node: Node
    by: str
    at: float
    expires: float
    image: str
    key: str
    password: str
    state: State = "making"
    problem: dict[str, str] | None = None
    made: Made | None = None

    @property
    def file_name(self) -> str:
        return f"{self.node.site}-{self.node.node}"


class Workshop:
    """One card is made at a time. now: the clock, Unix seconds."""

    def __init__(self, cards: Cards, now: Callable[[], float]) -> None:
        """Raises OSError."""
        self.cards = cards
        self._now = now
        self._made = cards.folder / "made"
        self._made.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._turn = threading.Lock()
        self._writing = threading.Lock()
        self._threads: list[threading.Thread] = []
        for card in self:
            if card.state == "making":
                self._fail(card, CardError("workshop.restarted"))

    def __iter__(self) -> Iterator[Card]:
        """Newest first; those whose token has expired are removed."""
        for folder in sorted(self._made.iterdir(), reverse=True):
            with self._writing:  # else a card that is just ordered has a folder, and no file yet
                card = self._read(folder.name)
            if card is None or card.expires <= self._now():
                self.remove(folder.name)
            else:
                yield card

    def get(self, number: str) -> Card | None:
        """None: there is none, or it has expired."""
        return next((card for card in self if card.id == number), None)

    def order(self, wanted: Wanted, token: Callable[[], Token], by: str) -> Card:
        """Begin to make a card. token: asked for once all else is right. Raises CardError, OSError."""
        if sum(1 for _ in self) >= MOST:
            raise CardError("workshop.full", most=MOST)
        check(self.cards)
        payload(self.cards, wanted, Token("", 0))  # what would not do is refused before there is a token
        given = token()
        card = Card(
            id=str(uuid7()), node=wanted.node, by=by, at=self._now(), expires=given.expires,
            image=self.cards.image_sha256, key=secrets.token_urlsafe(24), password=wanted.password,
        )  # fmt: skip
        with self._writing:
            (self._made / card.id).mkdir(mode=0o700)
            self._keep(card)
        thread = threading.Thread(target=self._make, args=(card, wanted, given), name="card", daemon=True)
        self._threads = [*(t for t in self._threads if t.is_alive()), thread]
        thread.start()
        return card

    def join(self) -> None:
        """Wait until all that was ordered is made."""
        for thread in self._threads:
            thread.join()

    def remove(self, number: str) -> None:
        with self._writing:
            shutil.rmtree(self._made / number, ignore_errors=True)

    def node_file(self, card: Card) -> Path:
        return self._made / card.id / "node.zip"

    def streams(self, card: Card) -> tuple[Path, Path]:
        """The two files that are the node's image, one behind the other."""
        return self._made / card.id / "head.xz", self._base(card.image).root

    def manifest(self, card: Card, url: str, icon: str) -> bytes:
        """url: where its image is to be had. card: one that is ready."""
        assert card.made is not None  # noqa: S101
        return joined.manifest([joined.entry(card.node, card.made, url, card.at, icon)])

    # -- making --------------------------------------------------------------------------------------------------------

    def _make(self, card: Card, wanted: Wanted, token: Token) -> None:
        folder = self._made / card.id
        try:
            with self._turn:
                whole = payload(self.cards, wanted, token)
                with (folder / "node.zip").open("wb") as out:
                    pack(whole, out)
                with (folder / "head.xz").open("wb") as out:
                    made = joined.make(self._base(card.image), lambda tree: inject(tree, whole), out)
        except CardError as error:
            self._fail(card, error)
        except OSError as error:
            self._fail(card, CardError("workshop.disk", problem=error.strerror or type(error).__name__))
        else:
            self._write(replace(card, state="ready", made=made))

    def _base(self, image: str) -> Base:
        """Of a card's own image: the administrator may have taken a newer one since."""
        return joined.base(self.cards.image, image, self.cards.folder)

    def _fail(self, card: Card, error: CardError) -> None:
        log.warning("card of %s: %s", card.node.id, error)
        self._write(replace(card, state="failed", problem={lang: error.told(lang) for lang in ("zh-CN", "en")}))

    def _write(self, card: Card) -> None:
        with self._writing:
            if (self._made / card.id).is_dir():  # it may have been removed meanwhile
                self._keep(card)

    def _keep(self, card: Card) -> None:
        values = asdict(card) | {"node": card.node.model_dump()}
        files.write(self._made / card.id / "card.json", json.dumps(values).encode(), files.SECRET)

    def _read(self, number: str) -> Card | None:
        try:
            values = json.loads((self._made / number / "card.json").read_bytes())
        except (OSError, ValueError):
            return None
        made = values["made"]
        node = Node.model_validate(values["node"])
        return Card(**values | {"node": node, "made": Made(**made) if made is not None else None})
