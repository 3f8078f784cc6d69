"""A post end to end, from what the detector sees to alarms and seconds, on a clock that the test moves."""

from __future__ import annotations

import pytest

from edge.site.model import SiteFile
from edge.values import Reason, Rest
from tests.node.builders import LEFT, RIGHT, WHOLE, Guard, Sight, detections, frame, site_file, told, worker

CORRECT = worker()
BARE = worker(helmet=False)
NO_VEST = worker(vest=False)
ELSEWHERE = worker(900)
TRENCH = {"id": "trench", "kind": "work", "polygon": WHOLE}
CLOSED = {"id": "pit", "kind": "no_entry", "polygon": RIGHT}


@pytest.mark.parametrize(
    ("people", "alarms"),
    [
        pytest.param([], [], id="nobody"),
        pytest.param([CORRECT], [], id="all in order"),
        pytest.param([BARE], ["raised helmet violation"], id="a bare head"),
        pytest.param([NO_VEST], ["raised hi_vis violation"], id="no vest"),
        pytest.param(
            [worker(helmet=False, vest=False)], ["raised helmet violation", "raised hi_vis violation"], id="both"
        ),
        pytest.param([CORRECT, worker(900, helmet=False)], ["raised helmet violation"], id="one of two"),
        pytest.param([worker(helmet=None, vest=None)], [], id="neither seen nor absent"),
        pytest.param([worker(foot=320)], [], id="head at the upper edge"),
    ],
)
def test_what_two_seconds_raise(people: list[list[Sight]], alarms: list[str]) -> None:
    assert sorted(told(Guard().see(2.0, *people))) == alarms


def test_less_than_the_confirmation_time_raises_nothing() -> None:
    guard = Guard()
    assert not guard.see(0.8, BARE)
    assert not guard.see(3.0, CORRECT)


@pytest.mark.parametrize(("sure", "alarms"), [(0.25, []), (0.15, ["raised helmet violation"])])
def test_a_helmet_that_is_half_seen_speaks_against_an_alarm(sure: float, alarms: list[str]) -> None:
    """The head is called bare with 0.45."""
    guard = Guard()
    bare = detections([s for s in BARE if s[0] == "no_helmet"], sure=0.45)
    hat = detections([s for s in CORRECT if s[0] == "helmet"], sure=sure)
    seen = detections(worker(helmet=None)).joined(bare).joined(hat)
    looks = [guard.post.judge(frame(guard.clock.advance(0.2)), seen) for _ in range(10)]
    assert told(event for _, events in looks for event in events) == alarms


def test_a_breach_is_raised_as_soon_as_it_is_confirmed() -> None:
    guard = Guard()
    began = guard.clock.mono
    (raised,) = guard.see(2.0, BARE)
    assert raised.at.mono - began == pytest.approx(1.2)  # the first look at 0.2 s, and a second from it
    assert raised.first_seen.mono - began == pytest.approx(0.2)


@pytest.mark.parametrize("gap_s", [0.4, 1.0, 1.8])
def test_a_short_occlusion_is_no_new_alarm(gap_s: float) -> None:
    guard = Guard()
    guard.see(2.0, BARE)
    assert not guard.see(gap_s)
    assert not guard.see(3.0, BARE)


def test_seconds_are_counted_per_person() -> None:
    guard = Guard()
    guard.see(2.0, CORRECT, worker(900, helmet=False))  # both confirmed
    guard.tallies.clear()
    guard.see(10.0, CORRECT, worker(900, helmet=False))
    assert guard.seconds("helmet") == (10, 10, 0, 10)
    assert guard.seconds("hi_vis") == (20, 0, 0, 0)


def test_nobody_there_adds_nothing() -> None:
    guard = Guard()
    guard.see(10.0)
    assert not guard.tallies


def test_a_blind_camera_adds_one_unknown_a_second_and_casts_doubt_on_its_alarms() -> None:
    guard = Guard(site_file(rules={"helmet": {"quiet_s": 0}}))
    guard.see(2.0, BARE)
    guard.tallies.clear()
    events = guard.blind(10)
    assert told(events) == ["updated helmet unknown"]
    assert events[0].reason is Reason.CAMERA_BLIND
    assert guard.seconds("helmet")[2] >= 10


def test_put_right_is_cleared_as_in_order_and_gone_is_cleared_as_unknown() -> None:
    put_right, gone = Guard(), Guard()
    put_right.see(2.0, BARE)
    gone.see(2.0, BARE)
    assert told(put_right.see(40.0, CORRECT)) == ["cleared helmet ok"]
    assert told(gone.see(40.0)) == ["cleared helmet unknown"]


def test_leaving_a_closed_zone_ends_the_intrusion_well() -> None:
    guard = Guard(site_file(CLOSED))
    assert told(guard.see(2.0, ELSEWHERE)) == ["raised intrusion violation"]
    assert told(guard.see(60.0, worker(200))) == ["cleared intrusion ok"]


def test_the_end_of_working_hours_ends_alarms_and_counting() -> None:
    guard = Guard(site_file(site={"id": "y", "latitude": 39.91, "longitude": 116.4,
                                        "working_hours": [{"start": "07:00", "end": "12:02"}]}))  # fmt: skip
    assert told(guard.see(2.0, BARE)) == ["raised helmet violation"]
    guard.clock.advance(180.0)
    assert told(guard.see(15.0, BARE)) == ["cleared helmet unknown"]
    guard.tallies.clear()
    guard.see(5.0, BARE)
    assert not [t for t in guard.tallies if t.instance.rule == "helmet"]


def test_a_rule_that_rests_says_so_and_not_that_nobody_is_there() -> None:
    guard = Guard(site_file(site={"id": "y", "latitude": 39.91, "longitude": 116.4,
                                  "working_hours": [{"start": "07:00", "end": "12:02"}]}))  # fmt: skip
    guard.see(2.0, BARE)
    assert guard.rests() == {"helmet": None, "hi_vis": None, "night_reflective": Rest.DAY}
    guard.clock.advance(180.0)
    guard.see(15.0, BARE)
    assert guard.rests() == {"helmet": Rest.HOURS, "hi_vis": Rest.HOURS, "night_reflective": Rest.DAY}
    assert {s.verdict for s in guard.post.states(guard.clock.now())} == {None}


def test_a_rule_that_is_switched_off_is_judged_nowhere() -> None:
    guard = Guard(site_file(rules={"helmet": {"enabled": False}}))
    assert set(guard.rests()) == {"hi_vis", "night_reflective"}


def test_a_new_site_file_ends_alarms_of_zones_that_are_gone_and_keeps_the_others() -> None:
    here, there = ({"id": i, "kind": "work", "polygon": p} for i, p in (("west", LEFT), ("east", RIGHT)))
    guard = Guard(site_file(here, there))
    guard.see(2.0, BARE, worker(900, helmet=False))
    (ended,) = guard.renew(site_file(here))
    assert (ended.instance.place, ended.verdict.value) == ("east", "unknown")
    assert not guard.see(3.0, BARE)  # the one in the west goes on, and is not raised again


def test_alarms_from_before_a_restart_are_unknown_until_judged_again() -> None:
    before = Guard()
    (raised,) = before.see(2.0, BARE)
    after = Guard(restored=[raised], clock=before.clock)
    assert told(after.events) == ["updated helmet unknown"]
    assert after.events[0].reason is Reason.RESTARTED
    assert after.events[0].alarm == raised.alarm
    assert told(after.see(2.0, BARE)) == ["updated helmet violation"]


def test_a_class_that_the_model_lacks_gives_unknown_and_never_silence() -> None:
    guard = Guard(names=("person", "helmet", "no_helmet"))
    guard.see(5.0, CORRECT)
    assert guard.seconds("helmet")[0] > 0
    assert guard.seconds("hi_vis")[:2] == (0, 0)
    assert guard.seconds("hi_vis")[2] >= 4


def test_an_alarm_from_before_a_restart_ends_where_its_hours_are_over() -> None:
    hours = site_file(site={"id": "y", "latitude": 39.91, "longitude": 116.4,
                            "working_hours": [{"start": "07:00", "end": "12:02"}]})  # fmt: skip
    before = Guard(hours)
    (raised,) = before.see(2.0, BARE)
    before.clock.advance(300.0)
    after = Guard(hours, restored=[raised], clock=before.clock)
    after.see(1.0)
    assert told(after.events) == ["updated helmet unknown", "cleared helmet unknown"]


def test_a_new_site_file_that_shortens_the_hours_ends_what_is_out_of_them() -> None:
    guard = Guard()
    guard.see(2.0, BARE)
    guard.renew(site_file(site={"id": "y", "latitude": 39.91, "longitude": 116.4,
                                "working_hours": [{"start": "07:00", "end": "09:00"}]}))  # fmt: skip
    assert told(guard.see(0.4, BARE)) == ["cleared helmet unknown"]


def test_a_new_site_file_leaves_everybody_their_track() -> None:
    guard = Guard()
    guard.see(2.0, CORRECT)
    guard.see(2.0, CORRECT, worker(900, helmet=False))
    guard.renew(site_file())
    guard.tallies.clear()
    guard.see(10.0, worker(900, helmet=False), CORRECT)
    assert guard.seconds("helmet") == (10, 10, 0, 10)


@pytest.mark.parametrize("period_s", [9.7, 10.0, 10.3])
def test_a_camera_that_comes_a_little_early_puts_no_fixture_off_by_a_whole_round(period_s: float) -> None:
    fence = {"id": "fence", "kind": "barrier", "line": [[0.1, 0.5], [0.9, 0.5]]}
    site = site_file()
    content = site.model_dump(mode="json")
    content["cameras"][0]["fixtures"] = [fence]
    guard = Guard(SiteFile.model_validate(content))
    looks = sum(
        f.instance.rule == "barrier"
        for _ in range(10)
        for f in guard.post.judge(frame(guard.clock.advance(period_s)), detections())[0].findings
    )
    assert looks == 10


def test_a_camera_that_sees_again_counts_who_is_there_and_nothing_else() -> None:
    guard = Guard()
    guard.see(3.0, CORRECT)
    guard.tallies.clear()
    guard.blind(10)
    assert guard.seconds("helmet") == (0, 0, 10, 0)
    guard.see(2.0, CORRECT)
    guard.tallies.clear()
    guard.see(5.0, CORRECT)
    assert guard.seconds("helmet") == (5, 0, 0, 0)
