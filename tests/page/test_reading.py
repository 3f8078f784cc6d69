"""Pages that are read: every one in both languages, alarms with their pictures, compliance, health."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from edge.clock import ManualClock
from edge.doctor.result import FINDINGS, Grade
from edge.journal.rows import JournalState, Trouble
from edge.page.view import Uplink
from edge.page.words import UplinkWords, Words, percent
from edge.text import LANGUAGES, catalogue
from edge.uplink.evidence import Cause as UploadCause
from edge.uplink.influx import Cause as InfluxCause
from edge.uplink.link import LinkCause
from edge.values import AlarmChange, CameraCause, CameraState, Instance, LinkState, Reason, Severity, Verdict
from tests.page.builders import FENCE, HELMET, HI_VIS, INTRUSION, BenchNode, clip, jpeg, place
from tests.page.conftest import Reader

PATHS = ("/", "/zones/gate", "/zones/yard", "/alarms", "/compliance", "/health", "/nothing")


def words_of(html: str) -> str:
    """What is to be read on a page."""
    main = re.sub(r"<script.*?</script>|<svg.*?</svg>|<style.*?</style>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", main)).split())


def fill(node: BenchNode) -> str:
    """Something to show on every page; gives the id of an alarm."""
    node.look()
    node.places = (
        place(HELMET, Verdict.VIOLATION, Reason.BARE, subjects=3, violating=1),
        place(HI_VIS, Verdict.UNKNOWN, Reason.TOO_DARK),
        place(FENCE, Verdict.OK, Reason.SEEN),
        place(INTRUSION, None, None),
    )
    alarm = node.raise_alarm()
    node.keep_evidence(alarm, "snapshot", jpeg())
    node.tally(HELMET, 600, 30, 70)
    node.camera("yard", CameraState.LOST, CameraCause.REFUSED, "10.0.0.21:554 refused")
    return alarm.alarm


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", [*PATHS, "/alarms/{alarm}"])
def test_every_page_in_both_languages(reader: Reader, node: BenchNode, path: str, language: str) -> None:
    path = path.format(alarm=fill(node))
    answer = reader.get(path, params={"lang": language}, follow_redirects=True)
    assert answer.status_code == (404 if path == "/nothing" else 200)
    assert f'<html lang="{language}">' in answer.text
    assert words_of(answer.text).count(catalogue(language)("page.nav.live"))
    assert not re.search(r"\b(page|rule|reason|verdict|cause|camera_state)\.[a-z_]+\b", words_of(answer.text))
    assert not re.search(r"\{\w*\}", words_of(answer.text).replace("{n}", ""))
    for address in re.findall(r'(?:src|href|action)="([^"]*)"', answer.text):
        assert address.startswith(("/", "?", "#")), f"{path} loads {address} from elsewhere"
    assert " style=" not in answer.text
    assert not re.search(r"\son\w+=", re.sub(r">[^<]*<", "><", answer.text))


def test_language_is_remembered(reader: Reader) -> None:
    assert 'lang="en"' in reader.get("/health").text  # of the site file
    assert 'lang="zh-CN"' in reader.get("/health?lang=zh-CN").text
    assert 'lang="zh-CN"' in reader.get("/alarms").text
    assert 'lang="zh-CN"' in reader.get("/alarms?lang=tlh").text


def test_language_is_kept_where_one_page_leads_to_another(reader: Reader, stranger: Reader) -> None:
    assert reader.get("/zones?lang=zh-CN").headers["location"] == "/zones/gate?lang=zh-CN"
    assert reader.get("/zones").headers["location"] == "/zones/gate"
    answer = stranger.get("/health?lang=zh-CN", follow_redirects=True)
    assert '<html lang="zh-CN">' in answer.text
    assert stranger.log_in(after="/zones?lang=zh-CN").headers["location"] == "/zones?lang=zh-CN"


def test_both_catalogues_say_the_same_things_with_the_same_fields() -> None:
    zh, en = (catalogue(language).texts for language in ("zh-CN", "en"))
    assert zh.keys() == en.keys()
    fields: Callable[[str], list[str]] = lambda text: sorted(re.findall(r"\{(\w+)", text))  # noqa: E731
    assert {k: fields(v) for k, v in zh.items()} == {k: fields(v) for k, v in en.items()}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_value_has_its_words(node: BenchNode, language: str) -> None:
    words = Words(catalogue(language), node.site(), node.clock.now())
    for reason in Reason:
        assert words.state(place(HELMET, Verdict.VIOLATION, reason)).reason
    for verdict in (*Verdict, None):
        assert words.state(place(HELMET, verdict, None)).word
    for state in CameraState:
        for cause in CameraCause:
            node.camera("gate", state, cause)
            told = words.status(node.cameras()[0])
            assert told.title
            assert told.ok or told.todo
    for trouble in Trouble:
        assert words.journal(JournalState(trouble=trouble, held=1, lost=1))[1]
    for change in AlarmChange:
        for verdict in Verdict:
            for severity in Severity:
                event = node.change_alarm(
                    node.raise_alarm(), change, verdict=verdict, severity=severity, instance=INTRUSION
                )
                assert words.alarm(event, ()).state
                assert all(words.step(event))


# -- alarms ------------------------------------------------------------------------------------------------------


def test_open_alarms_come_first_with_picture_place_and_clause(reader: Reader, node: BenchNode) -> None:
    shown = node.raise_alarm(HELMET)
    ref = node.keep_evidence(shown, "snapshot", jpeg())
    ended = node.raise_alarm(INTRUSION)
    node.change_alarm(ended, AlarmChange.CLEARED, verdict=Verdict.OK)
    html = reader.get("/alarms").text
    assert html.index(shown.alarm) < html.index(ended.alarm)
    assert f'<img src="/alarms/{shown.alarm}/{ref.sha256}"' in html
    read = words_of(html)
    assert "Main gate · Trench" in read
    assert "I.1.2, I.6.1" in read
    assert read.index("Open now 1") < read.index("Earlier")


def test_picture_and_clip_of_an_alarm(reader: Reader, node: BenchNode) -> None:
    alarm = node.raise_alarm()
    picture, film = jpeg(), clip()
    snapshot = node.keep_evidence(alarm, "snapshot", picture)
    video = node.keep_evidence(alarm, "clip", film)
    html = reader.get(f"/alarms/{alarm.alarm}").text
    for ref, content, kind in ((snapshot, picture, "image/jpeg"), (video, film, "video/mp4")):
        address = f"/alarms/{alarm.alarm}/{ref.sha256}"
        assert address in html
        answer = reader.get(address)
        assert answer.content == content
        assert answer.headers["content-type"] == kind
    part = reader.get(f"/alarms/{alarm.alarm}/{video.sha256}", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, film[100:200])  # phones ask for films in pieces


@pytest.mark.parametrize(
    ("language", "norm", "reading"),
    [
        ("en", "service code of the water supply and drainage trades", "part I (general), chapter 6, item 3"),
        ("zh-CN", "供水、排水行业服务规范", "第一部分（通用服务规范）第六章第（三）条"),
    ],
)
def test_the_norm_behind_the_clauses_is_named_once(
    reader: Reader, node: BenchNode, language: str, norm: str, reading: str
) -> None:
    alarm = node.raise_alarm(HELMET)
    node.raise_alarm(FENCE)
    for path in ("/alarms", f"/alarms/{alarm.alarm}"):
        read = words_of(reader.get(path, params={"lang": language}).text)
        assert read.count(norm) == read.count(reading) == 1


def test_evidence_that_is_gone_is_said_and_not_linked(reader: Reader, node: BenchNode) -> None:
    alarm = node.raise_alarm()
    ref = node.keep_evidence(alarm, "snapshot", jpeg())
    node.journal.evidence_delivered(ref.sha256)
    for path in ("/alarms", f"/alarms/{alarm.alarm}"):
        html = reader.get(path).text
        assert ref.sha256 not in html
        assert "No picture" in html
    assert reader.get(f"/alarms/{alarm.alarm}/{ref.sha256}").status_code == 404


def test_evidence_of_another_alarm_or_no_evidence(reader: Reader, node: BenchNode) -> None:
    one, other = node.raise_alarm(HELMET), node.raise_alarm(INTRUSION)
    ref = node.keep_evidence(one, "snapshot", jpeg())
    (node.folder / "evidence" / "secret").write_text("not evidence")
    for path in (
        f"/alarms/{other.alarm}/{ref.sha256}",
        f"/alarms/{one.alarm}/{'0' * 64}",
        f"/alarms/{one.alarm}/secret",
        f"/alarms/{one.alarm}/..%2Fsite.yaml",
        f"/alarms/{one.alarm}/..%2F..%2F..%2Fetc%2Fpasswd",
        "/alarms/nothing",
        "/alarms/01890a5d-ac96-774b-bcce-b302099a8057",
        "/alarms?limit=0",
        "/alarms?limit=x",
        "/static/..%2Fapp.py",
        "/static/nothing.js",
    ):
        assert reader.get(path).status_code == 404, path


def test_history_of_an_alarm_newest_first(reader: Reader, node: BenchNode, clock: ManualClock) -> None:
    alarm = node.raise_alarm()
    clock.advance(60)
    node.change_alarm(alarm, AlarmChange.UPDATED, subjects=4)
    clock.advance(60)
    node.change_alarm(alarm, AlarmChange.CLEARED, verdict=Verdict.UNKNOWN, subjects=4)
    read = words_of(reader.get(f"/alarms/{alarm.alarm}").text)
    history = read[read.index("What happened") :]
    assert history.index("Cleared") < history.index("Changed") < history.index("Raised")
    assert "Ended; nobody saw how" in read
    assert "2 min 2 s" in read


def test_an_alarm_before_the_clock_was_right_says_so(reader: Reader, node: BenchNode, clock: ManualClock) -> None:
    clock.synced = False
    alarm = node.raise_alarm()
    assert "clock was not set" in reader.get(f"/alarms/{alarm.alarm}").text


def test_no_alarms_yet(reader: Reader) -> None:
    assert "No alarms yet" in reader.get("/alarms").text


# -- compliance --------------------------------------------------------------------------------------------------


def test_shares_are_those_of_the_journal(reader: Reader, node: BenchNode) -> None:
    node.tally(HELMET, 540, 60, 400)
    node.tally(Instance("gate", "pit-edge", "helmet"), 300, 0, 0, minutes_ago=3)
    node.tally(HI_VIS, 0, 0, 60)
    node.tally(INTRUSION, 60, 0, 0, minutes_ago=90)
    html = reader.get("/compliance?hours=1").text
    read = words_of(html)
    assert "93.3 % compliant" in read  # 840 of 900
    assert "30.8 %" in read  # 400 of 1300 could not be judged
    bars = re.findall(r'class="(ok|violation|unknown)" x="([\d.]+)%" width="([\d.]+)%"', html)
    assert [(k, float(x), float(w)) for k, x, w in bars[:3]] == [
        ("ok", 0.0, 64.615),
        ("violation", 64.615, 4.615),
        ("unknown", 69.231, 30.769),
    ]
    assert "— compliant" in read  # nothing of HI_VIS could be judged: no compliance, not 100 %
    assert len(re.findall('class="card rule"', html)) == 2
    assert len(re.findall('class="card rule"', reader.get("/compliance?hours=8").text)) == 3


@pytest.mark.parametrize("hours", ["0", "8761", "x", "-1"])
def test_periods_that_are_none(reader: Reader, hours: str) -> None:
    assert reader.get(f"/compliance?hours={hours}").status_code == 404


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (1, 1, "100.0 %"),
        (99_999, 100_000, "> 99.9 %"),
        (99_949, 100_000, "99.9 %"),
        (8_647, 10_000, "86.5 %"),
        (29, 100, "29.0 %"),
        (1, 100_000, "< 0.1 %"),
        (0, 5, "0.0 %"),
        (0, 0, "—"),
    ],
)
def test_percent_never_flatters(part: int, whole: int, text: str) -> None:
    assert percent(part / whole if whole else None) == text


# -- health ------------------------------------------------------------------------------------------------------


def test_health_names_what_is_wrong(reader: Reader, node: BenchNode, clock: ManualClock) -> None:
    clock.synced = False
    node.mqtt = Uplink(LinkState.DOWN, "refused", "refused: 127.0.0.1:1883: nobody listens there")
    node.uploads = Uplink(LinkState.DOWN, "auth", "the server answers 403: it does not know this node")
    node.broken = "site.yaml, line 3: cameras: at least one"
    node.camera("yard", CameraState.LOST, CameraCause.REFUSED, "10.0.0.21:554 refused")
    read = words_of(reader.get("/health").text)
    for piece in (
        "Not connected; records wait in the journal",
        "Check host and port. Is the broker running?",
        "127.0.0.1:1883",
        "The site server does not accept this node.",
        "Enrol this node again",
        "the server answers 403",
        "Not synchronised",
        "the last good one is in force",
        "site.yaml, line 3: cameras: at least one",
        "10.0.0.21:554 refused",
        "61 ms typical, 95 % within 88 ms",
        "1 d 2 h",
    ):
        assert piece in read


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("organ", "code", "verdict"),
    [
        ("disk", "nearly_full", "unknown"),
        ("disk", "full", "violation"),
        ("heat", "hot", "unknown"),
        ("heat", "too_hot", "violation"),
        ("heat", "was_too_hot", "unknown"),
        ("power", "weak", "violation"),
        ("power", "was_weak", "unknown"),
    ],
)
def test_health_warns_of_the_machine_as_the_doctor_does(  # noqa: PLR0917 (a row of the table)
    reader: Reader, node: BenchNode, organ: str, code: str, verdict: str, language: str
) -> None:
    assert FINDINGS[organ][code][0] is {"unknown": Grade.WARN, "violation": Grade.BAD}[verdict]
    advice = catalogue(language)(f"doctor_do.{organ}.{code}")
    assert advice not in words_of(reader.get("/health", params={"lang": language}).text)
    setattr(node, organ, code)
    html = reader.get("/health", params={"lang": language}).text
    assert advice in words_of(html)
    (row,) = [r for r in re.findall(r"<div[^>]*><dt>.*?</div>", html, flags=re.DOTALL) if advice in unescape(r)]
    assert f"icon v-{verdict}" in row


def test_every_warning_of_the_doctor_about_the_machine_has_its_place_on_the_page(node: BenchNode) -> None:
    words, health = Words(catalogue("en"), node.site(), node.clock.now()), node.health()
    for organ, tell in (("heat", words.heat), ("power", words.power)):
        for code, (grade, _) in FINDINGS[organ].items():
            if grade is not Grade.SKIP:
                told = tell(replace(health, **{organ: code}))  # type: ignore[arg-type]
                assert told is not None
                assert told.verdict == {Grade.OK: "ok", Grade.WARN: "unknown", Grade.BAD: "violation"}[grade]


def test_what_a_machine_does_not_tell_is_left_out(reader: Reader, node: BenchNode) -> None:
    node.heat = node.power = node.disk = None
    answer = reader.get("/health")
    assert answer.status_code == 200
    read = words_of(answer.text)
    assert "Memory of the node" in read
    for name in ("Temperature", "Power supply", "Free on disk"):
        assert name not in read


UP, DOWN, CONNECTING, OFF = LinkState.UP, LinkState.DOWN, LinkState.CONNECTING, LinkState.OFF


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("state", [UP, DOWN])
def test_every_cause_of_an_uplink_has_words(node: BenchNode, state: LinkState, language: str) -> None:
    text = catalogue(language)
    words = Words(text, node.site(), node.clock.now())
    verdict = "unknown" if state is UP else "violation"
    for cause in set(LinkCause) - {LinkCause.NONE}:
        told = words.broker(Uplink(state, cause, "why"))
        assert (told.verdict, told.cause, told.todo, told.detail) == (
            verdict, text(f"mqtt.cause.{cause}"), text(f"mqtt.do.{cause}"), "why",
        )  # fmt: skip
    ways: list[tuple[Callable[[Uplink], UplinkWords], str, set[Any]]] = [
        (words.uploads, "upload", set(UploadCause) - {UploadCause.NONE}),
        (words.influx, "influx", set(InfluxCause) - {InfluxCause.NONE}),
    ]
    for told_of, topic, troubles in ways:
        for trouble in troubles:
            told = told_of(Uplink(state, trouble, "why"))
            assert (told.verdict, told.cause, told.todo, told.detail) == (
                verdict, text(f"{topic}.{trouble}"), text(f"{topic}_do.{trouble}"), "why",
            )  # fmt: skip


@pytest.mark.parametrize(
    ("uplink", "verdict", "state", "cause"),
    [
        (Uplink(OFF), "idle", "None set up", ""),
        (Uplink(CONNECTING), "unknown", "Nothing sent yet", ""),
        (Uplink(UP), "ok", "Connected", ""),
        (Uplink(UP, aside=2, detail="the server answers 413"), "unknown", "Connected", "2 files are refused"),
    ],
)
def test_uploads_in_words(node: BenchNode, uplink: Uplink, verdict: str, state: str, cause: str) -> None:
    told = Words(catalogue("en"), node.site(), node.clock.now()).uploads(uplink)
    assert (told.verdict, told.detail, told.todo) == (verdict, uplink.detail, "")
    assert told.state.startswith(state)
    assert told.cause.startswith(cause)
    assert bool(told.cause) is bool(cause)


def test_what_waits_for_influxdb_is_told_whether_it_is_well_or_not(node: BenchNode) -> None:
    words = Words(catalogue("en"), node.site(), node.clock.now())
    well = words.influx(Uplink(UP, waiting=7))
    assert (well.verdict, well.cause) == ("ok", "7 figures wait for InfluxDB.")
    ill = words.influx(Uplink(DOWN, InfluxCause.BUSY, "503", waiting=7))
    assert ill.cause == "InfluxDB asks for patience; figures wait. 7 figures wait for InfluxDB."


@pytest.mark.parametrize(
    ("state", "verdict", "pieces"),
    [
        (JournalState(), "ok", ["Writing"]),
        (JournalState(dropped={"clip": 3, "confirmation": 9}), "unknown", ["dropped: 3 clips"]),
        (JournalState(trouble=Trouble.DISK_FULL, held=2), "violation", ["disk is full", "2 alarm events wait"]),
        (JournalState(lost=1), "violation", ["1 alarm events were lost"]),
    ],
)
def test_journal_in_words(node: BenchNode, state: JournalState, verdict: str, pieces: list[str]) -> None:
    words = Words(catalogue("en"), node.site(), node.clock.now())
    told, said = words.journal(state)
    assert told == verdict
    assert len(said) == len(pieces)
    assert all(piece in line for piece, line in zip(pieces, said, strict=True))
