"""From the camera to the answer, with the parts that run in production, each as a program of its own."""

from __future__ import annotations

import io
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from broker.dispatch import ledger
from broker.dispatch.database import reading
from broker.dispatch.tables import Case, Event, Ledger
from broker.dispatch.text import catalogue
from broker.messages import case_topic
from tests.kill.harness import waiting_in
from tests.waiting import until
from tests.whole.plant import NODE, SITE, Plant

PATIENCE_S = 60.0
T = catalogue("en")
FACES = ((112, 432, 152, 470), (268, 430, 303, 462))
"""Of the two people who look into the camera: from the brow down, in pixels of `Plant.people`."""
HOUSE = (0, 0, 810, 300)
"""Above everybody's head."""


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with Plant(tmp_path_factory.mktemp("plant")) as plant:
        plant.leave()
        yield plant


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": 360, "height": 740},
        has_touch=True,
        is_mobile=True,
        ignore_https_errors=True,
        locale="en",
    )
    context.set_default_timeout(PATIENCE_S * 1000)
    yield context.new_page()
    context.close()


def open_case(plant: Plant, **columns: object) -> Case:
    until(lambda: plant.case(**columns), f"a case of {columns}\n{plant.worker.log()}", PATIENCE_S)
    found = plant.case(**columns)
    assert found is not None
    return found


def detail(picture: np.ndarray, box: tuple[int, int, int, int], scale: float) -> float:
    """How much there is to see in a part of a picture: variance of its Laplacian."""
    x1, y1, x2, y2 = (int(v * scale) for v in box)
    grey = cv2.cvtColor(picture[y1:y2, x1:x2], cv2.COLOR_BGR2GRAY)
    return float(cv2.Laplacian(cv2.resize(grey, (x2 - x1, y2 - y1)), cv2.CV_64F).var())


def assert_nobody_can_be_recognised(plant: Plant, jpeg: bytes) -> None:
    seen = cv2.cvtColor(np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")), cv2.COLOR_RGB2BGR)
    scale = seen.shape[0] / plant.people.shape[0]
    there = cv2.resize(plant.people, (seen.shape[1], seen.shape[0]), interpolation=cv2.INTER_AREA)
    for face in FACES:
        assert detail(seen, face, scale) < 0.3 * detail(there, face, scale)
    assert detail(seen, HOUSE, scale) > 0.6 * detail(there, HOUSE, scale)


def the_picture(plant: Plant, page: Page) -> bytes:
    """What the phone shows of the case, once it has come."""

    def shown() -> bool:
        page.reload()
        return page.locator(".picture img").count() == 1

    until(shown, f"a picture\n{plant.pages.log()}", PATIENCE_S)
    picture = page.locator(".picture img")
    # Not `wait_for_function`: from its second try on it evaluates a string, which the page's own policy forbids.
    until(lambda: picture.evaluate("image => image.naturalWidth"), "the picture is drawn", PATIENCE_S)
    box = picture.bounding_box()
    assert box is not None
    assert 200 < box["width"] <= 360
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    answer = page.request.get(f"{plant.url}{picture.get_attribute('src')}")
    assert answer.ok
    return answer.body()


def press(page: Page, key: str) -> None:
    page.get_by_role("button", name=T(key), exact=True).click()


def write(page: Page, step: str, text: str) -> None:
    page.locator("summary", has_text=re.compile(f"^{T(f'web.do.{step}')}$")).click()
    page.get_by_label(T(f"web.ask.{step}")).fill(text)
    press(page, f"web.do.{step}")


@pytest.mark.timeout(600)  # many programs start, on a machine that may have other work
def test_an_alarm_is_seen_told_taken_done_answered_and_closed(plant: Plant, phone: Page) -> None:
    with plant.siren() as siren, plant.node() as node:
        siren.subscribe(f"banksman/1/{SITE}/-/case/+")
        plant.work()
        told = plant.wecom.message(T("rule.helmet.alarm"))
        case = open_case(plant, rule="helmet")
        until(lambda: plant.wecom.pictures, "a picture goes with the message", PATIENCE_S)
        assert_nobody_can_be_recognised(plant, plant.wecom.pictures[0])
        topic, payload = siren.next()
        assert (topic, b'"open"' in payload) == (case_topic(SITE, case.id), True)

        phone.goto(plant.wecom.link(told))
        assert plant.case(id=case.id, assigned_at=None) is not None  # a GET takes nothing
        press(phone, "web.link.open")
        assert_nobody_can_be_recognised(plant, the_picture(plant, phone))
        press(phone, "web.do.take")
        expect(phone.locator(".bigclock")).to_contain_text("王强")

        plant.worker.kill()
        plant.pages.kill()
        plant.leave()  # the node tells nobody but the broker that it is over
        until(lambda: node.log().rpartition("alarm ")[2].startswith("cleared"), "the node sees it", PATIENCE_S)
        plant.worker.start()
        plant.pages.start()
        until(lambda: plant.case(id=case.id, alarm_state="cleared"), "dispatch hears of it", PATIENCE_S)
        plant.wecom.message(T("notify.title.cleared", what=T("rule.helmet.alarm"), where="").strip(" |"))

        phone.reload()
        write(phone, "done", "安全帽已发放")
        write(phone, "answer", "told the caller")
        press(phone, "web.do.close")
        expect(phone.locator(".bigclock")).to_contain_text(T("web.state.closed"))

        until(lambda: siren.next() == (topic, b""), "the case goes from the broker", PATIENCE_S)
        assert node.end() == 0
    assert waiting_in(plant.journal) == 0
    with reading(plant.engine) as session:
        assert ledger.verify(session, case.id) == []
        lines = session.query(Ledger).filter_by(case=case.id).order_by(Ledger.n).all()
        assert [line.action for line in lines if line.actor == "wang"] == ["taken", "done", "answered", "closed"]
        assert lines[0].action == "opened"
        assert [line.action for line in lines if line.actor == f"node:{NODE}"][-1] == "cleared"
        stored = {event.id for event in session.query(Event).filter_by(node=NODE)}
    assert stored == sent(plant.journal)


def sent(journal: Path) -> set[str]:
    """Ids of all events that the node ever wrote."""
    with sqlite3.connect(journal) as db:
        return {row[0] for row in db.execute("SELECT id FROM alarm_event")}


@pytest.mark.timeout(600)
def test_a_node_that_dies_is_a_case_and_nobody_relies_on_its_cases(plant: Plant) -> None:
    with plant.node() as node:
        plant.work()
        before = open_case(plant, rule="helmet", alarm_state="active")
        node.kill()
        silent = open_case(plant, rule="node_health", node=NODE, state="open")
        assert plant.case(id=before.id, unverified=True) is not None
        assert silent.source == "-"
        assert "/l/" in plant.wecom.link(plant.wecom.message(T("rule.node_health.alarm")))
        node.start()
        until(lambda: plant.case(id=silent.id, alarm_state="cleared"), "it is back", PATIENCE_S)
        until(lambda: plant.case(id=before.id, unverified=False), "it judges again", PATIENCE_S)
