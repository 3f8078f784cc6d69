"""The pages in real Chromium: on a small phone and at a desk, in Chinese and English, with and without script."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from sqlalchemy import select, update

from broker.dispatch.database import reading, transaction
from broker.dispatch.tables import ChainStep, Duty, Evidence, Holiday, Person, Role, Shift, Site
from broker.dispatch.text import LANGUAGES, catalogue
from broker.dispatch.web.auth import Sessions
from tests.browser import FAINT_TEXTS
from tests.dispatch.web.builders import PASSWORD, START, Bench, clip, jpeg
from tests.waiting import until

SIZES: dict[str, dict[str, Any]] = {
    "phone": {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True},
    "desk": {"viewport": {"width": 1280, "height": 900}},
}
SIZES["phone-without-script"] = SIZES["phone"] | {"java_script_enabled": False}
TAP_PX = 48
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>\'"{{7*7}}'

SMALL_TARGETS = """(least) =>
 [...document.querySelectorAll("a, button, input, select, textarea, summary, video, label.check")]
  .filter((e) => e.checkVisibility() && !e.matches(".skip, [type=hidden], label.check input, .history a"))
  .map((e) => [e, e.getBoundingClientRect()])
  .filter(([, r]) => r.width < least - 0.5 || r.height < least - 0.5)
  .map(([e, r]) => `${e.outerHTML.slice(0, 90)} ${r.width.toFixed(0)}x${r.height.toFixed(0)}`)"""

PLACES = """[...document.querySelectorAll(".more a, .more figure")].map((e) => {
  const r = e.getBoundingClientRect(), top = document.querySelector(".more").getBoundingClientRect().top;
  return [r.left, r.top - top, r.width, r.height].map(Math.round);
})"""
"""Of what leads to the smaller pictures, within their part of the page."""

UNREAD = "script, svg, :disabled, .skip"


@dataclass
class Visit:
    """A browser at the pages, and what it had to complain about."""

    page: Page
    context: BrowserContext
    bench: Bench
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def come_in(self, person: str) -> None:
        with transaction(self.bench.engine) as db:
            cookie = Sessions().open(db, person, self.bench.clock.now())
        self.context.add_cookies([{"name": "banksman", "value": cookie, "url": self.bench.url}])

    def go(self, path: str, language: str = "en", *, wait: Literal["load", "domcontentloaded"] = "load") -> Page:
        self.page.goto(f"{self.bench.url}{path}{'&' if '?' in path else '?'}lang={language}", wait_until=wait)
        return self.page


@pytest.fixture
def visit(browser: Browser, bench: Bench, size: str) -> Iterator[Visit]:
    """Nothing may be complained about, and nothing fetched from elsewhere, in any test."""
    context = browser.new_context(**SIZES[size])
    context.set_default_timeout(20_000)
    visit = Visit(context.new_page(), context, bench)
    visit.page.on("console", lambda m: visit.complaints.append(m.text) if m.type in ("error", "warning") else None)
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.on("request", lambda asked: visit.asked.append(asked.url))
    visit.page.on("dialog", lambda dialog: visit.complaints.append(f"dialog {dialog.message}"))
    yield visit
    context.close()
    assert visit.complaints == []
    assert [a for a in visit.asked if not a.startswith((f"{bench.url}/", "blob:"))] == []


on_phone = pytest.mark.parametrize("size", ["phone"])
everywhere = pytest.mark.parametrize("size", ["phone", "desk"])


def fill(bench: Bench) -> dict[str, str]:
    """Something to show on every page; gives ids of cases by what they are."""
    people = {"taken": bench.foreman, "done": bench.foreman}
    found: dict[str, str] = {}
    with transaction(bench.engine) as db:
        for name, start, end in (("白班", 480, 1200), ("夜班", 1200, 480)):
            db.add(Shift(id=f"shift-{start}", site="north", name=name, start=start, end=end))
        db.add(Holiday(site="north", day="2026-10-01", name="国庆节"))
        db.flush()
        db.add(Duty(id="duty-1", shift="shift-480", person=bench.foreman, rule="helmet"))
        db.add(ChainStep(id="step-1", site="north", after_s=600, role="officer"))
    for name, fields in {
        "late": {"place": "trench", "rule": "helmet"},
        "taken": {"place": "north-fence", "rule": "barrier", "severity": "warning", "reason": "absent"},
        "done": {"place": "pit-edge", "rule": "intrusion", "reason": "inside"},
    }.items():
        alarm = bench.alarm(**fields)
        bench.keep(alarm, jpeg(shade=100 + len(found)))
        found[name] = bench.case_of(alarm).id
        if name == "late":
            bench.keep(alarm, clip(), "clip")
    bench.clock.advance(400)
    found["fresh"] = bench.case(place="lamp-2", rule="warning_light", reason="unlit", severity="warning")
    for n in range(2):
        alarm = bench.alarm(place="gate-1", rule="hi_vis", severity="warning")
        found["again"] = bench.case_of(alarm).id
        if n == 0:  # the alarm that is on now has no picture
            for film, kind in ((False, "snapshot"), (True, "clip")):
                bench.keep(alarm, clip(12) if film else jpeg(shade=140), kind)
            bench.keep(alarm, jpeg(shade=150))
            bench.alarm(place="gate-1", rule="hi_vis", alarm=alarm, event="cleared", verdict="ok", reason="seen")
    for name, person in people.items():
        reader = bench.reader()
        reader.post(f"/l/{bench.links.sign(found[name], person, bench.clock.now())}", data={"do": "take"})
        if name == "done":
            reader.submit(f"/cases/{found[name]}/done", {"text": "已劝离无关人员，并加装警示带。"})
    bench.contact(bench.foreman, "ntfy://secret-topic")
    return found


PATHS = (
    "/", "/overdue", "/open", "/cases/{late}", "/cases/{again}", "/cases/{taken}", "/cases/{done}?verify=1", "/ledger",
    "/ledger?site=north&start=2026-09-01", "/handover?site=north", "/admin", "/admin/sites/north",
    "/admin/people/{person}", "/admin/audit", "/me", "/me?changed=1", "/ledger/check",
    "/ledger?severity=critical&late=1&case=01", "/cases/{late}?ledger=rule%3Dhelmet%26page%3D1",
)  # fmt: skip


def all_rights(bench: Bench) -> str:
    """Somebody who sees every page."""
    return bench.person("boss", "总负责", ("*", Role.ADMIN), ("*", Role.OFFICER), ("*", Role.FOREMAN))


@everywhere
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_fits_can_be_read_and_be_tapped(visit: Visit, bench: Bench, language: str, size: str) -> None:
    ids = fill(bench) | {"person": bench.foreman}
    link = f"/l/{bench.links.sign(ids['late'], bench.foreman, bench.clock.now())}"
    of_earlier = f"/l/{bench.links.sign(ids['again'], bench.foreman, bench.clock.now())}"
    of_message = f"/m/{bench.message(bench.foreman, *(ids[name] for name in ('late', 'taken', 'done', 'fresh')))}"
    for path in ("/login", link, of_earlier, of_message, *(p.format_map(ids) for p in PATHS)):
        if path == "/":
            visit.come_in(all_rights(bench))
        page = visit.go(path, language)
        assert page.evaluate("document.documentElement.lang") == language, path
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["viewport"]["width"], path
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(FAINT_TEXTS, UNREAD) == [], f"{path} {scheme}"
        if size == "phone":
            assert page.evaluate(SMALL_TARGETS, TAP_PX) == [], path


@on_phone
def test_pictures_have_their_place_before_they_have_come(visit: Visit, bench: Bench, size: str) -> None:
    """On a bad network they come late: what leads to them can be tapped, and nothing moves from under a thumb."""
    ids = fill(bench)
    visit.come_in(bench.foreman)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    visit.page.route("**/evidence/**", hold)
    page = visit.go(f"/cases/{ids['again']}", wait="domcontentloaded")
    page.wait_for_function("document.styleSheets.length > 0")
    assert page.evaluate(SMALL_TARGETS, TAP_PX) == []
    assert page.locator(".more img").count() > 0
    before = page.evaluate(PLACES)
    for route in held:
        route.continue_()
    page.unroute("**/evidence/**")
    page.locator(".more").scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('.more img')].every((i) => i.naturalWidth > 0)")
    assert page.evaluate(PLACES) == before


@on_phone
def test_the_button_that_matters_is_on_the_first_screen(visit: Visit, bench: Bench, size: str) -> None:
    ids = fill(bench)
    visit.come_in(bench.foreman)
    page = visit.go(f"/cases/{ids['late']}", "zh-CN")
    box = page.get_by_role("button", name="我来处理").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 740 - 68  # above the navigation


@pytest.mark.parametrize("size", ["phone-without-script"])
def test_everything_a_foreman_does_works_without_script(visit: Visit, bench: Bench, size: str) -> None:
    case = bench.case()
    page = visit.go("/login")
    page.get_by_label("Log-in name").fill("wang")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="Open").first.click()
    page.locator(".case").first.click()
    page.get_by_role("button", name="It is mine").click()
    page.locator("summary", has_text="Done").click()
    page.get_by_label("What was done?").fill("helmets handed out")
    page.get_by_label("Photo").set_input_files({"name": "a.jpg", "mimeType": "image/jpeg", "buffer": jpeg(2000, 1000)})
    page.get_by_role("button", name="Done").click()
    page.locator("summary", has_text="Answered").click()
    page.get_by_label("Who was told of it, and what?").fill("told")
    page.get_by_role("button", name="Answered").click()
    page.locator("summary", has_text="Close").click()
    page.get_by_label("Why can the case be closed").fill("seen myself")
    page.get_by_role("button", name="Close").click()
    expect(page.locator(".bigclock")).to_contain_text("Closed")
    assert bench.ledger(case) == ["opened", "taken", "done", "photo", "answered", "closed"]


@pytest.mark.parametrize("size", ["phone-without-script", "desk"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_cases_of_a_message_are_opened_and_taken_one_after_the_other(
    visit: Visit, bench: Bench, language: str, size: str
) -> None:
    """Without a password; on the phone without script, too. In between somebody reads the message again."""
    t = catalogue(language)
    cases = [bench.case(source=source, place="zone-1") for source in ("gate", "yard")]
    bench.case()
    link = f"/m/{bench.message(bench.foreman, *cases)}"
    old = bench.case()
    page = visit.go(f"/l/{bench.links.sign(old, bench.foreman, bench.clock.now())}", language)
    page.get_by_role("button", name=t("web.link.open")).click()  # what the phone still holds
    page = visit.go(link, language)
    cards = page.locator(".several")
    expect(cards).to_have_count(2)
    first = cards.first.get_by_role("button", name=t("web.do.take"))
    box = first.bounding_box()
    assert box is not None
    assert box["height"] >= 60
    assert box["y"] + box["height"] <= SIZES[size]["viewport"]["height"], "the first is on the first screen"
    first.click()
    expect(page.locator(".bigclock")).to_contain_text("王强")
    page.get_by_role("link", name=t("web.list.message")).click()
    expect(page.locator("a.case")).to_have_count(2)
    page = visit.go(link, language)
    page.locator("a.case").first.click()
    page.get_by_role("button", name=t("web.do.take")).click()
    expect(page.locator(".bigclock")).to_contain_text("王强")
    assert [bench.now(case).owner for case in (*cases, old)] == [bench.foreman, bench.foreman, None]


@on_phone
def test_a_big_photo_is_shrunk_before_it_goes_over_a_poor_network(visit: Visit, bench: Bench, size: str) -> None:
    case = bench.case()
    bench.logged_in("wang").submit(f"/cases/{case}/take")
    visit.come_in(bench.foreman)
    page = visit.go(f"/cases/{case}")
    noise = io.BytesIO()
    Image.effect_noise((3000, 2000), 80).convert("RGB").save(noise, "JPEG", quality=95)
    page.locator("summary", has_text="Done").click()
    page.get_by_label("What was done?").fill("fixed")
    chosen = page.get_by_label("Photo")
    chosen.set_input_files({"name": "big.jpg", "mimeType": "image/jpeg", "buffer": noise.getvalue()})
    most = len(noise.getvalue()) // 2
    until(lambda: chosen.evaluate("input => input.files[0].size") < most, "the browser makes it smaller")
    page.get_by_role("button", name="Done").click()
    expect(page.locator(".media img")).to_be_visible()
    with reading(bench.engine) as db:
        row = db.scalars(select(Evidence)).one()
    assert Image.open(bench.store.path(case, row.sha256)).size == (1600, 1067)


@on_phone
def test_pages_are_small(visit: Visit, bench: Bench, size: str) -> None:
    ids = fill(bench)
    for n in range(50):
        bench.keep(bench.alarm(place=f"p-{n}"), jpeg(shade=n))
    reader = bench.logged_in("wang")
    assert len(reader.get("/open").content) < 60_000
    assert len(reader.get(f"/cases/{ids['late']}").content) < 20_000
    visit.come_in(bench.foreman)
    page = visit.go("/open")
    expect(page.locator(".case")).to_have_count(50)
    thumbs = [a for a in visit.asked if "/evidence/" in a]
    assert thumbs
    assert all(a.endswith("?small=1") for a in thumbs)
    assert len(thumbs) < 30  # the rest are fetched when they come into sight
    assert len(reader.get(thumbs[0].removeprefix(bench.url)).content) < 20_000


@everywhere
def test_nothing_that_people_or_nodes_say_becomes_part_of_the_page(visit: Visit, bench: Bench, size: str) -> None:
    with transaction(bench.engine) as db:
        db.execute(update(Person).where(Person.id == bench.foreman).values(name=HOSTILE))
        db.execute(update(Site).where(Site.id == "north").values(name=HOSTILE))
        db.add(Shift(id="shift-1", site="north", name=HOSTILE, start=480, end=1200))
        db.add(Holiday(site="north", day="2026-10-01", name=HOSTILE))
    case = bench.case(reason="x" * 60, rule="some_new_rule")
    foreman = bench.logged_in("wang")
    at = f"/cases/{case}"
    for step in ("take", "note", "done", "answer"):
        foreman.submit(f"{at}/{step}", {"text": HOSTILE})
    foreman.submit(f"{at}/dissatisfied", {"text": HOSTILE})
    foreman.submit(f"{at}/false_alarm", {"text": HOSTILE})
    visit.come_in(all_rights(bench))
    for path in (at, "/open", "/ledger", "/handover?site=north", "/admin", "/admin/sites/north",
                 f"/admin/people/{bench.foreman}", "/admin/audit"):  # fmt: skip
        page = visit.go(path)
        assert page.title() not in ("1", "2"), path
        assert page.locator("img[src=x]").count() == 0, path
        assert "49" not in page.title()
    assert HOSTILE in visit.go(at).locator(".history").first.inner_text()


@everywhere
def test_a_script_that_got_in_would_not_run(visit: Visit, bench: Bench, size: str) -> None:
    """The second line: the policy in the headers."""
    page = visit.go("/login")
    page.evaluate("""() => {
      const script = document.createElement("script"); script.textContent = "document.title = 'run'";
      document.body.append(script);
      document.body.insertAdjacentHTML("beforeend", "<img src='/nothing' onerror=\\"document.title='run'\\">");
    }""")
    page.wait_for_load_state("networkidle")
    assert page.title() != "run"
    assert any("Content Security Policy" in c for c in visit.complaints)
    visit.complaints.clear()


@everywhere
def test_what_is_shown_gets_fresh_by_itself_but_not_under_somebodys_finger(
    visit: Visit, bench: Bench, size: str
) -> None:
    case = bench.case()
    visit.come_in(bench.foreman)
    visit.page.clock.install(time=START)
    page = visit.go(f"/cases/{case}")
    expect(page.locator(".bigclock")).to_contain_text("Take it within")
    bench.clock.advance(400)
    page.clock.run_for(21_000)
    expect(page.locator(".bigclock")).to_contain_text("Overdue")
    page.locator("summary", has_text="False alarm").click()
    page.get_by_label("Why was there nothing?").fill("half a sent")
    bench.logged_in("li").submit(f"/cases/{case}/take")
    page.clock.run_for(61_000)
    assert page.get_by_label("Why was there nothing?").input_value() == "half a sent"
