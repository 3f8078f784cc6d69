"""`make guide-pictures`: the pictures of the guides, made anew from what runs.

Screenshots are of `banksman demo`, one language after the other; the light's patterns are drawn from the program's own
table. Drawings by hand (`card.svg`, `pole.svg`) are left alone.
"""

from __future__ import annotations

import io
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from broker.embedded import free_port
from deploy.demo_dispatch import LOGIN
from docs.guides.build import LANGUAGES, PICTURES
from edge.signal.codes import PATTERNS, Sign

PHONE = {"width": 390, "height": 760}
DESK = {"width": 1100, "height": 700}
_WIDTH = {"phone": 520, "desk": 1000}
_PATIENCE_S = 180.0


# -- the light ---------------------------------------------------------------------------------------------------------


def pattern(sign: Sign) -> str:
    """SVG of six seconds of the light; lit is filled."""
    scale, height, span = 14.0, 10, 6.0
    bars, at, part = [], 0.0, 0
    lengths = PATTERNS[sign]
    while at < span:
        length = min(lengths[part % len(lengths)], span - at)
        if part % 2 == 0:
            bars.append(f'<rect x="{at * scale:.1f}" y="1" width="{length * scale:.1f}" height="{height - 2}"/>')
        at, part = at + length, part + 1
    width = span * scale
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" width="{width:g}" height="{height}">'
        f'<rect width="{width:g}" height="{height}" fill="#e4e8eb"/><g fill="#14863d">{"".join(bars)}</g></svg>\n'
    )


def draw_light() -> None:
    for sign in Sign:
        (PICTURES / f"light-{sign}.svg").write_text(pattern(sign), encoding="utf-8")


# -- the demo ----------------------------------------------------------------------------------------------------------


@dataclass
class Demo:
    """What the demo has printed so far."""

    node: str
    said: list[str] = field(default_factory=list)

    def found(self, what: str) -> str:
        """The first group of the newest line that fits. Waits for one."""
        return wait(lambda: next((m[1] for line in reversed(self.said) if (m := re.search(what, line))), None), what)


def wait(ask: Callable[[], str | None], what: str) -> str:
    """Raises TimeoutError."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        if (answer := ask()) is not None:
            return answer
        time.sleep(0.5)
    raise TimeoutError(f"the demo has not shown {what} within {_PATIENCE_S:g} s")


@contextmanager
def demo(language: str) -> Iterator[Demo]:
    port = free_port()
    command = [str(Path(sys.executable).with_name("banksman")), "demo", "--lang", language, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 fixed words
        running = Demo(f"http://127.0.0.1:{port}")

        def read() -> None:
            assert process.stdout is not None  # noqa: S101 a pipe was asked for
            running.said.extend(iter(process.stdout.readline, ""))

        threading.Thread(target=read, daemon=True).start()
        try:
            yield running
        finally:
            process.send_signal(signal.SIGINT)


# -- screenshots -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Camera:
    """Takes screenshots of one language."""

    browser: Browser
    language: str

    def page(self, size: str) -> Page:
        """A window of `phone` or `desk`."""
        context = self.browser.new_context(
            viewport=PHONE if size == "phone" else DESK,  # type: ignore[arg-type]
            device_scale_factor=2 if size == "phone" else 1.25,
            has_touch=size == "phone",
            is_mobile=size == "phone",
            color_scheme="light",
            locale=self.language,
            timezone_id="Asia/Shanghai",
        )
        return context.new_page()

    def shoot(self, page: Page, name: str, size: str, part: str | None = None) -> None:
        """The window, or the first part of the page that fits the selector."""
        taken = page.screenshot() if part is None else page.locator(part).first.screenshot()
        picture = Image.open(io.BytesIO(taken)).convert("RGB")
        width = min(_WIDTH[size], picture.width)
        small = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
        small.save(PICTURES / self.language / f"{name}.webp", quality=72, method=6)

    def go(self, page: Page, url: str) -> None:
        page.goto(f"{url}{'&' if '?' in url else '?'}lang={self.language}")


def of_node(camera: Camera, running: Demo) -> None:
    """The node's own page. An alarm is open already."""
    phone = camera.page("phone")
    camera.go(phone, f"{running.node}/")
    phone.locator(".stage rect.v-violation").first.wait_for()
    camera.shoot(phone, "node-live", "phone")
    phone.context.close()
    desk = camera.page("desk")
    camera.go(desk, f"{running.node}/zones/street")
    desk.locator("#zones polygon").nth(1).click(force=True)
    desk.wait_for_load_state("networkidle")
    camera.shoot(desk, "node-zones", "desk")
    desk.context.close()


def of_foreman(camera: Camera, running: Demo) -> None:
    """From the message's link to what was done."""
    phone = camera.page("phone")
    camera.go(phone, running.found(r"(http://127\.0\.0\.1:\d+/l/\S+)"))
    phone.wait_for_load_state("networkidle")
    camera.shoot(phone, "link", "phone")
    phone.locator("button[value=take]").click()
    phone.locator("details.lead summary").first.click()
    phone.wait_for_load_state("networkidle")
    camera.shoot(phone, "case-taken", "phone")
    phone.context.close()


def of_officer(camera: Camera, running: Demo) -> None:
    """Logged in; the demo's person is foreman, officer and administrator."""
    base = running.found(r"(http://127\.0\.0\.1:\d+)/$")
    password = running.found(r"\b([0-9a-f]{12})$")
    desk = camera.page("desk")
    camera.go(desk, f"{base}/login")
    desk.locator("[name=name]").fill(LOGIN)
    desk.locator("[name=password]").fill(password)
    desk.locator("main button").click()
    for name, path in (
        ("open", "/open"),
        ("ledger", "/ledger"),
        ("handover", "/handover?site=demo"),
        ("site", "/admin/sites/demo"),
        ("person", "/admin/people/demo"),
    ):
        camera.go(desk, f"{base}{path}")
        desk.wait_for_load_state("networkidle")
        camera.shoot(desk, name, "desk")
    desk.context.close()


def take(playwright: Playwright) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not installed (apt-get install chromium)")
    for language in LANGUAGES:
        with demo(language) as running:
            running.found(r"(http://127\.0\.0\.1:\d+/l/\S+)")  # a message was sent: there is an alarm with its case
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            camera = Camera(browser, language)
            for part in (of_node, of_foreman, of_officer):
                part(camera, running)
            browser.close()


def main() -> None:
    draw_light()
    with sync_playwright() as playwright:
        take(playwright)


if __name__ == "__main__":
    main()
