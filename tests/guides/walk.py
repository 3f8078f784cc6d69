"""The installer guide walked for the first time: `python -m tests.guides.walk FOLDER` prints each step with its time.

Real are the site server (broker, worker, pages, doors, as `banksman server init` makes them), the Cards page in
Chromium, the card as a file, `install.sh` in a system of its own, enrolment, the node with a network camera, its page,
and the message to the foreman. Not real: the Raspberry Pi and its emulated first boot (`make proof-boot`), Raspberry Pi
Imager (the downloaded image is unpacked onto the card instead), the ladder. What is tapped is named as in the guide.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Locator, Page, expect, sync_playwright

from broker.dispatch.database import migrate, open_engine, transaction
from broker.dispatch.tables import Contact, Duty, Membership, Person, Role, Shift, Site
from broker.dispatch.web.auth import Passwords
from broker.embedded import free_port
from edge.capture.pan import GREY, window
from edge.values import Image
from tests.boot import server as boot_server
from tests.boot.server import BANKSMAN, SiteServer
from tests.card.builders import Office
from tests.card.images import files_of, pi_image, xz
from tests.card.root import _SETUP, Root
from tests.card.test_payload import stock
from tests.conftest import REPO, street_photos
from tests.server.builders import edit
from tests.servers import HOST

SITE, NODE = "north-yard", "gate-03"
PASSWORD = "a long enough phrase"  # noqa: S105 of a test
FAT = 8 * 1024 * 1024
"""Where the card's boot partition begins."""
RTSP = """
import sys, gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer(); server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory(); factory.set_shared(True)
factory.set_launch('( multifilesrc location=%s loop=true caps="image/jpeg,framerate=10/1" ! jpegdec ! videoconvert '
    '! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay0 pt=96 )' % sys.argv[2])
server.get_mount_points().add_factory("/street", factory); server.attach(None); print("ready", flush=True)
GLib.MainLoop().run()
"""


class Street:
    """What the camera sees, ten times a second: nobody, or people without warning clothing."""

    def __init__(self, folder: Path) -> None:
        self.people = False
        self._file = folder / "street.jpg"
        self._photo = cv2.imread(str(street_photos() / "bus.jpg"))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = free_port()

    @contextmanager
    def seen(self) -> Iterator[str]:
        """The camera's address."""
        self._frame(0)
        self._thread.start()
        command = ["/usr/bin/python3", "-c", RTSP, str(self.port), str(self._file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            try:
                yield f"rtsp://{HOST}:{self.port}/street"
            finally:
                process.kill()
                self._over.set()
                self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._over.wait(0.1):
            number += 1
            self._frame(number)

    def _frame(self, number: int) -> None:
        assert self._photo is not None
        height, width = self._photo.shape[:2]
        if self.people:
            turned = window(number % 400 / 400, 0, (width, height), 1280, 720)
            shown: Image = np.asarray(cv2.warpAffine(self._photo, turned, (1280, 720), borderValue=GREY), np.uint8)
        else:
            above = self._photo[: int(height * 0.35)]  # roofs and windows
            shown = np.asarray(cv2.resize(above, (1280, 720)), np.uint8)
            cv2.line(shown, (number * 7 % 1280, 0), (number * 7 % 1280, 720), (80, 80, 80), 3)
        new = self._file.with_suffix(".new.jpg")
        cv2.imwrite(str(new), shown)
        new.replace(self._file)


class Phone:
    """Where messages to the foreman arrive: an ntfy server that counts."""

    def __init__(self) -> None:
        self.messages = 0
        phone = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                phone.messages += 1
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
        self.address = f"ntfy://{HOST}:{self._server.server_port}/foreman"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()


class Walk:
    """Tells each step with how long it took; the first that does not come to its result ends the walk."""

    def __init__(self, screenshots: Path) -> None:
        self._last = time.monotonic()
        self.screenshots = screenshots

    def done(self, step: str, result: str) -> None:
        now = time.monotonic()
        print(f"| {step} | {now - self._last:.1f} s | {result} |", flush=True)
        self._last = now


def until(answer: Callable[[], object], what: str, patience_s: float = 120) -> None:
    end = time.monotonic() + patience_s
    while not answer():
        assert time.monotonic() < end, f"not within {patience_s:g} s: {what}"
        time.sleep(0.2)


# -- the server --------------------------------------------------------------------------------------------------------


def site_server(folder: Path, phone: Phone) -> tuple[SiteServer, str]:
    """Not started yet; and the address of its pages."""
    boot_server.SEEN_FROM_NODE = HOST
    server = SiteServer(folder / "server")
    (port,) = re.findall(r'"port": (\d+)[^\n]*"url"|"url"[^\n]*"port": (\d+)', server.settings.read_text())
    url = f"http://{HOST}:{port[0] or port[1]}"
    edit(server.settings, (r'"https://site\.example\.cn"', f'"{url}"'))
    office = Office.at(folder / "office")
    image = xz(pi_image(folder / "os.img").path)
    made = server.cards(image, hashlib.sha256(image.read_bytes()).hexdigest(), office.app, office.maker.public_key)
    own = {key: str(getattr(made, key)) for key in ("image", "image_sha256", "release", "release_pub", "ca")}
    lines = [f"{key} = {json.dumps(value)}" for key, value in own.items()] + ["[server]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in made.server.model_dump(exclude_none=True).items()]
    (folder / "server/cards.toml").write_text("\n".join(lines) + "\n")
    with server.settings.open("a") as settings:
        settings.write("\ncards: ../cards.toml\n")
    people(f"sqlite:///{folder}/server/dispatch.db", phone)
    return server, url


def people(database: str, phone: Phone) -> None:
    """An installer, and a foreman who is on duty day and night."""
    engine = open_engine(database)
    migrate(engine)
    with transaction(engine) as db:
        db.add(Site(id=SITE, name="北苑路抢修"))
        for login, role in (("zhao", Role.INSTALLER), ("wang", Role.FOREMAN)):
            hashed = Passwords().hash(PASSWORD)
            db.add(Person(id=login, login=login, name=login, language="zh-CN", password=hashed, created_at=time.time()))
            db.flush()
            db.add(Membership(person=login, site=SITE, role=role))
        db.add(Contact(id="phone", person="wang", channel="ntfy", address=phone.address))
        db.add(Shift(id="always", site=SITE, name="全天", start=0, end=0))
        db.flush()
        db.add(Duty(id="always", shift="always", person="wang"))
    engine.dispose()


# -- the steps ---------------------------------------------------------------------------------------------------------


def make_card(walk: Walk, page: Page, url: str, camera: str, card: Path) -> str:
    """Steps 1 and 2. Gives the password of the node's page."""
    page.goto(f"{url}/login?lang=zh-CN")
    page.get_by_label("登录名").fill("zhao")
    page.get_by_label("密码").fill(PASSWORD)
    page.get_by_role("button", name="登录").click()
    page.get_by_role("link", name="制卡").first.click()
    page.screenshot(path=walk.screenshots / "cards.png")
    page.get_by_role("link", name="为新节点制卡").click()
    page.get_by_label("节点短名").fill(NODE)
    page.get_by_label("节点名称").fill("北门")
    page.locator("[name=camera]").select_option(label="网络摄像头")
    page.locator("[name=address]").fill(camera)
    page.screenshot(path=walk.screenshots / "card-new.png")
    page.get_by_role("button", name="制卡").click()
    expect(page.get_by_text("卡已制成")).to_be_visible(timeout=300_000)
    page.screenshot(path=walk.screenshots / "card-made.png")
    walk.done("1", "卡已制成")
    password = page.locator("b.mono").inner_text()
    with page.expect_download() as label:
        page.get_by_role("link", name="标签").first.click()
    assert label.value.path().read_bytes().startswith(b"%PDF")
    with page.expect_download() as image:
        page.get_by_role("link", name="完整镜像").click()
    card.write_bytes(lzma.decompress(image.value.path().read_bytes()))
    walk.done("2", "label printed, image on the card (a file), password noted")
    return password


def into_box(walk: Walk, card: Path, root: Root) -> None:
    """Steps 3 to 6: the card's boot partition becomes that of a system in which install.sh runs."""
    stock(root.boot, files_of(card, offset=FAT))
    assert root.boot.joinpath("banksman/install.sh").is_file()
    walk.done("3", "card in the box")
    ran = root.install(network=True)
    assert ran.code == 0, ran.said
    told = status(root)
    assert "安装完成" in told, told
    walk.done("4–6", told.splitlines()[2])


def status(root: Root) -> str:
    return (root.boot / "banksman/STATUS.txt").read_text(encoding="utf-8-sig")


@contextmanager
def node(root: Root, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """As its service runs it."""
    setup = _SETUP.format(venv=REPO / ".venv", repo=REPO)
    run = ["/opt/banksman/current/bin/banksman", "run", "/etc/banksman/site.yaml"]
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", setup, "-"]
    with log.open("wb") as out:
        process = subprocess.Popen([*command, root.path, str(root.disk_mb), "HOME=/tmp", *run], stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


def draw(walk: Walk, page: Page, url: str, password: str) -> None:
    """Steps 7 to 9."""
    until(lambda: answers(url), "the node's page")
    page.goto(f"{url}/?lang=zh-CN")
    page.get_by_label("密码").fill(password)
    page.get_by_role("button", name="登录").click()
    expect(page.locator("[data-chip].good")).to_be_visible(timeout=60_000)
    walk.done("7", "实时：" + page.locator("[data-chip]").inner_text())
    walk.done("8", "nobody can turn this camera")
    page.get_by_role("link", name="区域").click()
    page.get_by_role("button", name="新建区域").click()
    page.get_by_label("类型").select_option(label="作业区")
    page.get_by_label("名称").fill("沟槽")
    frame = page.locator("#canvas").bounding_box()
    assert frame is not None
    for number, (x, y) in enumerate(((0.02, 0.03), (0.98, 0.03), (0.98, 0.97), (0.02, 0.97))):
        point = page.locator(f"#points [data-point='{number}']")
        drag(page, point, frame["x"] + x * frame["width"], frame["y"] + y * frame["height"])
    page.get_by_role("button", name="保存").click()
    until(lambda: page.locator("#state").inner_text() != "正在保存…", "an answer")
    page.screenshot(path=walk.screenshots / "zones.png")
    expect(page.locator("#errors")).to_be_hidden()
    expect(page.locator("#state")).to_contain_text("已保存")
    walk.done("9", "已保存")


def drag(page: Page, point: Locator, x: float, y: float) -> None:
    box = point.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(x, y, steps=4)
    page.mouse.up()


def answers(url: str) -> bool:
    return subprocess.run(["curl", "-sf", "-o", os.devnull, f"{url}/login"], check=False).returncode == 0


def walk_past(walk: Walk, page: Page, url: str, street: Street, phone: Phone) -> None:
    """Steps 10 to 12."""
    page.get_by_role("link", name="实时").click()
    street.people = True
    expect(page.locator("#calm")).to_contain_text(re.compile(r"\d 条未消除的告警"), timeout=60_000)
    expect(page.locator(".labels")).to_contain_text("警示服")
    page.screenshot(path=walk.screenshots / "alarm.png")
    walk.done("10a", page.locator("#calm b").inner_text())
    until(lambda: phone.messages, "a message to the foreman")
    walk.done("10b", "message on the foreman's phone")
    street.people = False
    expect(page.locator("#calm")).to_contain_text("没有未消除的告警", timeout=90_000)
    walk.done("11", "没有未消除的告警")
    page.get_by_role("link", name="状态").click()
    expect(page.locator("main")).to_contain_text("已连接")
    page.screenshot(path=walk.screenshots / "health.png", full_page=True)
    walk.done("12", " ".join(page.locator("main").inner_text().split())[:300])


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    phone, street = Phone(), Street(folder)
    server, url = site_server(folder, phone)
    root, card = Root(folder / "box"), folder / "card.img"
    with ExitStack() as stack:
        camera = stack.enter_context(street.seen())
        stack.enter_context(server)
        worker = subprocess.Popen([str(BANKSMAN), "dispatch", "worker", str(server.settings)])
        stack.callback(worker.wait)
        stack.callback(worker.terminate)
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1100, "height": 800}, locale="zh-CN")
        walk = Walk(folder)
        password = make_card(walk, page, url, camera, card)
        into_box(walk, card, root)
        stack.enter_context(node(root, folder / "node.log"))
        draw(walk, page, f"http://{HOST}:8080", password)
        walk_past(walk, page, f"http://{HOST}:8080", street, phone)
        browser.close()


if __name__ == "__main__":
    main()
