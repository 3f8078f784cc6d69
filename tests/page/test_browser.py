"""The page in real Chromium: on a phone (touch) and at a desk, in Chinese and English."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, FloatRect, Locator, Page, expect

from broker.embedded import free_port
from edge.page.app import create_app
from edge.page.server import PageServer
from edge.site.model import Page as PageSettings
from edge.site.model import Zone
from edge.text import LANGUAGES, catalogue
from edge.values import CameraCause, CameraState, Image, Instance, Reason, Verdict
from tests.browser import FAINT_TEXTS
from tests.page.builders import (
    FENCE,
    HEIGHT,
    HELMET,
    HI_VIS,
    INTRUSION,
    PASSWORD,
    WIDTH,
    BenchNode,
    clip,
    jpeg,
    judged,
    place,
)
from tests.page.conftest import Stand

SIZES: dict[str, dict[str, Any]] = {
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
    "desk": {"viewport": {"width": 1366, "height": 900}},
}
TAP_PX = 44
PATHS = ("/", "/zones/gate", "/alarms", "/alarms/{alarm}", "/compliance", "/health", "/nothing")


@dataclass
class Visit:
    """A browser at the page, and what it had to complain about."""

    page: Page
    context: BrowserContext
    url: str
    complaints: list[str]
    asked: list[str]

    def go(self, path: str, language: str = "en") -> Page:
        self.page.goto(f"{self.url}{path}{'&' if '?' in path else '?'}lang={language}")
        return self.page


@pytest.fixture
def visit(browser: Browser, url: str, size: str) -> Iterator[Visit]:
    """Nothing may be complained about, and nothing fetched from elsewhere, in any test."""
    context = browser.new_context(**SIZES[size])
    context.set_default_timeout(10_000)
    page = context.new_page()
    visit = Visit(page, context, url, [], [])
    page.on("console", lambda m: visit.complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    page.on("request", lambda request: visit.asked.append(request.url))
    yield visit
    context.close()
    assert visit.complaints == []
    assert [a for a in visit.asked if not a.startswith(f"{url}/")] == []


on_phone = pytest.mark.parametrize("size", ["phone"])
at_desk = pytest.mark.parametrize("size", ["desk"])
everywhere = pytest.mark.parametrize("size", list(SIZES))


def fill(node: BenchNode) -> str:
    """Something to show on every page; gives the id of an alarm."""
    node.look(judged((320, 180, 640, 540), HELMET, Verdict.VIOLATION, Reason.BARE))
    node.places = (
        place(HELMET, Verdict.VIOLATION, Reason.BARE, subjects=3, violating=1, alarm="a"),
        place(HI_VIS, Verdict.UNKNOWN, Reason.TOO_DARK),
        place(FENCE, Verdict.OK, Reason.SEEN),
        place(INTRUSION, None, None),
    )
    alarm = node.raise_alarm()
    node.keep_evidence(alarm, "snapshot", jpeg())
    node.keep_evidence(alarm, "clip", clip())
    node.raise_alarm(FENCE, Reason.ABSENT)
    node.tally(HELMET, 540, 60, 400)
    node.tally(Instance("gate", "pit-edge", "helmet"), 300, 0, 0, minutes_ago=3)
    node.camera("yard", CameraState.LOST, CameraCause.REFUSED, "10.0.0.21:554 refused")
    return alarm.alarm


# -- every page --------------------------------------------------------------------------------------------------

SMALL_TARGETS = """(least) => [...document.querySelectorAll("a, button, input, select, summary, video, [role=button]")]
  .filter((e) => e.checkVisibility() && !e.matches(".skip, [type=hidden], polygon"))
  .map((e) => [e, e.getBoundingClientRect()])
  .filter(([, r]) => r.width < least - 0.5 || r.height < least - 0.5)
  .map(([e, r]) => `${e.outerHTML.slice(0, 90)} ${r.width.toFixed(0)}x${r.height.toFixed(0)}`)"""

UNREAD = "script, noscript, svg, :disabled, .skip, .hidden"


@everywhere
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_fits_can_be_read_and_be_tapped(visit: Visit, node: BenchNode, language: str, size: str) -> None:
    alarm = fill(node)
    for path in PATHS:
        page = visit.go(path.format(alarm=alarm), language)
        if path == "/":
            expect(page.locator(".tag")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["viewport"]["width"], path
        assert page.evaluate("document.documentElement.lang") == language, path
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(FAINT_TEXTS, UNREAD) == [], f"{path} {scheme}"
        if size == "phone":
            assert page.evaluate(SMALL_TARGETS, TAP_PX) == [], path
    assert PATHS[-1] == "/nothing"
    assert len(visit.complaints) == 1  # Chromium reports the 404 of the last page itself
    visit.complaints.clear()


@everywhere
def test_language_is_switched_by_one_tap_and_stays(visit: Visit, node: BenchNode, size: str) -> None:
    page = visit.go("/compliance?hours=8")
    page.get_by_role("link", name="中文").click()
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert "hours=8" in page.url
    page.get_by_role("link", name="告警").click()
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    page.get_by_role("link", name="English").click()
    assert page.evaluate("document.documentElement.lang") == "en"


# -- live --------------------------------------------------------------------------------------------------------


def screenshot(part: Locator) -> Image:
    return np.asarray(cv2.imdecode(np.frombuffer(part.screenshot(), dtype=np.uint8), cv2.IMREAD_COLOR), dtype=np.uint8)


def within(inner: Locator, outer: Locator) -> tuple[float, float, float, float]:
    """Where a shape, without its outline, is on the screen; relative to a part of the page."""
    frame = outer.bounding_box()
    assert frame is not None
    x, y, width, height = inner.evaluate(
        "e => { const b = e.getBBox(), m = e.getScreenCTM(); "
        "return [m.a * b.x + m.e, m.d * b.y + m.f, m.a * b.width, m.d * b.height]; }"
    )
    return (
        (x - frame["x"]) / frame["width"],
        (y - frame["y"]) / frame["height"],
        width / frame["width"],
        height / frame["height"],
    )


@everywhere
def test_live_picture_and_boxes_are_where_they_belong(visit: Visit, node: BenchNode, size: str) -> None:
    node.look(
        judged((320, 180, 640, 540), HELMET, Verdict.VIOLATION, Reason.BARE),
        judged((896, 360, 1152, 684), HELMET, Verdict.UNKNOWN, Reason.OCCLUDED),
        judged((64, 72, 192, 288), HELMET, Verdict.OK, Reason.SEEN),
    )
    page = visit.go("/")
    stage = page.locator("[data-camera=gate] .stage")
    expect(stage.locator("rect.v-violation")).to_be_visible()
    shown = screenshot(stage)
    height, width = shown.shape[:2]
    assert abs(width / height - WIDTH / HEIGHT) < 0.03
    bright = shown[height // 3, int(0.55 * width)]
    dark = shown[int(0.9 * height), width // 2]
    assert bright.min() > 230  # the rectangle of the picture
    assert abs(int(dark[0]) - 120) < 12
    for kind, box in {
        "violation": (0.25, 0.25, 0.25, 0.5),
        "unknown": (0.7, 0.5, 0.2, 0.45),
        "ok": (0.05, 0.1, 0.1, 0.3),
    }.items():
        assert within(stage.locator(f"rect.v-{kind}"), stage) == pytest.approx(box, abs=0.012)
    blue, green, red = shown[int(0.3 * height), round(0.25 * width)]  # on the left edge of the violation
    assert red > 200
    assert max(blue, green) < 130


@everywhere
def test_verdicts_are_told_by_word_and_shape_not_by_colour_alone(visit: Visit, node: BenchNode, size: str) -> None:
    fill(node)
    node.look(
        judged((320, 180, 640, 540), HELMET, Verdict.VIOLATION, Reason.BARE),
        judged((896, 360, 1152, 684), HI_VIS, Verdict.UNKNOWN, Reason.OCCLUDED),
    )
    page = visit.go("/")
    text = catalogue("en")
    expect(page.locator(".tag.v-violation")).to_contain_text(text("reason.bare"))
    expect(page.locator(".tag.v-unknown")).to_contain_text(text("reason.occluded"))
    assert page.locator("rect.v-unknown").evaluate("e => getComputedStyle(e).strokeDasharray") != "none"
    assert page.locator("rect.v-violation").evaluate("e => getComputedStyle(e).strokeDasharray") == "none"
    shapes = [
        page.locator(f"[data-camera=gate] .row.v-{v} .icon path").first.get_attribute("d")
        for v in ("ok", "violation", "unknown", "idle")
    ]
    assert len(set(shapes)) == 4
    for verdict in ("ok", "violation", "unknown"):
        icon = page.locator(f"[data-camera=gate] .row.v-{verdict} .icon")
        assert icon.get_attribute("aria-label") == text(f"verdict.{verdict}")


@everywhere
def test_labels_of_a_crowd_do_not_cover_each_other(visit: Visit, node: BenchNode, size: str) -> None:
    crowd = [(60 * n + 10, 200 + 13 * (n % 5), 60 * n + 90, 520) for n in range(20)]
    node.look(*(judged(box, HELMET, Verdict.VIOLATION, Reason.BARE) for box in crowd))
    page = visit.go("/")
    expect(page.locator("rect.v-violation")).to_have_count(20)
    stage = page.locator("[data-camera=gate] .stage").bounding_box()
    tags = [b for tag in page.locator(".tag").all() if (b := tag.bounding_box()) is not None]
    assert stage is not None
    assert len(tags) >= 3
    for tag in tags:
        assert stage["x"] - 1 <= tag["x"]
        assert tag["x"] + tag["width"] <= stage["x"] + stage["width"] + 1
        assert stage["y"] - 1 <= tag["y"]
        assert tag["y"] + tag["height"] <= stage["y"] + stage["height"] + 1
    for a, b in itertools.combinations(tags, 2):
        apart_x = a["x"] + a["width"] <= b["x"] + 1 or b["x"] + b["width"] <= a["x"] + 1
        apart_y = a["y"] + a["height"] <= b["y"] + 1 or b["y"] + b["height"] <= a["y"] + 1
        assert apart_x or apart_y


@on_phone
def test_new_frames_replace_old_ones_and_alarms_are_counted(visit: Visit, node: BenchNode, size: str) -> None:
    node.look(judged((320, 180, 640, 540), HELMET, Verdict.VIOLATION, Reason.BARE))
    page = visit.go("/")
    expect(page.locator("#calm")).to_contain_text("No open alarm")
    expect(page.locator("rect.v-violation")).to_be_visible()
    node.places = (place(HELMET, Verdict.VIOLATION, Reason.BARE, alarm="a"), place(FENCE, None, None, alarm="b"))
    node.look(judged((64, 72, 192, 288), HELMET, Verdict.OK, Reason.SEEN))
    expect(page.locator("rect.v-violation")).to_have_count(0)
    expect(page.locator("rect.v-ok")).to_be_visible()
    expect(page.locator("#calm")).to_contain_text("2 open alarms")


@everywhere
def test_a_blind_camera_says_so_over_the_picture_and_comes_back(visit: Visit, node: BenchNode, size: str) -> None:
    node.look(judged((320, 180, 640, 540), HELMET, Verdict.VIOLATION, Reason.BARE))
    page = visit.go("/")
    card = page.locator("[data-camera=gate]")
    expect(card.locator("rect.v-violation")).to_be_visible()
    node.camera("gate", CameraState.LOST, CameraCause.AUTH, "10.0.0.20: 401")
    text = catalogue("en")
    trouble = card.locator(".trouble")
    expect(trouble).to_be_visible()
    for told in (text("camera_state.lost"), text("cause.auth"), text("cause_do.auth"), "10.0.0.20: 401"):
        expect(trouble).to_contain_text(told)
    expect(card.locator("rect.v-violation")).to_have_count(0)
    clipped = trouble.evaluate("e => e.getBoundingClientRect().bottom - e.parentElement.getBoundingClientRect().bottom")
    assert clipped <= 1  # however long the advice is, all of it is to be read
    node.camera("gate", CameraState.LIVE)
    node.look(judged((320, 180, 640, 540), HELMET, Verdict.OK, Reason.SEEN))
    expect(trouble).to_be_hidden()
    expect(card.locator("rect.v-ok")).to_be_visible()


@everywhere
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_lost_camera_takes_the_calm_out_of_the_headline(
    visit: Visit, node: BenchNode, language: str, size: str
) -> None:
    text = catalogue(language)
    node.look()
    page = visit.go("/", language)
    headline = page.locator("#calm")
    expect(headline.locator("b")).to_have_text(text("page.live.calm"))
    expect(headline.locator(".icon.v-ok")).to_be_visible()
    calm = headline.evaluate("e => getComputedStyle(e).backgroundColor")
    node.camera("yard", CameraState.LOST, CameraCause.REFUSED)
    node.look()
    expect(headline.locator("b")).to_have_text(text("page.live.blind_one"))
    expect(headline.locator(".icon.v-unknown")).to_be_visible()
    expect(headline.locator(".icon.v-ok")).to_be_hidden()
    assert headline.evaluate("e => getComputedStyle(e).backgroundColor") != calm
    node.camera("yard", CameraState.LIVE)
    node.look()
    expect(headline.locator("b")).to_have_text(text("page.live.calm"))
    expect(headline.locator(".icon.v-unknown")).to_be_hidden()


@at_desk
def test_a_node_that_is_gone_is_noticed_and_found_again(
    browser: Browser, node: BenchNode, stand: tuple[Stand, str], size: str
) -> None:
    settings = PageSettings(port=free_port())
    node.look()
    first = PageServer(create_app(node, settings, node.clock), settings)
    first.start()
    context = browser.new_context(**SIZES[size])
    page = context.new_page()
    page.goto(f"{first.url}?lang=en")
    chip = page.locator("[data-camera=gate] [data-chip]")
    expect(page.locator("[data-camera=gate] canvas")).to_be_visible()
    first.stop()
    expect(chip).to_have_text("No connection to the node. Trying again…")
    assert "grayscale" in page.locator("[data-camera=gate] canvas").evaluate("e => getComputedStyle(e).filter")
    second = PageServer(create_app(node, settings, node.clock), settings)
    second.start()
    expect(chip).to_have_text(catalogue("en")("camera_state.live"), timeout=10_000)
    assert page.locator("[data-camera=gate] canvas").evaluate("e => getComputedStyle(e).filter") == "none"
    context.close()
    second.stop()


@at_desk
def test_no_more_than_five_pictures_a_second(visit: Visit, node: BenchNode, size: str) -> None:
    stop = threading.Event()

    def thirty_a_second() -> None:
        while not stop.wait(1 / 30):
            node.look()

    with ThreadPoolExecutor(1) as pool:
        pump = pool.submit(thirty_a_second)
        page = visit.go("/")
        expect(page.locator("[data-camera=gate] canvas")).to_be_visible()
        before = len(visit.asked)
        page.wait_for_timeout(2000)
        asked = [a for a in visit.asked[before:] if "/live/gate" in a]
        stop.set()
        pump.result()
    assert 2 <= len(asked) <= 11


@on_phone
def test_cameras_out_of_sight_are_not_asked_for(visit: Visit, node: BenchNode, size: str) -> None:
    visit.page.set_viewport_size({"width": 390, "height": 420})
    node.look()
    page = visit.go("/")
    expect(page.locator("[data-camera=gate] canvas")).to_be_visible()
    assert not [a for a in visit.asked if "/live/yard" in a]
    with page.expect_request("**/live/yard?*"):
        page.locator("[data-camera=yard]").scroll_into_view_if_needed()


# -- zones -------------------------------------------------------------------------------------------------------


def grip(page: Page, n: int) -> tuple[float, float]:
    """The middle of a corner's handle, in CSS pixels of the window."""
    box = page.locator(f"[data-point='{n}']").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def canvas(page: Page) -> FloatRect:
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    return box


def save(page: Page) -> None:
    page.locator("#save").click()
    expect(page.locator("#state")).to_contain_text(catalogue("en")("page.editor.saved"))


def trench(node: BenchNode) -> list[tuple[float, float]]:
    """The corners on disk."""
    return node.on_disk().camera("gate").zones[0].polygon


def drag(visit: Visit, start: tuple[float, float], end: tuple[float, float], *, touch: bool) -> None:
    (x1, y1), (x2, y2) = start, end
    steps = [(x1 + (x2 - x1) * i / 8, y1 + (y2 - y1) * i / 8) for i in range(1, 9)]
    if not touch:
        mouse = visit.page.mouse
        mouse.move(x1, y1)
        mouse.down()
        for x, y in steps:
            mouse.move(x, y)
        mouse.up()
        return
    finger = visit.context.new_cdp_session(visit.page)
    finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x1, "y": y1}]})
    for x, y in steps:
        finger.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y}]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@everywhere
def test_a_corner_is_dragged_and_saved(visit: Visit, node: BenchNode, size: str) -> None:
    node.look()
    page = visit.go("/zones/gate")
    area = canvas(page)
    start = grip(page, 0)
    assert start == pytest.approx((area["x"] + 0.2 * area["width"], area["y"] + 0.2 * area["height"]), abs=1)
    # Taken a little beside its middle, as a finger does: the corner must move by as much as the finger, not jump.
    aim = (start[0] + 9, start[1] - 7)
    drag(visit, aim, (aim[0] - 0.1 * area["width"], aim[1] + 0.15 * area["height"]), touch=size == "phone")
    assert node.site().camera("gate").zones[0].polygon[0] == (0.2, 0.2)  # nothing is written before "save"
    save(page)
    pixel = 1.5 / area["height"]
    assert trench(node)[0] == pytest.approx((0.1, 0.35), abs=pixel)
    assert trench(node)[1:] == [(0.8, 0.2), (0.8, 0.8), (0.2, 0.8)]
    other = node.on_disk().camera("gate").zones[1]
    assert (other.id, other.hours[0].start.hour) == ("pit-edge", 19)
    page.reload()
    x, _ = grip(page, 0)
    assert (x - canvas(page)["x"]) / area["width"] == pytest.approx(0.1, abs=pixel)


@everywhere
def test_a_corner_cannot_leave_the_picture(visit: Visit, node: BenchNode, size: str) -> None:
    node.look()
    page = visit.go("/zones/gate")
    x, y = grip(page, 0)
    drag(visit, (x, y), (x + 30, canvas(page)["y"] - 60), touch=size == "phone")
    save(page)
    assert trench(node)[0][1] == 0.0


@everywhere
def test_a_point_between_two_corners_becomes_a_corner(visit: Visit, node: BenchNode, size: str) -> None:
    node.look()
    page = visit.go("/zones/gate")
    area = canvas(page)
    middle = (area["x"] + 0.5 * area["width"], area["y"] + 0.2 * area["height"])
    drag(visit, middle, (middle[0], middle[1] - 0.1 * area["height"]), touch=size == "phone")
    save(page)
    assert len(trench(node)) == 5
    assert trench(node)[1] == pytest.approx((0.5, 0.1), abs=1.5 / area["height"])


@at_desk
def test_the_keyboard_does_it_all(visit: Visit, node: BenchNode, size: str) -> None:
    node.look()
    page = visit.go("/zones/gate")
    page.locator("[data-point='0']").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Shift+ArrowDown"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.dataset.point") == "0"
    assert "21 %" in str(page.locator("[data-point='0']").get_attribute("aria-label"))
    page.keyboard.press("Tab")
    page.keyboard.press("Delete")
    page.locator("[data-add='0']").focus()
    page.keyboard.press("Enter")
    page.locator("#name").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("沟槽")
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_contain_text("Saved")
    zone = node.on_disk().camera("gate").zones[0]
    assert zone.name == "沟槽"
    assert zone.polygon[0] == pytest.approx((0.21, 0.23))
    assert zone.polygon[1] == pytest.approx((0.505, 0.515))  # between the first and what was the third corner
    assert zone.polygon[2:] == [(0.8, 0.8), (0.2, 0.8)]


@on_phone
def test_a_new_zone_is_drawn_named_and_another_removed(visit: Visit, node: BenchNode, size: str) -> None:
    node.look()
    page = visit.go("/zones/gate")
    page.get_by_role("button", name="pit-edge").last.click()
    page.get_by_role("button", name="Remove zone").click()
    page.get_by_role("button", name="New zone").click()
    page.locator("#kind").select_option("pit")
    page.locator("#name").fill("Cable pit")
    page.locator("#id").fill("cable-pit")
    save(page)
    zones = node.on_disk().camera("gate").zones
    assert [(z.id, z.name, z.kind, len(z.polygon)) for z in zones] == [
        ("trench", "Trench", "work", 4),
        ("cable-pit", "Cable pit", "pit", 4),
    ]


@everywhere
def test_names_of_zones_and_fixtures_stay_inside_the_picture(visit: Visit, node: BenchNode, size: str) -> None:
    node.look()
    corner = [(1.0, 0.0), (1.0, 0.3), (0.9, 0.3)]
    names = ["东侧沟槽临时支护及交通导改区域", "Excavation beside the east gate", "a name that is far too long, " * 2]
    zones = [Zone(id=f"z{n}", name=name, kind="work", polygon=corner) for n, name in enumerate(names)]
    zones.append(Zone(id="left", name="Left", kind="work", polygon=[(0.0, 1.0), (0.2, 1.0), (0.0, 0.9)]))
    node.save_zones("gate", zones, "en")
    page = visit.go("/zones/gate")
    expect(page.locator("#zones .name")).to_have_count(4)
    picture = canvas(page)
    for name in page.locator(".name").all():
        box = name.bounding_box()
        assert box is not None
        assert picture["x"] <= box["x"] + 1
        assert box["x"] + box["width"] <= picture["x"] + picture["width"] + 1
        assert picture["y"] <= box["y"] + 1
        assert box["y"] + box["height"] <= picture["y"] + picture["height"] + 1
    shown = page.locator("#zones .name").all_text_contents()
    assert shown[-1] == "Left"
    assert [s.rstrip("…") == s or n.startswith(s[:-1]) for n, s in zip(names, shown, strict=False)] == [True] * 3


@everywhere
@pytest.mark.parametrize("language", LANGUAGES)
def test_crossing_edges_are_said_when_they_are_saved(visit: Visit, node: BenchNode, language: str, size: str) -> None:
    node.look()
    page = visit.go("/zones/gate", language)
    area = canvas(page)
    # The first corner over the opposite edge: the edges to its neighbours now cross it.
    aim = (area["x"] + 0.5 * area["width"], area["y"] + 0.95 * area["height"])
    drag(visit, grip(page, 0), aim, touch=size == "phone")
    page.locator("#save").click()
    told = catalogue(language)("site.wrong.crossing", place="trench", edges="1-2 × 3-4")
    expect(page.locator("#errors")).to_have_text(told)
    expect(page.locator("#errors")).to_be_in_viewport(ratio=1.0)
    assert trench(node)[0] == (0.2, 0.2)
    visit.complaints.clear()  # the 422


@at_desk
def test_undo_goes_back_step_by_step(visit: Visit, node: BenchNode, size: str) -> None:
    node.look()
    page = visit.go("/zones/gate")
    drag(visit, grip(page, 0), (500, 500), touch=False)
    page.locator("#kind").select_option("pit")
    undo = page.get_by_role("button", name="Undo")
    undo.click()
    expect(page.locator("#kind")).to_have_value("work")
    expect(page.locator("#save")).to_be_enabled()
    undo.click()
    expect(undo).to_be_disabled()
    expect(page.locator("#save")).to_be_disabled()
    area = canvas(page)
    assert grip(page, 0) == pytest.approx((area["x"] + 0.2 * area["width"], area["y"] + 0.2 * area["height"]), abs=1)


@at_desk
def test_what_cannot_be_saved_is_said_and_nothing_is_lost(visit: Visit, node: BenchNode, size: str) -> None:
    node.look()
    page = visit.go("/zones/gate")
    errors = page.locator("#errors")
    page.locator("#id").fill("north-fence")
    page.locator("#save").click()
    expect(errors).to_contain_text("used twice")
    page.locator("#id").fill("trench-2")
    node.save_zones("gate", [], "en")  # by somebody else, meanwhile
    page.locator("#save").click()
    expect(errors).to_contain_text("Somebody else changed these zones")
    expect(page.locator("#id")).to_have_value("trench-2")
    assert node.on_disk().camera("gate").zones == []
    dialogs: list[str] = []

    def leave(dialog: Dialog) -> None:
        dialogs.append(dialog.type)
        dialog.accept()

    page.on("dialog", leave)
    page.get_by_role("link", name="Health").click()
    page.wait_for_url("**/health")
    assert dialogs == ["beforeunload"]
    visit.complaints.clear()  # the 409


# -- alarms, compliance, login -----------------------------------------------------------------------------------


@everywhere
def test_alarms_show_their_picture_and_clip(visit: Visit, node: BenchNode, size: str) -> None:
    fill(node)
    page = visit.go("/alarms")
    picture = page.locator(".alarm img")
    expect(picture).to_have_count(1)
    expect(picture).to_have_js_property("naturalWidth", WIDTH)
    page.locator(".alarm", has=page.locator("img")).click()
    expect(page.locator(".media img")).to_have_js_property("naturalWidth", WIDTH)
    video = page.locator("video")
    expect(video).to_have_js_property("videoWidth", 320)
    assert video.evaluate("v => v.duration") == pytest.approx(2.0, abs=0.2)
    video.evaluate(
        "v => new Promise((on) => { v.ontimeupdate = () => v.currentTime > 0.2 && on(); v.muted = true; v.play(); })"
    )


@on_phone
def test_an_alarm_appears_without_reloading(visit: Visit, node: BenchNode, size: str) -> None:
    page = visit.page
    page.clock.install()
    visit.go("/alarms")
    expect(page.locator("main")).to_contain_text("No alarms yet")
    node.raise_alarm()
    page.clock.run_for(10_500)
    expect(page.locator(".alarm.open")).to_have_count(1)


@everywhere
def test_bars_are_as_long_as_the_tallies(visit: Visit, node: BenchNode, size: str) -> None:
    fill(node)
    page = visit.go("/compliance?hours=1")
    page.locator("summary").click()
    seconds = [(840, 60, 400), (540, 60, 400), (300, 0, 0)]  # the rule, then its places, the worst first
    bars = page.locator(".bar").all()
    assert len(bars) == len(seconds)
    for bar, parts in zip(bars, seconds, strict=True):
        whole = bar.bounding_box()
        assert whole is not None
        start = 0.0
        for kind, part in zip(("ok", "violation", "unknown"), parts, strict=True):
            rect = bar.locator(f"rect.{kind}").evaluate("e => { const b = e.getBBox(); return [b.x, b.width]; }")
            share = whole["width"] / sum(parts)
            assert rect == pytest.approx([start * share, part * share], abs=0.6)
            start += part
    expect(page.locator(".big").first).to_have_text("93.3 %")


@on_phone
def test_login_on_the_phone(browser: Browser, locked_url: str, size: str) -> None:
    context = browser.new_context(**SIZES[size])
    page = context.new_page()
    page.goto(f"{locked_url}/alarms?lang=zh-CN")
    assert "/login" in page.url
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(FAINT_TEXTS, UNREAD) == []
    assert page.evaluate(SMALL_TARGETS, TAP_PX) == []
    page.locator("[name=password]").fill("something else")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    page.locator("[name=password]").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/alarms*")
    page.locator("form[action='/logout'] button").click()
    page.wait_for_url("**/login")
    context.close()


@at_desk
def test_without_javascript_what_is_read_still_works(browser: Browser, url: str, node: BenchNode, size: str) -> None:
    fill(node)
    context = browser.new_context(**SIZES[size], java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{url}/alarms?lang=en")
    expect(page.locator(".alarm")).to_have_count(2)
    page.locator(".alarm").first.click()
    expect(page.locator(".history li")).to_have_count(1)
    page.goto(f"{url}/compliance?lang=en")
    page.locator("summary").click()
    expect(page.locator(".place")).to_have_count(2)
    context.close()


def test_no_script_or_style_comes_from_elsewhere() -> None:
    for file in (Path(__file__).parents[2] / "edge/page").rglob("*.*"):
        if file.suffix in (".html", ".css", ".js"):
            text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
            assert "http://" not in text, file
            assert "https://" not in text, file
            assert "//cdn" not in text, file
