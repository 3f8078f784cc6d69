"""The live view over HTTP: long polls, pictures, boxes, blind cameras, many who look."""

from __future__ import annotations

import email.parser
import email.policy
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from edge.values import CameraCause, CameraState, Image, Reason, Rest, Verdict
from tests.page.builders import HEIGHT, HELMET, HI_VIS, INTRUSION, WIDTH, BenchNode, judged, photo, place, serving
from tests.page.conftest import Reader


@dataclass
class Told:
    told: dict[str, Any]
    picture: Image | None

    @property
    def boxes(self) -> list[dict[str, Any]]:
        boxes: list[dict[str, Any]] = self.told["view"]["boxes"]
        return boxes


def take_apart(answer: httpx.Response) -> Told:
    """The parts of a `multipart/form-data` answer, as a browser would."""
    assert answer.status_code == 200
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + answer.content)
    parts = {p.get_param("name", header="content-disposition"): p for p in message.iter_parts()}
    told = json.loads(parts["told"].get_content())
    if "picture" not in parts:
        return Told(told, None)
    data = np.frombuffer(parts["picture"].get_content(), dtype=np.uint8)
    return Told(told, np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8))


def ask(reader: Reader, after: int = 0, state: str = "live") -> Told:
    return take_apart(reader.get("/live/gate", params={"after": after, "state": state}))


def test_picture_comes_with_its_boxes(reader: Reader, node: BenchNode) -> None:
    node.look(judged((320, 180, 640, 540), HELMET, Verdict.VIOLATION, Reason.BARE))
    told = ask(reader)
    assert told.picture is not None
    assert told.picture.shape == (HEIGHT, WIDTH, 3)
    assert told.picture[360, 704].min() > 240  # the bright rectangle is where it was
    (box,) = told.boxes
    assert (box["x"], box["y"], box["w"], box["h"]) == (0.25, 0.25, 0.25, 0.5)
    assert box["verdict"] == "violation"
    assert told.told["view"]["seq"] == 1


def test_a_person_has_one_box_with_the_worst_verdict_and_its_reasons(reader: Reader, node: BenchNode) -> None:
    person, other = (100, 100, 200, 400), (300, 100, 400, 400)
    node.look(
        judged(person, HELMET, Verdict.VIOLATION, Reason.BARE),
        judged(person, HI_VIS, Verdict.UNKNOWN, Reason.TOO_DARK),
        judged(person, INTRUSION, Verdict.VIOLATION, Reason.INSIDE),
        judged(other, HELMET, Verdict.OK, Reason.SEEN),
    )
    fine, bad = ask(reader).boxes  # the bad ones last: drawn on top
    assert (fine["verdict"], fine["notes"]) == ("ok", [])
    assert bad["verdict"] == "violation"
    assert len(bad["notes"]) == 2


def test_large_pictures_are_made_smaller_and_boxes_stay_in_place(reader: Reader, node: BenchNode) -> None:
    node.look(judged((960, 270, 1152, 810), HELMET, Verdict.OK, Reason.SEEN), image=photo(1920, 1080))
    told = ask(reader)
    assert told.picture is not None
    assert told.picture.shape == (720, 1280, 3)
    assert told.boxes[0]["x"] == 0.5


def test_heads_are_unrecognisable(reader: Reader, node: BenchNode) -> None:
    noise = np.random.default_rng(7).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    node.look(image=noise, heads=[(600, 300, 680, 400)])
    picture = ask(reader).picture
    assert picture is not None
    face, elsewhere = picture[360:395, 605:675], picture[360:395, 105:175]
    assert face.std(axis=(0, 1)).mean() < 0.6 * elsewhere.std(axis=(0, 1)).mean()


def test_waits_for_another_frame(reader: Reader, node: BenchNode) -> None:
    first = node.look().seq
    assert ask(reader).told["view"]["seq"] == first
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, reader, first)
        with pytest.raises(TimeoutError):
            answer.result(0.3)
        second = node.look().seq
        assert answer.result(5).told["view"]["seq"] == second


def test_a_camera_that_counts_from_one_again_is_shown_at_once(reader: Reader, node: BenchNode) -> None:
    node.look()
    assert ask(reader, after=5000).told["view"]["seq"] == 1


def test_a_camera_that_goes_blind_ends_the_wait_and_tells_why(reader: Reader, node: BenchNode) -> None:
    seq = node.look().seq
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, reader, seq)
        node.camera("gate", CameraState.LOST, CameraCause.AUTH, "rtsp://10.0.0.20/stream2: 401")
        told = answer.result(5)
    assert told.told["view"] is None
    assert told.picture is None
    status = told.told["status"]
    assert (status["code"], status["ok"], status["detail"]) == ("lost", False, "rtsp://10.0.0.20/stream2: 401")
    assert status["cause"]
    assert status["todo"]


def test_rules_of_this_camera_are_told_the_worst_first(reader: Reader, node: BenchNode) -> None:
    node.look()
    node.places = (
        place(INTRUSION, None, None),
        place(HI_VIS, Verdict.OK, Reason.SEEN, subjects=2),
        place(HELMET, Verdict.VIOLATION, Reason.BARE, subjects=3, violating=2, alarm="a"),
        place(type(HELMET)("yard", "-", "helmet"), Verdict.VIOLATION, Reason.BARE, alarm="b"),
    )
    told = ask(reader).told
    assert [p["verdict"] for p in told["places"]] == ["violation", "ok", "idle"]
    assert told["places"][0]["count"] == "2 of 3"
    assert told["headline"] == {"kind": "alarmed", "text": "2 open alarms", "address": "/alarms"}


@pytest.mark.parametrize(
    ("alarms", "blind", "kind", "english", "chinese", "leads"),
    [
        (0, 0, "calm", "No open alarm", "没有未消除的告警", "/alarms"),
        (0, 1, "blind", "1 camera sees nothing", "1 台摄像头看不到画面", "/health"),
        (0, 2, "blind", "2 cameras see nothing", "2 台摄像头看不到画面", "/health"),
        (1, 0, "alarmed", "1 open alarm", "1 条未消除的告警", "/alarms"),
        (
            2,
            1,
            "alarmed",
            "2 open alarms · 1 camera sees nothing",
            "2 条未消除的告警 · 1 台摄像头看不到画面",
            "/alarms",
        ),
    ],
)
def test_the_headline_is_calm_only_while_every_camera_sees(  # noqa: PLR0917 (a row of the table)
    reader: Reader, node: BenchNode, alarms: int, blind: int, kind: str, english: str, chinese: str, leads: str
) -> None:
    node.look()
    node.places = tuple(place(HELMET, Verdict.VIOLATION, Reason.BARE, alarm=str(n)) for n in range(alarms))
    for camera in ("yard", "gate")[:blind]:
        node.camera(camera, CameraState.LOST, CameraCause.REFUSED)
    for language, text in (("en", english), ("zh-CN", chinese)):
        html = reader.get("/", params={"lang": language}).text
        assert f'<a id="calm" class="headline {kind}" href="{leads}">' in html
        assert f'<b aria-live="polite">{text}</b>' in html
        assert ask(reader, state="").told["headline"] == {"kind": kind, "text": text, "address": leads}


@pytest.mark.parametrize(
    ("rest", "words"),
    [(None, "Nobody here now"), (Rest.DAY, "Judged only at night"), (Rest.HOURS, "Outside its hours: not judged now")],
)
def test_a_rule_without_a_verdict_says_why(reader: Reader, node: BenchNode, rest: Rest | None, words: str) -> None:
    node.look()
    node.places = (place(HELMET, None, None, rest=rest),)
    (told,) = ask(reader).told["places"]
    assert (told["verdict"], told["word"], told["reason"]) == ("idle", words, "")
    assert words in reader.get("/").text


def test_a_long_poll_ends_when_the_page_stops(node: BenchNode) -> None:
    node.look()
    others = set(threading.enumerate())
    asked = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with serving(node, node.clock) as url:

            def poll() -> Told:
                with Reader(url) as reader:
                    asked.set()
                    return ask(reader, after=1)

            answer = pool.submit(poll)
            asked.wait(5)
            with pytest.raises(TimeoutError):
                answer.result(0.3)
        assert answer.result(5).told["view"] is None
    assert not [t for t in set(threading.enumerate()) - others if t.name == "page"]


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every JPEG that is encoded."""
    made: list[str] = []
    encode = cv2.imencode

    def counted(kind: str, *args: Any) -> Any:
        made.append(kind)
        return encode(kind, *args)

    monkeypatch.setattr(cv2, "imencode", counted)
    return made


def test_nobody_looks_nothing_is_encoded(node: BenchNode, reader: Reader, encodings: list[str]) -> None:
    for _ in range(5):
        node.look()
    assert reader.get("/").status_code == 200
    assert reader.get("/health").status_code == 200
    assert encodings == []


def test_twenty_who_look_share_one_encoding(url: str, node: BenchNode, encodings: list[str]) -> None:
    node.look()

    def look(_: int) -> int:
        with Reader(url) as reader:
            seq: int = ask(reader).told["view"]["seq"]
            return seq

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(look, range(20))) == {1}
    assert encodings == [".jpg"]


def test_picture_for_the_editor(reader: Reader, node: BenchNode) -> None:
    assert reader.get("/live/gate/now.jpg").status_code == 404
    node.look()
    answer = reader.get("/live/gate/now.jpg")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.content.startswith(b"\xff\xd8")


@pytest.mark.parametrize(
    "path", ["/live/nowhere", "/live/Gate", "/live/gate?after=-1", "/live/gate?after=x", "/live/..%2f"]
)
def test_what_is_not_there(reader: Reader, path: str) -> None:
    assert reader.get(path, headers={"Accept": "application/json"}).status_code == 404
