"""Which picture stands for a case: that of its newest alarm; one of an earlier alarm says so."""

from __future__ import annotations

import re

import pytest

from tests.dispatch.web.builders import START, Bench, clip, jpeg

EARLIER = {"en": "Of an earlier alarm, 22:13:20", "zh-CN": "此前告警（22:13:20）的画面"}


def again(bench: Bench, *, earlier: bool = True, newest: bool = False, film: bool = False) -> tuple[str, list[str]]:
    """A case whose alarm was raised, cleared, and raised again a minute later; gives its id and its two alarms'
    addresses of evidence. earlier, newest: whether they have a picture, film: a clip."""
    alarms = []
    for n, kept in enumerate((earlier, newest)):
        alarm = bench.alarm(place="pit")
        alarms.append(alarm)
        bench.clock.advance(30)
        if kept:
            bench.keep(alarm, jpeg(shade=100 + n))
        if kept and film:
            bench.keep(alarm, clip(10 + n), "clip")
        if n == 0:
            bench.alarm(place="pit", alarm=alarm, event="cleared", verdict="ok", reason="seen")
        bench.clock.advance(30)
    case = bench.case_of(alarms[1])
    assert case.alarms == 2
    return case.id, [f"/evidence/{alarm}/" for alarm in alarms]


def figures(page: str) -> list[tuple[str, str]]:
    """Address and what is said of each picture and clip, in their order."""
    found = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    addresses = [re.search(r'(?:src|href)="([^"]+)"', figure) for figure in found]
    labels = [re.search(r"<figcaption>(.*?)</figcaption>", figure) for figure in found]
    return [(a[1] if a else "", label[1] if label else "") for a, label in zip(addresses, labels, strict=True)]


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_the_newest_alarms_picture_is_the_main_one_and_an_earlier_one_says_when_it_was(
    bench: Bench, language: str
) -> None:
    case, (first, second) = again(bench, newest=True, film=True)
    page = bench.logged_in("wang").get(f"/cases/{case}?lang={language}").text
    said = [(address.startswith(second), label) for address, label in figures(page)]
    assert said == [(True, ""), (True, ""), (False, EARLIER[language]), (False, EARLIER[language])]
    assert all(address.startswith((first, second)) for address, _ in figures(page))
    assert re.search(rf'poster="{second}', page)


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_where_the_newest_alarm_has_none_an_earlier_one_says_so(bench: Bench, language: str) -> None:
    case, (first, _) = again(bench)
    link = f"/l/{bench.links.sign(case, bench.foreman, bench.clock.now())}"
    for reader, path, base in ((bench.logged_in("wang"), f"/cases/{case}", ""), (bench.reader(), link, link)):
        ((address, label),) = figures(reader.get(f"{path}?lang={language}").text)
        assert address.startswith(f"{base}{first}")
        assert label == EARLIER[language]
        assert reader.get(address).status_code == 200


def test_a_picture_that_comes_takes_the_earlier_ones_place_and_label(bench: Bench) -> None:
    case, (first, second) = again(bench)
    link = f"/l/{bench.links.sign(case, bench.foreman, bench.clock.now())}"
    stranger = bench.reader()
    ((before, _),) = figures(stranger.get(link).text)
    bench.keep(second.split("/")[2], jpeg(shade=80))
    assert [(a.removeprefix(link).startswith(second), label) for a, label in figures(stranger.get(link).text)] == [
        (True, "")
    ]
    assert before.removeprefix(link).startswith(first), "an address is of one picture for ever: a browser keeps it"
    assert stranger.get(before).status_code == 200


def test_what_has_no_room_for_a_label_shows_the_newest_alarm_or_nothing(bench: Bench) -> None:
    case, (first, second) = again(bench)
    wang = bench.logged_in("wang")
    link = f"/m/{bench.message(bench.foreman, case, bench.case())}"
    for page in (wang.get("/open").text, bench.reader().get(link).text):
        assert first not in page
    assert wang.get(f"/cases/{case}/picture").status_code == 404
    bench.keep(second.split("/")[2], jpeg(shade=80))
    for page in (wang.get("/open").text, bench.reader().get(link).text):
        assert second in page
        assert first not in page
    assert wang.get(f"/cases/{case}/picture").status_code == 200


def test_a_link_opens_pictures_of_earlier_alarms_of_its_case(bench: Bench) -> None:
    case, _ = again(bench, newest=True)
    phone = bench.reader()
    phone.post(f"/l/{bench.links.sign(case, bench.foreman, bench.clock.now())}")
    addresses = [address for address, _ in figures(phone.get(f"/cases/{case}").text)]
    assert [phone.get(address).status_code for address in addresses] == [200, 200]


def test_a_picture_that_cannot_be_read_is_none(bench: Bench) -> None:
    alarm = bench.alarm()
    case = bench.case_of(alarm).id
    sha256 = bench.keep(alarm, b"\xff\xd8\xff" + b"no jpeg")
    link = f"/l/{bench.links.sign(case, bench.foreman, START)}"
    several = f"/m/{bench.message(bench.foreman, case, bench.case())}"
    reader = bench.logged_in("wang")
    file = f"/evidence/{alarm}/{sha256}"
    for path in (f"/cases/{case}/picture", f"{file}?small=1", f"{link}{file}", f"{several}{file}"):
        assert reader.get(path).status_code == 404, path
