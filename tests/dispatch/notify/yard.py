"""Sites with people, shifts and a chain on a real database; alarms come in as messages, robots are told over HTTP."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select

from broker.dispatch import desk, intake, jobs
from broker.dispatch.cases import Action
from broker.dispatch.clock import ManualClock
from broker.dispatch.database import reading, transaction
from broker.dispatch.evidence import Store
from broker.dispatch.notify import channels, deliver
from broker.dispatch.notify.channels.dingtalk import DingTalk
from broker.dispatch.notify.channels.wecom import WeCom
from broker.dispatch.tables import (
    Base,
    Case,
    ChainStep,
    Contact,
    Delivery,
    Duty,
    Job,
    Ledger,
    Membership,
    Person,
    Shift,
    Site,
)
from broker.dispatch.web.auth import cases_of
from broker.dispatch.web.links import Opens
from broker.messages import PREFIX
from tests.dispatch.due import run_due
from tests.dispatch.notify.builders import LINKS, NOW
from tests.dispatch.notify.stubs import Answer, Request, Service

OK = Answer.of({"errcode": 0, "errmsg": "ok"})
BAD_TOKEN = Answer.of({"errcode": 300001, "errmsg": "token is not exist"})
BUSY = Answer.of({"errcode": -1, "errmsg": "系统繁忙"})


class Yard:
    """Site `east`: `wang` by day, `li` by night (it is 21:05), chain: `chen` after 5 minutes, `boss` after 15.

    Everybody has one robot, and its token is their name. answers: by token, one after the other, the last one stays.
    """

    def __init__(self, engine: Engine, far: Service, folder: Path, start: float = NOW) -> None:
        self.engine = engine
        self.clock = ManualClock(start)
        self.far = far
        self.answers: dict[str, list[Answer]] = {}
        self.store = Store(folder / "evidence", reserve=0)
        self.links = LINKS
        self._seq = itertools.count(1)
        self._taken = 0
        far.decide = self._answer
        at = frozenset({far.origin})
        self.handlers = deliver.handlers(
            {**channels.standard(), "dingtalk": DingTalk(at), "wecom": WeCom(at)},
            self.links,
            self.store.picture_of,
        )
        self.site("east", "东门工地")
        for name, role in (("wang", "foreman"), ("li", "foreman"), ("chen", "officer"), ("boss", "officer")):
            self.person(name, role)
        self.shift("day", 7 * 60, 19 * 60, "wang")
        self.shift("night", 19 * 60, 7 * 60, "li")
        self.add(
            ChainStep(id="s1", site="east", after_s=300, person="chen"),
            ChainStep(id="s2", site="east", after_s=900, person="boss"),
        )

    # -- what there is -------------------------------------------------------------------------------------------------

    def add(self, *rows: Base) -> None:
        with transaction(self.engine) as session:
            for row in rows:
                session.add(row)
                session.flush()

    def change(self, model: type[Base], key: str, **values: Any) -> None:
        with transaction(self.engine) as session:
            row = session.get_one(model, key)
            for name, value in values.items():
                setattr(row, name, value)

    def site(self, key: str, name: str, **more: Any) -> None:
        self.add(Site(id=key, name=name, **({"repeat_min": []} | more)))

    def person(self, name: str, role: str | None, site: str = "east", language: str = "zh-CN") -> None:
        self.add(Person(id=name, login=name, name=name, language=language, created_at=0.0))
        if role:
            self.add(Membership(person=name, site=site, role=role))
        self.contact(name, name)

    def contact(self, person: str, token: str, position: int = 0, channel: str = "dingtalk") -> None:
        path = "cgi-bin/webhook/send?key=" if channel == "wecom" else "robot/send?access_token="
        address = f"{self.far.origin}/{path}{token}"
        self.add(Contact(id=f"c-{token}", person=person, channel=channel, address=address, position=position))

    def shift(self, name: str, start: int, end: int, *people: str, site: str = "east") -> None:
        self.add(Shift(id=name, site=site, name=name, start=start, end=end))
        self.add(*[Duty(id=f"{name}-{p}", shift=name, person=p, position=n) for n, p in enumerate(people)])

    # -- what happens --------------------------------------------------------------------------------------------------

    def event(self, site: str = "east", age_s: float = 0.0, **fields: Any) -> str:
        """An alarm event comes in; gives the id of its case."""
        now, seq = self.clock.now(), next(self._seq)
        body = {
            "id": f"e-{seq}", "alarm": f"a-{seq}", "seq": seq, "event": "raised", "source": "cam-2", "place": "pit-1",
            "rule": "helmet", "clause": ["I.1.2", "I.6.1"], "severity": "warning", "verdict": "violation",
            "reason": "bare", "subjects": 1, "confidence": 0.9, "first_seen": now - 2, "last_seen": now, "at": now,
            "age_s": age_s, "clock_ok": True, "evidence": [],
        } | fields  # fmt: skip
        topic = f"{PREFIX}/{site}/gate-03/alarm/{body['rule']}"
        arrival = intake.read(intake.Received(topic, json.dumps(body).encode(), now))
        assert isinstance(arrival, intake.Alarm)
        assert intake.store(self.engine, [arrival], intake.take, now).stored == 1
        with reading(self.engine) as session:
            where = (Case.site == site, Case.place == body["place"], Case.rule == body["rule"])
            return session.scalars(select(Case.id).where(*where).order_by(Case.id.desc())).first() or ""

    def picture(self, alarm: str, content: bytes, site: str = "east") -> None:
        """The picture of an alarm comes in."""
        key = {"alarm": alarm, "sha256": hashlib.sha256(content).hexdigest(), "kind": "snapshot"}
        size = self.store.write(**key, content=content)
        with transaction(self.engine) as session:
            self.store.put(session, site=site, node="gate-03", size=size, now=self.clock.now(), **key)

    def clear(self, **fields: Any) -> str:
        return self.event(event="cleared", verdict="ok", reason="seen", **fields)

    def do(self, case: str, action: Action, actor: str) -> None:
        with transaction(self.engine) as session:
            desk.do(session, case, action, actor, self.clock.now())

    def ask(self, kind: str, key: str, due: float) -> None:
        with transaction(self.engine) as session:
            jobs.add(session, kind, key, due, {})

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass, with a worker that does each job when it is due."""
        end = self.clock.now() + seconds
        while True:
            while run_due(self.engine, self.handlers, self.clock, 20):
                pass
            with reading(self.engine) as session:
                due = session.scalar(select(func.min(Job.due)).where(Job.given_up_at.is_(None), self._kinds))
            if due is None or due > end:
                break
            self.clock.advance(max(0.0, due - self.clock.now()))
        self.clock.advance(end - self.clock.now())

    @property
    def _kinds(self) -> Any:
        return Job.kind.in_(list(self.handlers))

    # -- what came of it -----------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Answer:
        token = request.query.get("access_token") or request.query["key"]
        answers = self.answers.get(token, [OK])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def told(self) -> dict[str, list[str]]:
        """Titles that arrived since the last look, by token; of a picture what it says behind its first three bytes."""
        found: dict[str, list[str]] = defaultdict(list)
        for request in self.far.requests[self._taken :]:
            token = request.query.get("access_token") or request.query["key"]
            body = request.json
            if body["msgtype"] == "image":
                found[token].append(f"(picture {base64.b64decode(body['image']['base64'])[3:].decode()})")
            else:
                found[token].append(self.text(request).splitlines()[0].removeprefix("### "))
        self._taken = len(self.far.requests)
        return dict(found)

    def opens(self, request: Request) -> set[str]:
        """The cases that the link in a message opens."""
        found = re.search(r"\]\(https://dispatch\.example/([lm])/(\S+)\)", self.text(request))
        assert found is not None, self.text(request)
        opens = Opens(found[1])
        link = self.links.read(found[2], self.clock.now(), opens)
        with reading(self.engine) as session:
            return set(cases_of(session, opens, link.id, link.person))

    def linked(self, token: str) -> list[set[str]]:
        """The same of all that came to somebody."""
        mine = [r for r in self.far.requests if token in (r.query.get("access_token"), r.query.get("key"))]
        return [self.opens(request) for request in mine if "image" not in request.json]

    @staticmethod
    def text(request: Request) -> str:
        body = request.json["markdown"]
        return str(body.get("text") or body["content"])

    def deliveries(self, **where: Any) -> list[tuple[str, str, str, str]]:
        """(person, about, state, code), in the order in which they were made."""
        with reading(self.engine) as session:
            rows = session.scalars(select(Delivery).filter_by(**where).order_by(Delivery.id))
            return [(row.person, row.about, row.state, row.code) for row in rows]

    def ledger(self, case: str) -> list[tuple[str, dict[str, Any]]]:
        with reading(self.engine) as session:
            rows = session.scalars(select(Ledger).where(Ledger.case == case).order_by(Ledger.n))
            return [(row.action, row.detail) for row in rows]

    def jobs(self) -> list[tuple[str, str]]:
        with reading(self.engine) as session:
            rows = session.scalars(select(Job).where(self._kinds).order_by(Job.kind, Job.key))
            return [(job.kind, job.key) for job in rows]
