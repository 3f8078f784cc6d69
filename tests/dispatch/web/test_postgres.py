"""The same pages on PostgreSQL, where SQL is read more strictly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from broker.dispatch.clock import ManualClock
from broker.dispatch.database import migrate, open_engine, transaction
from broker.dispatch.tables import Session, Shift
from broker.dispatch.web.auth import Sessions
from broker.dispatch.web.links import Opens
from tests.dispatch.web.builders import START, Bench, jpeg, serving
from tests.servers import Postgres

DAY_S = 86_400.0


@pytest.fixture
def on_postgres(tmp_path: Path) -> Iterator[Bench]:
    with Postgres(durable=False) as server:
        engine = open_engine(server.database())
        migrate(engine)
        bench = Bench(tmp_path, engine, ManualClock(START))
        with serving(bench):
            yield bench
        engine.dispose()


def test_every_page_and_step(on_postgres: Bench) -> None:
    bench = on_postgres
    with transaction(bench.engine) as db:
        db.add(Shift(id="night", site="north", name="夜班", start=1200, end=480))
    alarm = bench.alarm()
    case = bench.case_of(alarm).id
    sha256 = bench.keep(alarm, jpeg())
    reader = bench.reader()
    assert reader.log_in("wa\0ng", "wrong").status_code == 403
    assert reader.log_in("wang").status_code == 303
    for step in ("take", "done", "answer", "note", "important"):
        assert reader.submit(f"/cases/{case}/{step}", {"text": "so", "on": "1"}).status_code == 303, step
    officer = bench.logged_in("chen")
    ledger = "/ledger?site=north&rule=helmet&state=answered&start=2026-09-01&end=2026-10-01"
    pages = ("/", "/open", "/overdue", ledger, "/ledger.csv", "/ledger.xlsx", "/handover?site=north",
             f"/cases/{case}?verify=1", f"/evidence/{alarm}/{sha256}?small=1")  # fmt: skip
    assert {path: officer.get(path).status_code for path in pages} == dict.fromkeys(pages, 200)
    assert case in officer.get(ledger).text
    link, phone = f"/m/{bench.message(bench.officer, case, bench.case())}", bench.reader()
    opened = (link, f"{link}/evidence/{alarm}/{sha256}", "/", f"/cases/{case}", f"/evidence/{alarm}/{sha256}")
    assert phone.get(link).status_code == 200
    assert phone.post(link, data={"case": case}).status_code == 303
    assert {path: phone.get(path).status_code for path in opened} == dict.fromkeys(opened, 200)
    admin = bench.logged_in("root")
    for path in ("/admin", "/admin/sites/north", f"/admin/people/{bench.foreman}", "/admin/audit"):
        assert admin.get(path).status_code == 200, path
    assert officer.submit(f"/cases/{case}/close", {"text": "seen myself"}).status_code == 303
    bench.clock.advance(31 * DAY_S)
    with transaction(bench.engine) as db:
        assert bench.store.expire(db, bench.clock.now()) == 1


def test_a_button_of_a_link_that_is_tapped_twice_opens_one_session(on_postgres: Bench) -> None:
    bench = on_postgres
    token = bench.message(bench.foreman, bench.case(), case := bench.case())
    link = bench.links.read(token, bench.clock.now(), Opens.MESSAGE)
    answers: list[int] = []

    def tap() -> None:
        answers.append(bench.reader().post(f"/m/{token}", data={"case": case}).status_code)

    second = threading.Thread(target=tap)
    with transaction(bench.engine) as db:  # the first, which is not through yet
        Sessions().open_link(db, link, bench.links.cookie(link), bench.clock.now())
        second.start()
        second.join(1.0)
        assert answers == [], "it waits for this transaction"
    second.join()
    assert answers == [303]
    with transaction(bench.engine) as db:
        assert db.scalar(select(func.count()).select_from(Session)) == 1
