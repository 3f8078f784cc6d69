"""Whatever happens to a post, everybody who only reads its events knows what is open."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge.clock import ManualClock
from edge.values import AlarmChange, AlarmEvent, Instance, Verdict
from tests.node.builders import LEFT, RIGHT, WHOLE, Guard, site_file, worker

PEOPLE = (worker(), worker(helmet=False), worker(900, helmet=False, vest=False), worker(900, helmet=None))
ZONES = (
    {"id": "trench", "kind": "work", "polygon": WHOLE},
    {"id": "west", "kind": "work", "polygon": LEFT},
    {"id": "pit", "kind": "no_entry", "polygon": RIGHT},
)
SITE = {"id": "y", "latitude": 39.91, "longitude": 116.4}
RULES = {rule: {"clear_s": 4.0, "quiet_s": 5.0} for rule in ("helmet", "hi_vis", "intrusion")}


class Life(RuleBasedStateMachine):
    """A post through crowds, blindness, new site files and restarts; a reader that sees nothing but its events."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(wall=1_789_963_200.0)
        self.guard = Guard(site_file(*ZONES, rules=RULES), self.clock)
        self.known: dict[str, AlarmEvent] = {}
        self.read(self.guard.events)

    def read(self, events: list[AlarmEvent]) -> None:
        for event in events:
            before = self.known.get(event.alarm)
            assert (before is None) == (event.change is AlarmChange.RAISED)
            if before is not None:
                assert before.change is not AlarmChange.CLEARED
                assert (before.instance, before.first_seen) == (event.instance, event.first_seen)
                assert before.at.mono <= event.at.mono
                assert before.last_seen.mono <= event.last_seen.mono
            assert event.subjects >= 1
            assert event.last_seen.mono <= event.at.mono
            self.known[event.alarm] = event

    @property
    def open(self) -> dict[Instance, AlarmEvent]:
        return {e.instance: e for e in self.known.values() if e.change is not AlarmChange.CLEARED}

    @rule(who=st.sets(st.sampled_from(range(len(PEOPLE))), max_size=3), seconds=st.sampled_from([0.6, 2.0, 5.0]))
    def see(self, who: set[int], seconds: float) -> None:
        self.read(self.guard.see(seconds, *(PEOPLE[n] for n in who)))

    @rule(seconds=st.integers(1, 8))
    def blind(self, seconds: int) -> None:
        self.guard.tallies.clear()
        self.read(self.guard.blind(seconds))
        for counted in self.guard.tallies:
            assert (counted.ok_s, counted.violation_s) == (0, 0)

    @rule(seconds=st.sampled_from([1.0, 3.0, 60.0]))
    def nothing(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(zones=st.sets(st.sampled_from(range(len(ZONES))), min_size=1), closed=st.booleans())
    def new_site_file(self, zones: set[int], closed: bool) -> None:
        hours = {"working_hours": [{"start": "07:00", "end": "08:00"}]} if closed else {}
        site = site_file(*(ZONES[n] for n in sorted(zones)), rules=RULES, site=SITE | hours)
        self.read(self.guard.renew(site))
        self.guard.site = site

    @precondition(lambda self: self.open)
    @rule()
    def restart(self) -> None:
        restored = list(self.open.values())
        self.guard = Guard(self.guard.site, self.clock, restored=restored)
        self.read(self.guard.events)
        assert all(e.verdict is Verdict.UNKNOWN for e in self.open.values())

    @invariant()
    def the_reader_knows_what_is_open(self) -> None:
        states = self.guard.post.states(self.clock.now())
        assert {s.alarm for s in states if s.alarm} == {e.alarm for e in self.open.values()}
        assert len(self.open) == sum(e.change is not AlarmChange.CLEARED for e in self.known.values())

    def teardown(self) -> None:
        self.read(self.guard.post.close(self.clock.now()))
        assert not self.open


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
