"""The same on PostgreSQL: what locks and compares otherwise there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.dispatch.cases import Answer, Done, Take
from broker.dispatch.database import migrate, open_engine
from broker.dispatch.notify.asking import EVERY_SITE
from broker.dispatch.tables import Site
from tests.dispatch.due import run_due
from tests.dispatch.notify.stubs import Service
from tests.dispatch.notify.yard import BAD_TOKEN, Yard
from tests.servers import Postgres


@pytest.fixture
def yard(robots_service: Service, tmp_path: Path) -> Iterator[Yard]:
    with Postgres() as server:
        engine = open_engine(server.database())
        migrate(engine)
        robots_service.requests.clear()
        yield Yard(engine, robots_service, tmp_path)
        engine.dispose()


def test_every_kind_of_message_and_several_workers_at_once(yard: Yard) -> None:
    yard.change(Site, "east", repeat_min=[2], storm_per_10min=50)
    yard.answers["boss"] = [BAD_TOKEN]
    yard.ask("handover", EVERY_SITE, yard.clock.now())
    case = yard.event(alarm="a")
    yard.event(place="late", rule="barrier", age_s=1200)
    yard.run(1200)
    yard.do(case, Take(), "li")
    yard.do(case, Done("done"), "li")
    yard.do(case, Answer("done"), "li")
    yard.clear(alarm="a")
    yard.run(12 * 3600)
    abouts = {about for _, about, state, _ in yard.deliveries() if state == "sent"}
    assert abouts == {"raised", "late", "repeat", "escalation", "cleared", "feedback", "handover"}
    assert ("boss", "escalation", "given_up", "bad_token:300001") in yard.deliveries()
    assert yard.deliveries(state="waiting") == []

    yard.told()
    for n in range(20):
        yard.event(rule=f"rule_{n}")
    yard.clock.advance(3)

    def work() -> None:
        while run_due(yard.engine, yard.handlers, yard.clock, 3):
            pass

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    yard.run(10)
    told = yard.told()
    assert set(told) == {"wang"}, "it is morning by now"
    assert len(told["wang"]) == len(set(told["wang"])) == 20
