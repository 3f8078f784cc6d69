"""Cases in words, in one language, for the templates. Nothing here asks the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from broker.dispatch.norm.calendar import SiteCalendar
from broker.dispatch.norm.feedback import CLOSES, OPENS, Telling, telling, within_hours
from broker.dispatch.norm.result import shift_end
from broker.dispatch.norm.review import overdue, review_due
from broker.dispatch.tables import AlarmState, Case, CaseState, Evidence, Ledger, Site
from broker.dispatch.text import Catalogue

WHOLE_PICTURE = "-"
_QUICK = ("answer", "close", "false_alarm")  # what is said there does not depend on the rule
_HOURS = {name: f"{at // 60:02}:{at % 60:02}" for name, at in (("opens", OPENS), ("closes", CLOSES))}
_FIELDS = ("result", "answer", "text", "reason")  # of a ledger line, those that people wrote


@dataclass(frozen=True, slots=True)
class ClockWords:
    """How the norm's clock stands: text, and `bad`, `wait`, `good` or nothing."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class FileWords:
    """A file of a case. `small`: a thumbnail's address, empty where there is none. `earlier`: whose it is, where that
    is an alarm before the newest."""

    address: str
    kind: str
    small: str
    earlier: str = ""


@dataclass(frozen=True, slots=True)
class CaseWords:
    """A case as pages show it."""

    id: str
    address: str
    site: str
    severity: str
    severity_word: str
    state: str
    state_word: str
    title: str
    place: str
    reason: str
    alarm_word: str
    clauses: str
    clause_text: str
    subjects: str
    since: str
    since_iso: str
    lasted: str
    owner: str
    clock: ClockWords
    telling: str
    """When whoever reported it from outside may be told; empty unless that is what it waits for."""
    overdue: bool
    notes: tuple[str, ...]
    picture: str


@dataclass(frozen=True, slots=True)
class StepWords:
    """A line of a case's history."""

    at: str
    who: str
    what: str
    detail: str


class Words:
    """Says things in one language. sites: by id; people: names by id; calendars: by id, of those sites of whose cases
    it is asked how the clock stands."""

    def __init__(
        self,
        text: Catalogue,
        now: float,
        sites: Mapping[str, Site],
        people: Mapping[str, str],
        calendars: Mapping[str, SiteCalendar],
    ) -> None:
        self.text = text
        self.now = now
        self.sites = sites
        self.people = people
        self.calendars = calendars

    # -- times ---------------------------------------------------------------------------------------------------------

    def _local(self, at: float, site: str) -> datetime:
        known = self.sites.get(site)
        return datetime.fromtimestamp(at, ZoneInfo(known.time_zone if known else "UTC"))

    def time(self, at: float, site: str) -> str:
        """Time at the site; with the date when that is not today."""
        local, today = self._local(at, site), self._local(self.now, site)
        return f"{local:%H:%M:%S}" if local.date() == today.date() else f"{local:%Y-%m-%d %H:%M}"

    def by(self, at: float, site: str) -> str:
        """A time of day to come or gone by, with its day in words."""
        local, today = self._local(at, site), self._local(self.now, site).date()
        near = {0: "today", 1: "tomorrow", -1: "yesterday"}.get((local.date() - today).days, "day")
        return self.text(f"web.by.{near}", time=f"{local:%H:%M}", day=f"{local:%Y-%m-%d}")

    def stamp(self, at: float, site: str) -> str:
        """Date and time at the site."""
        return f"{self._local(at, site):%Y-%m-%d %H:%M:%S}"

    def duration(self, seconds: float) -> str:
        s = max(0, int(seconds))
        if s < 60:
            return self.text("web.duration.s", s=s)
        if s < 3600:
            return self.text("web.duration.min", m=s // 60, s=s % 60)
        if s < 86400:
            return self.text("web.duration.h", h=s // 3600, m=s % 3600 // 60)
        return self.text("web.duration.d", d=s // 86400, h=s % 86400 // 3600)

    # -- names ---------------------------------------------------------------------------------------------------------

    def site(self, site: str) -> str:
        known = self.sites.get(site)
        return known.name if known else site

    def person(self, actor: str | None) -> str:
        """A person, a node or dispatch itself, as an actor of the ledger."""
        if not actor:
            return ""
        kind, _, name = actor.partition(":")
        if kind == "node" and name:
            return self.text("web.actor.node", node=name)
        return self.text("web.actor.dispatch") if actor == "dispatch" else self.people.get(actor, actor)

    def rule(self, rule: str, what: str = "name") -> str:
        """A text of a rule; of one that a newer node knows and this version does not, its id."""
        key = f"rule.{rule}.{what}"
        return self.text(key) if key in self.text else self.text(f"rule.other.{what}", rule=rule)

    def quick(self, rule: str) -> dict[str, list[str]]:
        """By step, what is said most of a case of this rule."""
        done = [self.text(f"quick.done.{name}") for name in (rule, "other") if f"quick.done.{name}" in self.text]
        texts = self.text.texts.items()
        return {"done": done} | {s: [said for key, said in texts if key.startswith(f"quick.{s}.")] for s in _QUICK}

    def reason(self, reason: str) -> str:
        key = f"notify.reason.{reason}"
        return self.text(key) if key in self.text else reason

    def severity(self, severity: str) -> str:
        return self.text(f"severity.{severity}")

    def state(self, state: str) -> str:
        return self.text(f"web.state.{state}")

    # -- cases ---------------------------------------------------------------------------------------------------------

    def clock(self, case: Case) -> ClockWords:  # noqa: PLR0911 a table
        """What the norm's clock says of a case."""
        if overdue(case.review_from, case.assigned_at, self.now) and not CaseState(case.state).over:
            late = self.duration(self.now - review_due(case.review_from))
            return ClockWords(self.text("web.clock.overdue", lasted=late), "bad")
        match CaseState(case.state):
            case CaseState.OPEN | CaseState.REOPENED:
                left = self.duration(review_due(case.review_from) - self.now)
                return ClockWords(self.text("web.clock.left", left=left), "wait")
            case CaseState.ASSIGNED:
                since = case.assigned_at or self.now
                due, who = shift_end(since, self._calendar(case.site)), self.person(case.owner)
                fields = {"who": who, "by": self.by(due, case.site)}
                if due < self.now:
                    late = self.duration(self.now - due)
                    return ClockWords(self.text("web.clock.no_result", lasted=late, **fields), "bad")
                lasted = self.duration(self.now - since)
                return ClockWords(self.text("web.clock.assigned", lasted=lasted, **fields), "")
            case CaseState.RESOLVED:
                due = self._telling(case).due
                if due < self.now:
                    return ClockWords(self.text("web.clock.unanswered", lasted=self.duration(self.now - due)), "bad")
                lasted = self.duration(self.now - (case.resolved_at or self.now))
                by = self.by(due, case.site)
                return ClockWords(self.text("web.clock.resolved", lasted=lasted, by=by), "wait")
            case CaseState.ANSWERED:
                due = shift_end(case.answered_at or self.now, self._calendar(case.site))
                by = self.by(due, case.site)
                if due < self.now:
                    late = self.duration(self.now - due)
                    return ClockWords(self.text("web.clock.not_closed", lasted=late, by=by), "bad")
                return ClockWords(self.text("web.clock.answered", by=by), "wait")
            case _:
                at = self.time(case.closed_at or self.now, case.site)
                return ClockWords(self.text(f"web.clock.{case.state}", at=at), "good")

    def _calendar(self, site: str) -> SiteCalendar:
        return self.calendars[site]

    def _telling(self, case: Case) -> Telling:
        return telling(case.resolved_at or self.now, self.now, self._calendar(case.site))

    def telling(self, case: Case) -> str:
        """When whoever reported it from outside may be told, before it is over as well as after."""
        if CaseState(case.state) is not CaseState.RESOLVED:
            return ""
        found = self._telling(case)
        late = "_late" if found.due < self.now else ""
        fields = {"at": self.by(found.at, case.site), "by": self.by(found.due, case.site)}
        return self.text(f"web.telling.{'now' if found.open else 'later'}{late}", **_HOURS, **fields)

    def out_of_hours(self, answered_at: float, site: str) -> str:
        """That an answer was written down outside the hours for telling people outside; empty where it was not."""
        if within_hours(answered_at, self._calendar(site)):
            return ""
        return self.text("web.telling.outside", time=f"{self._local(answered_at, site):%H:%M}", **_HOURS)

    def place(self, case: Case) -> str:
        where = self.text("web.whole_picture") if case.place == WHOLE_PICTURE else case.place
        return self.text("web.place", site=self.site(case.site), source=case.source, place=where)

    def case(self, case: Case, picture: str = "") -> CaseWords:
        """picture: address of a thumbnail."""
        alarm = AlarmState(case.alarm_state)
        clock = self.clock(case)
        ended = case.cleared_at if alarm is AlarmState.CLEARED and case.cleared_at else self.now
        notes = [self.text(f"web.note.{n}") for n in ("unverified", "late", "hold", "important") if getattr(case, n)]
        if case.reopened:
            notes.append(self.text("web.note.reopened", n=case.reopened))
        return CaseWords(
            id=case.id,
            address=f"/cases/{case.id}",
            site=self.site(case.site),
            severity=case.severity,
            severity_word=self.severity(case.severity),
            state=case.state,
            state_word=self.state(case.state),
            title=self.rule(case.rule, "alarm"),
            place=self.place(case),
            reason=self.reason(case.reason),
            alarm_word=self.text(f"web.alarm_state.{alarm}"),
            clauses=", ".join(case.clause),
            clause_text=self.rule(case.rule, "clause_text"),
            subjects=self.text("web.subjects", now=case.subjects, peak=case.subjects_peak),
            since=self.time(case.first_seen, case.site),
            since_iso=self._local(case.first_seen, case.site).isoformat(timespec="seconds"),
            lasted=self.duration(ended - case.first_seen),
            owner=self.person(case.owner),
            clock=clock,
            telling=self.telling(case),
            overdue=clock.kind == "bad",
            notes=tuple(notes),
            picture=picture,
        )

    def file(self, row: Evidence, base: str = "", begun: float | None = None) -> FileWords:
        """base: what comes before the path of its address. begun: when its alarm began, where that is an earlier one
        of the case, Unix s."""
        address = f"{base}/evidence/{row.alarm}/{row.sha256}"
        earlier = "" if begun is None else self.text("web.earlier_alarm", at=self.time(begun, row.site))
        return FileWords(address, row.kind, "" if row.kind == "clip" else f"{address}?small=1", earlier)

    def step(self, line: Ledger, site: str) -> StepWords:
        """One line of the ledger."""
        key = f"web.step.{line.action}"
        said = [str(line.detail[f]) for f in _FIELDS if line.detail.get(f)]
        if line.action in ("opened", "raised", "updated", "cleared") and line.detail.get("reason"):
            said = [self.reason(str(line.detail["reason"]))]
        if line.action == "answered" and (outside := self.out_of_hours(line.at, site)):
            said.append(outside)
        if line.action == "released":
            said.insert(0, self.person(str(line.detail["from"])))
        to = line.detail.get("to") or line.detail.get("person")
        if to:
            said.insert(0, f"→ {self.person(str(to))}")
        return StepWords(
            at=self.time(line.at, site),
            who=self.person(line.actor),
            what=self.text(key) if key in self.text else line.action,
            detail="\n".join(said),
        )
