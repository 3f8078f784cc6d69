"""Turns the node's values into words, numbers and shares for one reader: their language, the site's clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from zoneinfo import ZoneInfo

from edge.clock import Stamp
from edge.journal.rows import Compliance, JournalState, StoredEvidence
from edge.page.view import Figures, Health, LiveBox, LiveView, Uplink, figures
from edge.site.model import Camera, SiteFile
from edge.text import Catalogue
from edge.values import (
    WHOLE_PICTURE,
    AlarmChange,
    AlarmEvent,
    CameraCause,
    CameraStatus,
    Instance,
    LinkState,
    PlaceState,
    Reason,
    Rest,
    Verdict,
)

_DROPPED = ("clip", "snapshot", "reading", "tally")  # what a reader would miss; the journal drops in this order
_BAD = ("full", "too_hot", "weak")  # codes of the machine that ask for something now
_WORST = (Verdict.VIOLATION, Verdict.UNKNOWN, Verdict.OK)


@dataclass(frozen=True, slots=True)
class HeadlineWords:
    """How all is at a glance; `kind` is `alarmed`, `blind` (no alarm, but something is not seen) or `calm`."""

    kind: str
    text: str
    address: str


@dataclass(frozen=True, slots=True)
class StateWords:
    """A camera's state in words; `ok` while it sees."""

    code: str
    ok: bool
    title: str
    cause: str
    todo: str
    detail: str
    since: str
    fps: str


@dataclass(frozen=True, slots=True)
class UplinkWords:
    """A way out of the node in words; `verdict` is that to show beside it, `idle` where none is wanted."""

    verdict: str
    state: str
    cause: str
    todo: str
    detail: str


@dataclass(frozen=True, slots=True)
class FactWords:
    """Something measured; `verdict` is that to show beside it, `todo` what to do where it is not `ok`."""

    value: str
    verdict: str
    todo: str


@dataclass(frozen=True, slots=True)
class PlaceWords:
    """A rule instance in words; `verdict` is `idle` while there is nothing to judge."""

    verdict: str
    word: str
    rule: str
    place: str
    reason: str
    count: str
    alarm: str | None


@dataclass(frozen=True, slots=True)
class BoxWords:
    """A box in the picture: relative 0..1, worst verdict of all rules, and what is not in order."""

    x: float
    y: float
    w: float
    h: float
    verdict: str
    word: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AlarmWords:
    """An alarm in words; `snapshots` and `clips` are addresses."""

    id: str
    open: bool
    verdict: str
    severity: str
    severity_word: str
    state: str
    title: str
    place: str
    reason: str
    clauses: str
    clause_text: str
    subjects: str
    since: str
    since_iso: str
    lasted: str
    clock_note: str
    snapshots: tuple[str, ...]
    clips: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """Seconds of a rule or a place and their shares; `x` and `w` are percent of a bar."""

    name: str
    where: str
    compliance: str
    ok: tuple[float, float]
    violation: tuple[float, float]
    unknown: tuple[float, float]
    ok_text: str
    violation_text: str
    unknown_text: str
    breach_text: str
    unknown_share: str
    violation_s: int
    places: tuple[Share, ...] = ()


def percent(share: float | None) -> str:
    """As boards and report have it; one second of breach never reads 100 %, nor one second of anything 0 %."""
    if share is None:
        return "—"
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


def _worst(share: Share) -> tuple[int, str]:
    return -share.violation_s, share.name


def _uplink_verdict(uplink: Uplink) -> str:
    if uplink.state is LinkState.UP and (uplink.cause != "none" or uplink.aside):
        return "unknown"
    return {"off": "idle", "connecting": "unknown", "up": "ok", "down": "violation"}[uplink.state]


def _widths(parts: Sequence[int]) -> list[tuple[float, float]]:
    """(start, width) of each part in percent of a bar."""
    total = max(1, sum(parts))
    return [(round(100 * sum(parts[:i]) / total, 3), round(100 * part / total, 3)) for i, part in enumerate(parts)]


class Words:
    """Everything one page needs to say something about one site in one language."""

    def __init__(self, text: Catalogue, site: SiteFile, now: Stamp) -> None:
        self.text = text
        self.site = site
        self.now = now

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.site.site.timezone)

    def time(self, stamp: Stamp) -> str:
        """Time at the site; with the date when that is not today."""
        at, today = (datetime.fromtimestamp(s.wall, self._zone) for s in (stamp, self.now))
        return f"{at:%H:%M:%S}" if at.date() == today.date() else f"{at:%Y-%m-%d %H:%M}"

    def iso(self, stamp: Stamp) -> str:
        return datetime.fromtimestamp(stamp.wall, self._zone).isoformat(timespec="seconds")

    def duration(self, seconds: float) -> str:
        s = max(0, int(seconds))
        if s < 60:
            return self.text("page.duration.s", s=s)
        if s < 3600:
            return self.text("page.duration.min", m=s // 60, s=s % 60)
        if s < 86400:
            return self.text("page.duration.h", h=s // 3600, m=s % 3600 // 60)
        return self.text("page.duration.d", d=s // 86400, h=s % 86400 // 3600)

    def between(self, start: Stamp, end: Stamp) -> str:
        """How long; by the monotonic clock where both are of one boot."""
        same = start.boot == end.boot
        return self.duration(end.mono - start.mono if same else end.wall - start.wall)

    def camera(self, camera_id: str) -> str:
        """A camera as people call it; one that has left the site file by its id."""
        return next((c.name for c in self.site.cameras if c.id == camera_id and c.name), camera_id)

    def place(self, camera_id: str, place: str) -> str:
        if place == WHOLE_PICTURE:
            return self.text("page.whole_picture")
        camera = next((c for c in self.site.cameras if c.id == camera_id), None)
        things = [*camera.zones, *camera.fixtures] if camera else []
        return next((t.name for t in things if t.id == place and t.name), place)

    def where(self, instance: Instance) -> str:
        return f"{self.camera(instance.source)} · {self.place(instance.source, instance.place)}"

    def rule(self, rule_id: str, what: str = "name") -> str:
        """A text of a rule; its id for a rule that an older journal knows and this version does not."""
        key = f"rule.{rule_id}.{what}"
        return self.text(key) if key in self.text else rule_id

    def headline(self, open_alarms: int, cameras: Iterable[CameraStatus]) -> HeadlineWords:
        """Open alarms, and how many cameras see nothing: where nobody looks, all is not well."""
        blind = sum(not c.state.sees for c in cameras)
        told = [
            self.text(f"page.live.{what}_{'one' if n == 1 else 'many'}", n=n)
            for what, n in (("open", open_alarms), ("blind", blind))
            if n
        ]
        return HeadlineWords(
            kind="alarmed" if open_alarms else "blind" if blind else "calm",
            text=" · ".join(told) or self.text("page.live.calm"),
            address="/health" if blind and not open_alarms else "/alarms",
        )

    def status(self, status: CameraStatus) -> StateWords:
        known = status.cause is not CameraCause.NONE
        ok = status.state.sees
        # Where no cause is known, the state itself says what to do.
        todo = self.text(f"cause_do.{status.cause}") if known else self.text(f"page.state_do.{status.state}")
        return StateWords(
            code=status.state.value,
            ok=ok,
            title=self.text(f"camera_state.{status.state}"),
            cause=self.text(f"cause.{status.cause}") if known and not ok else "",
            todo="" if ok else todo,
            detail="" if ok else status.detail,
            since=self.text("page.since", time=self.time(status.since), lasted=self.between(status.since, self.now)),
            fps=self.text("page.fps", fps=f"{status.fps:.1f}") if ok else "",
        )

    def state(self, state: PlaceState) -> PlaceWords:
        idle = state.verdict is None
        judged = state.verdict is Verdict.VIOLATION and state.subjects > 1
        return PlaceWords(
            verdict="idle" if state.verdict is None else state.verdict.value,
            word=self._idle(state.rest) if idle else self.text(f"verdict.{state.verdict}"),
            rule=self.rule(state.instance.rule),
            place=self.place(state.instance.source, state.instance.place),
            reason="" if state.reason is None or idle else self.text(f"reason.{state.reason}"),
            count=self.text("page.of", part=state.violating, whole=state.subjects) if judged else "",
            alarm=state.alarm,
        )

    def _idle(self, rest: Rest | None) -> str:
        return self.text("page.idle" if rest is None else f"page.rest.{rest}")

    def states(self, states: Iterable[PlaceState], camera: str) -> list[PlaceWords]:
        """Of one camera, worst first, then as they came."""
        order = {verdict: n for n, verdict in enumerate((*_WORST, None))}
        mine = (s for s in states if s.instance.source == camera)
        return [self.state(s) for s in sorted(mine, key=lambda s: order[s.verdict])]

    def boxes(self, view: LiveView) -> list[BoxWords]:
        """One a subject, with everything that its rules say; the bad ones last, so that they are drawn on top."""
        subjects: dict[tuple[float, ...], list[LiveBox]] = {}
        for box in view.boxes:
            subjects.setdefault(box.box, []).append(box)
        out = []
        for (x1, y1, x2, y2), judged in subjects.items():
            worst = next(v for v in _WORST if any(j.verdict is v for j in judged))
            notes = [self._note(j.rule, j.reason) for j in judged if j.verdict is worst is not Verdict.OK]
            out.append(
                BoxWords(
                    x=round(x1 / view.width, 4),
                    y=round(y1 / view.height, 4),
                    w=round((x2 - x1) / view.width, 4),
                    h=round((y2 - y1) / view.height, 4),
                    verdict=worst.value,
                    word=self.text(f"verdict.{worst}"),
                    notes=tuple(notes),
                )
            )
        return sorted(out, key=lambda b: -_WORST.index(Verdict(b.verdict)))

    def _note(self, rule: str, reason: Reason) -> str:
        return self.text("page.note", rule=self.rule(rule), reason=self.text(f"reason.{reason}"))

    def alarm(self, event: AlarmEvent, files: Iterable[StoredEvidence]) -> AlarmWords:
        is_open = event.change is not AlarmChange.CLEARED
        unjudged = event.verdict is Verdict.UNKNOWN
        kept = [(e.ref.kind, f"/alarms/{event.alarm}/{e.ref.sha256}") for e in files]
        state = ("unjudged" if unjudged else "open") if is_open else ("lost_sight" if unjudged else "cleared")
        return AlarmWords(
            id=event.alarm,
            open=is_open,
            verdict=event.verdict.value if is_open else "idle",
            severity=event.severity.value,
            severity_word=self.text(f"page.severity.{event.severity}"),
            state=self.text(f"page.alarm_state.{state}"),
            title=self.rule(event.instance.rule, "alarm"),
            place=self.where(event.instance),
            reason=self.text(f"reason.{event.reason}"),
            clauses=", ".join(event.clauses),
            clause_text=self.rule(event.instance.rule, "clause_text"),
            subjects=str(event.subjects),
            since=self.time(event.first_seen),
            since_iso=self.iso(event.first_seen),
            lasted=self.between(event.first_seen, self.now if is_open else event.last_seen),
            clock_note="" if event.first_seen.synced else self.text("page.clock_note"),
            snapshots=tuple(address for kind, address in kept if kind == "snapshot"),
            clips=tuple(address for kind, address in kept if kind == "clip"),
        )

    def step(self, event: AlarmEvent) -> tuple[str, str, str]:
        """One event of an alarm's history: when, what happened, why."""
        why = f"{self.text(f'reason.{event.reason}')} · {self.text('page.alarms.affected', n=event.subjects)}"
        return self.time(event.at), self.text(f"page.change.{event.change}"), why

    def broker(self, uplink: Uplink) -> UplinkWords:
        """How alarms get to the broker."""
        troubled = uplink.cause != "none"
        return UplinkWords(
            verdict=_uplink_verdict(uplink),
            state=self.text(f"page.link.{uplink.state}"),
            cause=self.text(f"mqtt.cause.{uplink.cause}") if troubled else "",
            todo=self.text(f"mqtt.do.{uplink.cause}") if troubled else "",
            detail=uplink.detail if troubled else "",
        )

    def uploads(self, uplink: Uplink) -> UplinkWords:
        """How pictures and clips get to the site server."""
        return self._way(uplink, "upload", "uploads")

    def influx(self, uplink: Uplink) -> UplinkWords:
        """How figures get to InfluxDB."""
        return self._way(uplink, "influx", "influx")

    def _way(self, uplink: Uplink, topic: str, states: str) -> UplinkWords:
        troubled = uplink.cause != "none"
        told = [self.text(f"{topic}.{uplink.cause}")] if troubled else []
        if uplink.aside:
            told.append(self.text(f"{topic}.aside", n=uplink.aside))
        if uplink.waiting:
            told.append(self.text(f"{topic}.waiting", n=uplink.waiting))
        return UplinkWords(
            verdict=_uplink_verdict(uplink),
            state=self.text(f"page.{states}.{uplink.state}"),
            cause=" ".join(told),
            todo=self.text(f"{topic}_do.{uplink.cause}") if troubled else "",
            detail=uplink.detail if troubled or uplink.aside else "",
        )

    def journal(self, state: JournalState) -> tuple[str, tuple[str, ...]]:
        """How the journal is: the verdict to show beside it, and what there is to say, worst first."""
        said = []
        if state.lost:
            said.append(self.text("page.journal.lost", n=state.lost))
        if not state.ok:
            said.append(self.text(f"page.journal.{state.trouble}"))
        if state.held:
            said.append(self.text("page.journal.held", n=state.held))
        dropped = [self.text(f"page.journal.drop.{k}", n=state.dropped[k]) for k in _DROPPED if state.dropped.get(k)]
        if dropped:
            said.append(self.text("page.journal.dropped", what=", ".join(dropped)))
        if state.moved_aside is not None:
            said.append(self.text("page.journal.moved_aside", file=state.moved_aside.name))
        verdict = "violation" if state.lost or not state.ok else "unknown" if said else "ok"
        return verdict, tuple(said) or (self.text("page.journal.none"),)

    def disk(self, health: Health) -> FactWords | None:
        """Room on the disk; what to do in the words of the doctor, whose limits these are. None: not known."""
        return self._fact(f"{(health.disk_free_mb or 0) / 1000:.1f} GB", "disk", health.disk)

    def heat(self, health: Health) -> FactWords | None:
        return self._fact(f"{health.cpu_temp_c or 0:.0f} °C", "heat", health.heat)

    def power(self, health: Health) -> FactWords | None:
        return self._fact(self.text(f"doctor.power.{health.power or 'no_sensor'}"), "power", health.power)

    def _fact(self, value: str, organ: str, code: str | None) -> FactWords | None:
        if code is None:
            return None
        advice = f"doctor_do.{organ}.{code}"
        todo = self.text(advice) if advice in self.text else ""
        return FactWords(value, "ok" if not todo else "violation" if code in _BAD else "unknown", todo)

    def shares(self, rows: Iterable[Compliance]) -> list[Share]:
        """A rule each, the most violated first, with its places."""
        rows = tuple(rows)
        places: dict[str, list[Share]] = {}
        for instance, its in figures(rows, by=lambda instance: instance).items():
            places.setdefault(instance.rule, []).append(self._share(self.where(instance), "", its))
        shares = [
            self._share(self.rule(rule), rule, its, sorted(places[rule], key=_worst))
            for rule, its in figures(rows, by=lambda instance: instance.rule).items()
        ]
        return sorted(shares, key=_worst)

    def _share(self, name: str, where: str, its: Figures, places: Iterable[Share] = ()) -> Share:
        bars = _widths((its.ok_s, its.violation_s, its.unknown_s))
        return Share(
            name=name,
            where=where,
            compliance=percent(its.compliance),
            ok=bars[0],
            violation=bars[1],
            unknown=bars[2],
            ok_text=self.duration(its.ok_s),
            violation_text=self.duration(its.violation_s),
            unknown_text=self.duration(its.unknown_s),
            breach_text=self.duration(its.breach_s),
            unknown_share=percent(its.unknown_share),
            violation_s=its.violation_s,
            places=tuple(places),
        )

    def outlines(self, camera: Camera) -> list[dict[str, object]]:
        """Fixtures of a camera for the zone editor, which shows them and leaves them alone."""
        return [
            {"id": f.id, "name": f.name or f.id, "kind": f.kind, "points": f.line if f.kind == "barrier" else f.polygon}
            for f in camera.fixtures
        ]
