"""Dispatch's pages on a real database, with cases out of real alarm messages, over real HTTP."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
from argon2 import PasswordHasher
from PIL import Image
from sqlalchemy import Engine, select
from uuid6 import uuid7

from broker.dispatch import intake
from broker.dispatch.clock import ManualClock
from broker.dispatch.database import reading, transaction
from broker.dispatch.evidence import Store
from broker.dispatch.tables import Case, Contact, Delivery, Ledger, Membership, Person, Role, Site
from broker.dispatch.web.app import create
from broker.dispatch.web.auth import Passwords, Sessions
from broker.dispatch.web.links import Links, Opens
from broker.dispatch.web.photo import HideFaces
from broker.dispatch.web.server import WebServer
from broker.embedded import free_port
from broker.messages import PREFIX
from deploy.pages import Faces

PASSWORD = "a long enough phrase"  # noqa: S105 of a test
KEY = "0123456789abcdef" * 4
START = 1_790_000_000.0
"""2026-09-21 22:13:20 in Shanghai."""


@cache
def passwords() -> Passwords:
    """argon2 as quick as it can be: tests log in hundreds of times."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


@cache
def hashed() -> str:
    """Of `PASSWORD`."""
    return passwords().hash(PASSWORD)


@cache
def faces() -> Faces:
    """As `banksman dispatch` hides them; one detector for all tests."""
    return Faces()


class Bench:
    """Two sites, north and south, with people of every role, and a clock that stands still."""

    def __init__(self, folder: Path, engine: Engine, clock: ManualClock) -> None:
        self.folder = folder
        self.engine = engine
        self.clock = clock
        self.store = Store(folder / "evidence", reserve=0)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.links = Links(KEY, self.url)
        self._seq = itertools.count(1)
        with transaction(engine) as db:
            db.add_all([Site(id="north", name="北苑路抢修"), Site(id="south", name="South yard", language="en")])
        self.foreman = self.person("wang", "王强", ("north", Role.FOREMAN))
        self.second = self.person("li", "李敏", ("north", Role.FOREMAN))
        self.officer = self.person("chen", "陈安", ("north", Role.OFFICER), ("south", Role.OFFICER))
        self.installer = self.person("zhao", "赵工", ("north", Role.INSTALLER))
        self.outsider = self.person("smith", "Smith", ("south", Role.FOREMAN))
        self.admin = self.person("root", "Admin", ("*", Role.ADMIN))

    def person(self, login: str, name: str, *roles: tuple[str, Role], language: str = "en") -> str:
        """Somebody with `PASSWORD`; gives the id."""
        key = str(uuid7())
        with transaction(self.engine) as db:
            db.add(Person(id=key, login=login, name=name, language=language, password=hashed(), created_at=START))
            db.flush()
            db.add_all([Membership(person=key, site=site, role=role.value) for site, role in roles])
        return key

    def contact(self, person: str, address: str, channel: str = "ntfy") -> str:
        key = str(uuid7())
        with transaction(self.engine) as db:
            db.add(Contact(id=key, person=person, channel=channel, address=address))
        return key

    def alarm(self, site: str = "north", node: str = "gate-03", **fields: Any) -> str:
        """An alarm event as its node sends it; gives the id of its alarm. event, alarm, rule, place, …: as wanted."""
        now = self.clock.now()
        body = {
            "id": str(uuid7()), "alarm": str(uuid7()), "seq": next(self._seq), "event": "raised", "source": "gate",
            "place": f"zone-{next(self._seq)}", "rule": "helmet", "clause": ["I.1.2", "I.6.1"], "severity": "critical",
            "verdict": "violation", "reason": "bare", "subjects": 2, "confidence": 0.9, "first_seen": now - 2,
            "last_seen": now, "at": now, "age_s": 0.0, "clock_ok": True, "evidence": [],
        } | fields  # fmt: skip
        topic = f"{PREFIX}/{site}/{node}/alarm/{body['rule']}"
        arrival = intake.read(intake.Received(topic, json.dumps(body).encode(), now))
        assert isinstance(arrival, intake.Alarm)
        assert intake.store(self.engine, [arrival], intake.take, now).stored == 1
        return str(body["alarm"])

    def case(self, site: str = "north", node: str = "gate-03", **fields: Any) -> str:
        """A case opened by an alarm; gives its id."""
        return self.case_of(self.alarm(site, node, **fields)).id

    def case_of(self, alarm: str) -> Case:
        with reading(self.engine) as db:
            return db.scalars(select(Case).where(Case.alarm == alarm)).one()

    def now(self, case_id: str) -> Case:
        """The case as it is."""
        with reading(self.engine) as db:
            return db.get_one(Case, case_id)

    def ledger(self, case_id: str) -> list[str]:
        """The actions in a case's ledger."""
        with reading(self.engine) as db:
            return list(db.scalars(select(Ledger.action).where(Ledger.case == case_id).order_by(Ledger.n)))

    def keep(
        self, alarm: str, content: bytes, kind: str = "snapshot", site: str = "north", node: str = "gate-03"
    ) -> str:
        """A stored file of an alarm; gives its hash."""
        sha256 = hashlib.sha256(content).hexdigest()
        size = self.store.write(alarm, sha256, kind, content)
        with transaction(self.engine) as db:
            self.store.put(
                db, site=site, node=node, alarm=alarm, sha256=sha256, kind=kind, size=size, now=self.clock.now()
            )
        return sha256

    def message(self, person: str, *cases: str) -> str:
        """The token of the link of a message that told somebody of these cases, as the worker leaves it."""
        message = str(uuid7())
        with transaction(self.engine) as db:
            for case in cases:
                of = {"case": case, "site": db.get_one(Case, case).site, "person": person, "message": message}
                db.add(Delivery(id=str(uuid7()), about="raised", at=self.clock.now(), state="sent", code="ok", **of))
        return self.links.sign(message, person, self.clock.now(), Opens.MESSAGE)

    def reader(self, *, follow: bool = False) -> Reader:
        return Reader(self, follow=follow)

    def logged_in(self, login: str) -> Reader:
        """With a session of the same kind as the log-in opens; the log-in itself has tests of its own."""
        reader = self.reader()
        with transaction(self.engine) as db:
            person = db.scalars(select(Person.id).where(Person.login == login)).one()
            cookie = Sessions().open(db, person, self.clock.now())
        reader.cookies.set("banksman", cookie, domain="127.0.0.1")
        return reader

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything in the database, to see that nothing changed."""
        with self.engine.connect() as connection:
            return {
                table.name: [tuple(row) for row in connection.execute(table.select())]
                for table in Person.metadata.sorted_tables
            }


class Reader(httpx.Client):
    """A browser without eyes: keeps cookies, asks for HTML, sends the page's origin and token with every form."""

    def __init__(self, bench: Bench, *, follow: bool = False) -> None:
        super().__init__(
            base_url=bench.url,
            headers={"Accept": "text/html,*/*", "Origin": bench.url, "Accept-Language": "en"},
            timeout=20.0,
            trust_env=False,
            follow_redirects=follow,
        )

    def log_in(self, login: str, password: str = PASSWORD, after: str = "/") -> httpx.Response:
        return self.post("/login", data={"name": login, "password": password, "next": after})

    def token(self, path: str = "/admin/audit") -> str:
        """The CSRF token that a page carries."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(path).text)
        assert found is not None
        return found[1]

    def submit(
        self, path: str, fields: dict[str, Any] | None = None, page: str | None = None, **more: Any
    ) -> httpx.Response:
        """Fill in a form of a page (the case's own, where none is named) and send it."""
        page = page or path.rsplit("/", 1)[0]
        return self.post(path, data={"csrf": self.token(page)} | (fields or {}), **more)


@contextmanager
def serving(bench: Bench, hide_faces: HideFaces | None = None) -> Iterator[str]:
    """hide_faces: those of `faces`, where not given."""
    app = create(
        engine=bench.engine,
        store=bench.store,
        clock=bench.clock,
        links=bench.links,
        base=bench.url,
        hide_faces=hide_faces or faces(),
        passwords=passwords(),
    )
    server = WebServer(app, "127.0.0.1", bench.port)
    server.start()
    try:
        yield bench.url
    finally:
        server.stop()


@cache
def jpeg(width: int = 1280, height: int = 720, shade: int = 120) -> bytes:
    """A picture with something in it."""
    pixels = np.full((height, width, 3), shade, np.uint8)
    pixels[height // 3 : height // 2, width // 3 : width // 2] = (250, 200, 30)
    pixels[height // 2 :, : width // 4] = (30, 60, 200)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=85)
    return out.getvalue()


@cache
def clip(frames: int = 30) -> bytes:
    """Some frames of H.264 in MP4."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for n in range(frames):
            pixels = np.full((180, 320, 3), 60 + 4 * n, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        file.mux(stream.encode())
    return out.getvalue()
