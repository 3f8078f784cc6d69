"""What a report is made from, for tests: InfluxDB with a made-up month, dispatch's database and evidence beside it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from sqlalchemy import Engine

from broker.dispatch import intake
from broker.dispatch.clock import ManualClock
from broker.dispatch.database import migrate, open_engine, transaction
from broker.dispatch.evidence import Store
from broker.dispatch.tables import Case, Node, Site
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
