"""Photos that people add show no face once they are stored: the shipped detector on real photos, over real HTTP."""

from __future__ import annotations

import io
import shutil
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sqlalchemy import select

from broker.dispatch.database import reading
from broker.dispatch.evidence import Store
from broker.dispatch.tables import Evidence
from broker.dispatch.web.photo import LONGEST, FacesError, HideFaces, PhotoError, anonymous
from deploy.pages import Faces
from edge.detect import find_model
from edge.site.model import SHIPPED_MODEL, Detector
from tests.dispatch.web.builders import Bench, Reader, faces, jpeg, serving

Box = tuple[int, int, int, int]
Pixels = npt.NDArray[np.uint8]

FACES: dict[str, list[Box]] = {
    "bus.jpg": [(115, 425, 158, 475), (263, 435, 310, 485)],
    "zidane.jpg": [(920, 140, 1050, 280), (540, 290, 660, 450)],
}
"""Pixels of the faces, from brow to chin, by eye."""
THINGS: dict[str, list[Box]] = {
    "bus.jpg": [(552, 540, 648, 640), (100, 850, 700, 1070)],  # lettering, pavement
    "zidane.jpg": [(1010, 400, 1150, 480), (1070, 560, 1140, 700)],  # a hand, a badge
}
DETAIL_LEFT = 0.02
"""Of the variance of the Laplacian, the usual measure of sharpness (Pech-Pacheco and others, 2000). Blurred to three
cells across a face, next to nothing of it is left."""


def shown(photo: bytes) -> bytes:
    """The photo as it would be kept with its faces."""
    return anonymous(photo, lambda image: image)


def pixels(content: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.uint8)


def part(image: Pixels, box: Box) -> Pixels:
    return image[box[1] : box[3], box[0] : box[2]]


def detail(image: Pixels) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def send(reader: Reader, case: str, photo: bytes, **fields: str) -> httpx.Response:
    files = {"photo": ("a.jpg", photo, "image/jpeg")}
    return reader.submit(f"/cases/{case}/done", {"text": "fixed"} | fields, page="/", files=files)


def taken(bench: Bench) -> tuple[str, Reader]:
    """A case, and its owner."""
    case, owner = bench.case(), bench.logged_in("wang")
    owner.submit(f"/cases/{case}/take")
    return case, owner


def stored(bench: Bench, case: str) -> bytes | None:
    """What is kept of the only photo; None where there is neither row nor file."""
    with reading(bench.engine) as db:
        row = db.scalars(select(Evidence)).one_or_none()
    kept = [f for f in bench.store.path("a", "0" * 64).parents[2].rglob("*") if f.is_file()]
    assert [f.name for f in kept] == ([] if row is None else [f"{row.sha256}-{case}"])
    return kept[0].read_bytes() if kept else None


@pytest.mark.parametrize("name", list(FACES))
def test_faces_are_unrecognisable_in_what_is_stored_and_the_rest_stays_as_it_is(
    bench: Bench, street: Path, name: str
) -> None:
    photo = (street / name).read_bytes()
    case, owner = taken(bench)
    assert send(owner, case, photo).status_code == 303
    content = stored(bench, case)
    assert content is not None
    before, after = pixels(shown(photo)), pixels(content)
    for box in FACES[name]:
        assert detail(part(after, box)) < DETAIL_LEFT * detail(part(before, box)), box
    for box in THINGS[name]:
        assert np.array_equal(part(after, box), part(before, box)), box


def test_a_photo_of_a_phone_is_looked_at_upright(bench: Bench, street: Path) -> None:
    """Lying on its side, as the file has it, nobody would be found."""
    image = Image.open(street / "bus.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right
    out = io.BytesIO()
    image.transpose(Image.Transpose.ROTATE_90).save(out, "JPEG", exif=exif, quality=95)
    case, owner = taken(bench)
    assert send(owner, case, out.getvalue()).status_code == 303
    content = stored(bench, case)
    assert content is not None
    before, after = pixels(shown(out.getvalue())), pixels(content)
    for box in FACES["bus.jpg"]:
        assert detail(part(after, box)) < DETAIL_LEFT * detail(part(before, box)), box


def test_a_picture_without_anybody_stays_as_it_is(bench: Bench) -> None:
    case, owner = taken(bench)
    out = io.BytesIO()
    Image.new("RGB", (640, 480), (120, 120, 120)).save(out, "JPEG")
    assert send(owner, case, out.getvalue()).status_code == 303
    assert stored(bench, case) == shown(out.getvalue())


@given(st.integers(1, LONGEST), st.integers(1, 40), st.booleans())
def test_a_picture_of_any_shape_keeps_its_shape(longer: int, shorter: int, upright: bool) -> None:
    size = (shorter, longer) if upright else (longer, shorter)
    assert faces()(Image.new("RGB", size, (200, 90, 30))).size == size


def bomb(width: int, height: int) -> bytes:
    """A PNG whose head promises a huge picture."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"IDAT" + zlib.compress(b"\0" * 1000)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (head, body, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("size", [(9_000, 9_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1)])
def test_a_huge_picture_is_refused_by_its_head_before_anybody_looks_for_faces(size: tuple[int, int]) -> None:
    def hide(image: Image.Image) -> Image.Image:
        raise AssertionError(image.size)

    with pytest.raises(PhotoError):
        anonymous(bomb(*size), hide)


def test_no_picture_larger_than_what_is_kept_reaches_the_detector() -> None:
    sizes = []

    def hide(image: Image.Image) -> Image.Image:
        sizes.append((image.mode, image.size))
        return image

    for size in ((4000, 3000), (3000, 4000), (6000, 10)):
        anonymous(jpeg(*size), hide)
    assert sizes == [("RGB", (1600, 1200)), ("RGB", (1200, 1600)), ("RGB", (1600, 3))]


def test_without_the_detector_a_photo_is_refused_and_nothing_is_kept(
    idle: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "model"
    with serving(idle, Faces(Detector(model=folder, runtime="onnx"))):
        case, owner = taken(idle)
        refused = send(owner, case, jpeg())
        assert refused.status_code == 503
        assert "the server cannot hide faces" in refused.text
        assert str(folder) in caplog.text
        assert str(folder) not in refused.text
        assert (stored(idle, case), idle.now(case).state) == (None, "assigned")
        assert owner.submit(f"/cases/{case}/done", {"text": "fixed"}).status_code == 303  # as the page advises
        # Once it is there, the next photo finds it.
        shutil.copytree(find_model(Path(SHIPPED_MODEL), Path()), folder)
        case, owner = taken(idle)
        assert send(owner, case, jpeg()).status_code == 303
        assert stored(idle, case) is not None


class Counted:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: Image.Image) -> Image.Image:
        self.calls += 1
        return image


def test_the_detector_works_for_nobody_who_may_not_take_the_step(idle: Bench) -> None:
    hide = Counted()
    with serving(idle, hide):
        case, owner = taken(idle)
        codes = {who: send(idle.logged_in(who), case, jpeg()).status_code for who in ("li", "zhao", "smith")}
        assert codes == {"li": 409, "zhao": 403, "smith": 404}
        assert (hide.calls, stored(idle, case)) == (0, None)
        after = str(idle.now(case).ledger_n)
        assert [send(owner, case, jpeg(), after=after).status_code for _ in range(3)] == [
            303
        ] * 3  # one form, three times
        assert hide.calls == 1
        assert send(owner, case, jpeg()).status_code == 409  # done already
        assert hide.calls == 1
    assert idle.ledger(case) == ["opened", "taken", "done", "photo"]


def test_others_are_answered_while_a_photo_is_worked_on(idle: Bench) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hide(image: Image.Image) -> Image.Image:
        begun.set()
        assert go_on.wait(20)
        return image

    with serving(idle, hide), ThreadPoolExecutor(1) as pool:
        case, owner = taken(idle)
        sent = pool.submit(send, owner, case, jpeg())
        try:
            assert begun.wait(20)
            other = idle.logged_in("li")
            assert [other.get(path).status_code for path in ("/static/page.css", "/open")] == [200, 200]
            assert idle.now(case).state == "assigned"
        finally:
            go_on.set()
        assert sent.result().status_code == 303


def test_photos_are_worked_on_one_at_a_time_by_one_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, together = [], []
    meeting = threading.Barrier(2)

    def hide(image: Image.Image) -> Image.Image:
        try:
            meeting.wait(0.2)
            together.append(image)
        except threading.BrokenBarrierError:
            meeting.reset()
        return image

    def hider(settings: Detector) -> HideFaces:
        loaded.append(settings)
        return hide

    monkeypatch.setattr("deploy.faces.hider", hider)
    hide_faces = Faces()
    with ThreadPoolExecutor(3) as pool:
        assert len(list(pool.map(hide_faces, [Image.new("RGB", (8, 8))] * 3))) == 3
    assert (len(loaded), together) == (1, [])


def test_the_error_says_which_model_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FacesError, match=str(tmp_path / "none")):
        Faces(Detector(model=tmp_path / "none", runtime="onnx"))(Image.new("RGB", (8, 8)))


def test_on_a_full_disk_the_result_goes_without_the_photo(idle: Bench, tmp_path: Path) -> None:
    idle.store = Store(tmp_path / "full", reserve=1 << 60)
    with serving(idle):
        case, owner = taken(idle)
        refused = send(owner, case, jpeg())
        assert refused.status_code == 507
        assert "no room for pictures" in refused.text
        assert idle.now(case).state == "assigned"
        assert owner.submit(f"/cases/{case}/done", {"text": "fixed"}).status_code == 303
