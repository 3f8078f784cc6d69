"""What a report is made from, for tests: InfluxDB with a made-up month, dispatch's database and evidence beside it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from PIL import Image, ImageDraw
from sqlalchemy import Engine

from broker.dispatch import desk
from broker.dispatch.cases import FalseAlarm
from broker.dispatch.clock import ManualClock
from broker.dispatch.database import migrate, open_engine, transaction
from broker.dispatch.evidence import Store
from broker.dispatch.tables import Node, Site
from dashboards.report.document import Origin, document
from dashboards.report.evidence import ContactSheet, SiteFacts
from dashboards.report.figures import CaseFigures, Figures, OpenFigures, PlaceFigures, RuleFigures, Stretch, Sums, Watch
from dashboards.report.month import Month
from dashboards.report.values import Document
from dashboards.text import Language, rule_names
from tests.dispatch.web.builders import Bench


def photo(number: int, size: tuple[int, int] = (1280, 720)) -> bytes:
    """A picture that is not like another."""
    rng = np.random.default_rng(number)
    small = Image.fromarray(rng.integers(60, 200, (9, 16, 3), dtype=np.uint8)).resize(size, Image.Resampling.BILINEAR)
    ImageDraw.Draw(small).text((40, 40), f"No. {number}", fill="white", font_size=size[1] // 5)
    out = io.BytesIO()
    small.save(out, "JPEG")
    return out.getvalue()


class Desk:
    """Dispatch's database and store with sites in it; cases come of real alarm messages."""

    def __init__(self, folder: Path, now: float) -> None:
        self.folder = folder / "evidence"
        self.engine: Engine = open_engine(f"sqlite:///{folder / 'dispatch.db'}")
        migrate(self.engine)
        self.clock = ManualClock(now)
        self._bench = Bench(folder, self.engine, self.clock)
        self.store: Store = self._bench.store
        self._pictures = 0

    def site(self, site: str, name: str, zone: str, nodes: Iterable[str] = (), language: str = "en") -> None:
        with transaction(self.engine) as db:
            db.add(Site(id=site, name=name, time_zone=zone, language=language))
            db.add_all([Node(site=site, id=node, heard_at=self.clock.now()) for node in nodes])

    def case(
        self, site: str, at: float, *, picture: bool = True, size: tuple[int, int] = (1280, 720), **fields: Any
    ) -> str:
        """A case opened at `at`, with a picture of its alarm; gives the case's id."""
        self.clock.advance(at - self.clock.now())
        alarm = self._bench.alarm(site, fields.pop("node", "n-1"), **fields)
        if picture:
            self._pictures += 1
            content = photo(self._pictures, size)
            sha256 = hashlib.sha256(content).hexdigest()
            self.store.write(alarm, sha256, "snapshot", content)
            with transaction(self.engine) as db:
                self.store.put(
                    db, site=site, node=fields.get("node", "n-1"), alarm=alarm, sha256=sha256, kind="snapshot",
                    size=len(content), now=at,
                )  # fmt: skip
        return self._bench.case_of(alarm).id

    def expire(self, now: float) -> None:
        with transaction(self.engine) as db:
            assert self.store.expire(db, now)

    def false_alarm(self, case: str, reason: str) -> None:
        with transaction(self.engine) as db:
            desk.do(db, case, FalseAlarm(reason), self._bench.foreman, self.clock.now() + 60)


def invented(rules: int, places: int, language: Language, *, long: bool = False) -> Document:
    """A report of so many rules and places, without pictures. long: names as long and numbers as large as may be."""
    many = 900 * 3600 * 24 if long else 5000
    name = "x-" * 16 if long else "place"
    month = Month.parse("2026-03", ZoneInfo("Asia/Shanghai"))
    sums = Sums(many, many // 9, many // 7, many // 10)
    cases = CaseFigures(many, many, many, many, many, many, 301.5, many, many, many)
    known = list(rule_names(language)) if not long else ["y" * 64] * rules
    whole = sums if rules else Sums()
    figures = Figures(
        site="yard",
        month=month,
        until=month.stop,
        total=whole,
        before=whole,
        alarms=many,
        alarms_before=1,
        cases=cases if rules else CaseFigures(),
        cases_before=CaseFigures(),
        open=OpenFigures(many, many, many) if rules else None,
        open_before=None,
        rules=tuple(RuleFigures(rule, sums, Sums(1), 744, many, cases) for rule in known[:rules]),
        places=tuple(PlaceFigures(name[:32], name[:32], known[0], many, 0.5, None) for _ in range(places)),
        days=dict.fromkeys(month.days, whole),
        hours=dict.fromkeys(range(24), whole),
        watch={f"{name}{n}"[:32]: dict.fromkeys(Watch, 186) for n in range(places)},
        gaps=tuple(Stretch(name[:32], Watch.SILENT, month.start, month.stop) for _ in range(places)),
    )
    site = SiteFacts("yard", "南京东路雨污分流改造工程" * (8 if long else 1), month.zone.key, language, 30, ())
    origin = Origin("influx.example.org", "banksman")
    return document(figures, ContactSheet((), 0, 0, 0), site, origin=origin, now=month.stop, language=language)
