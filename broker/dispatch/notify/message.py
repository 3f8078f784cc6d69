"""What is told: a plain value, and the words of it, the same for every channel.

`words(message)` gives a `Sheet`: a title that alone says what, how many, where and how bad, then lines. The formats
(`formats.py`) put a sheet into a short text, Markdown or HTML. Nothing from outside reaches a sheet but through
`words.harmless`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo

from broker.dispatch.notify.words import MAX_RESULT, harmless
from broker.dispatch.text import Catalogue, catalogue

PEOPLE_RULES = frozenset(
    {"helmet", "hi_vis", "night_reflective", "harness", "intrusion", "pit_rest", "shoring", "machine_clearance"}
)
"""Their subjects are people; everywhere else it is one fixture, sensor or machine, and the number says nothing."""
SEVERITIES = ("info", "warning", "critical")
MAX_ITEMS = 10
"""Lines of a section; the rest is a number."""


class About(StrEnum):
    """What a message is about: `delivery.about`. A digest is only a way to tell several, and never kept."""

    GIVEN = "given"
    RAISED = "raised"
    UPDATED = "updated"
    REOPENED = "reopened"
    REPEAT = "repeat"
    ESCALATION = "escalation"
    CLEARED = "cleared"
    LATE = "late"
    FEEDBACK = "feedback"
    UNANSWERED = "unanswered"
    HANDOVER = "handover"
    CERTIFICATES = "certificates"
    DIGEST = "digest"


@dataclass(frozen=True, slots=True)
class Item:
    """One case, as a message tells it. Times: Unix s. `site_name`, `result` and identifiers: as they came."""

    case: str
    site_name: str
    rule: str
    clauses: tuple[str, ...]
    place: str
    source: str
    severity: str
    subjects: int
    since: float
    opened_at: float
    cleared_at: float | None = None
    unknown: str | None = None
    """Why nobody can see whether it lasts; None: somebody can."""
    unverified: bool = False
    late: bool = False
    taken: bool = False
    take_by: float | None = None
    result: str | None = None
    stand_in: bool = False
    """The reader gets it because nobody is on duty."""
    no_roster: bool = False
    """The reader gets it because nobody has entered the site, or its roster makes no sense."""
    ends_at: float | None = None
    """When the certificate that it is about ends."""


@dataclass(frozen=True, slots=True)
class Section:
    """Some cases under a heading (`notify.section.…`; empty: none)."""

    heading: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one person about at least one case. (A hand-over report is written by `report.py`.)

    zone: IANA name, of the site. link: of the case, or of all of them. picture: a file whose faces are unrecognisable
    already, or None.
    """

    about: About
    language: str
    zone: str
    now: float
    sections: tuple[Section, ...]
    link: str | None = None
    picture: Path | None = None

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(item for section in self.sections for item in section.items)


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of a sheet, under a heading or none; `bullets`: a list."""

    heading: str
    lines: tuple[str, ...]
    bullets: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """A message in words: harmless text without markup. tone: info, warning, critical, or calm (cleared, feedback)."""

    title: str
    tone: str
    blocks: tuple[Block, ...]
    link: str | None
    link_word: str
    sender: str
    picture: Path | None


def words(message: Message) -> Sheet:
    """Put a message into words. Raises ValueError for a language, ZoneInfoNotFoundError for a zone, there is not."""
    return _Writer(message).sheet()


def worst(items: Sequence[Item]) -> str:
    return max((i.severity for i in items), key=SEVERITIES.index, default="info")


class _Writer:
    def __init__(self, message: Message) -> None:
        self.m = message
        self.t: Catalogue = catalogue(message.language)
        self.zone = ZoneInfo(message.zone)
        self.several_sites = len({i.site_name for i in message.items}) > 1

    def sheet(self) -> Sheet:
        m = self.m
        one = m.items[0] if len(m.items) == 1 and m.about not in {About.LATE, About.DIGEST} else None
        blocks = (self._details(one),) if one else self._lists()
        calm = m.about in {About.CLEARED, About.FEEDBACK}
        return Sheet(
            title=self._title(),
            tone="calm" if calm else worst(m.items),
            blocks=tuple(b for b in blocks if b.lines),
            link=m.link,
            link_word=self.t(f"notify.link.{self._opens(calm=calm)}"),
            sender=self.t("notify.sender"),
            picture=m.picture,
        )

    def _opens(self, *, calm: bool) -> str:
        """What the link opens; a digest may be of one case, too."""
        if len({item.case for item in self.m.items}) > 1:
            return "list"
        return "look" if calm or self.m.items[0].taken else "take"

    # -- the first line ------------------------------------------------------------------------------------------------

    def _title(self) -> str:
        m, items, key = self.m, self.m.items, f"notify.title.{self.m.about}"
        if m.about is About.LATE:
            still = sum(i.cleared_at is None for i in items)
            return self.t(key, n=len(items), open=still, site=self._sites())
        if m.about is About.DIGEST:
            critical = sum(i.severity == "critical" and i.cleared_at is None for i in items)
            return self.t(key, n=len(items), critical=critical, site=self._sites())
        return self.t(
            key,
            severity=self.t(f"severity.{worst(items)}"),
            what=self._rule(items[0].rule, "alarm"),
            count=self._count(items[0].rule, sum(i.subjects for i in items)),
            where=self._where(),
        )

    def _sites(self) -> str:
        names = {i.site_name for i in self.m.items}
        return harmless(names.pop()) if len(names) == 1 else self.t("notify.sites.many", n=len(names))

    def _where(self) -> str:
        places = {(i.source, i.place) for i in self.m.items}
        if len(places) > 1:
            return self.t("notify.places.many", site=self._sites(), n=len(places))
        return self.t("notify.places.one", site=self._sites(), place=self._place(self.m.items[0]))

    @staticmethod
    def _place(item: Item) -> str:
        return harmless(item.source if item.place == "-" else item.place)

    def _rule(self, rule: str, part: str) -> str:
        key = f"rule.{rule}.{part}"
        return self.t(key) if key in self.t else self.t(f"rule.other.{part}", rule=harmless(rule))

    def _count(self, rule: str, n: int) -> str:
        if rule not in PEOPLE_RULES or n < 1:
            return ""
        return self.t("notify.count.one" if n == 1 else "notify.count.many", n=n)

    # -- what follows --------------------------------------------------------------------------------------------------

    def _details(self, item: Item) -> Block:
        about, lines = self.m.about, list[str]()
        if item.place != "-":  # else the title says it all
            place = self.t("notify.places.place", place=self._place(item), source=harmless(item.source))
            where = self.t("notify.places.one", site=self._sites(), place=place)
            lines.append(self.t("notify.line.where", where=where))
        if about in {About.FEEDBACK, About.UNANSWERED}:
            if item.result:
                lines.append(self.t("notify.line.result", result=harmless(item.result, MAX_RESULT)))
            if about is About.UNANSWERED:
                lines.append(self.t("notify.line.unanswered"))
            return Block("", tuple(lines))
        if about is About.CLEARED and item.cleared_at is not None:
            age = self._age(item.cleared_at - item.since)
            lines.append(self.t("notify.line.cleared_done", at=self._at(item.cleared_at), age=age))
        else:
            age = self._age(self.m.now - item.since)
            lines.append(self.t("notify.line.since", at=self._at(item.since), age=age))
        if item.ends_at is not None:
            day = dt.datetime.fromtimestamp(item.ends_at, self.zone).date().isoformat()
            lines.append(self.t("notify.line.ends", day=day))
        lines += self._doubts(item)
        if about is not About.CLEARED:
            lines += self._urgency(item)
            lines.append(self._clause(item))
        return Block("", tuple(lines))

    def _doubts(self, item: Item) -> list[str]:
        lines = []
        if item.cleared_at is not None and self.m.about is not About.CLEARED:
            lines.append(self.t("notify.line.cleared", at=self._at(item.cleared_at)))
        elif self.m.about is About.CLEARED and not item.taken:
            lines.append(self.t("notify.line.cleared_still"))
        if item.unverified:
            lines.append(self.t("notify.line.unverified"))
        elif item.unknown is not None and f"notify.reason.{item.unknown}" in self.t:
            lines.append(self.t("notify.line.unknown", reason=self.t(f"notify.reason.{item.unknown}")))
        if item.late:
            lines.append(self.t("notify.line.late"))
        return lines

    def _clause(self, item: Item) -> str:
        text = self._rule(item.rule, "clause_text")
        if not item.clauses:
            return self.t("notify.line.clause_only", text=text)
        clauses = ", ".join(harmless(c) for c in item.clauses)
        return self.t("notify.line.clause", text=text, clauses=clauses)

    def _urgency(self, item: Item) -> list[str]:
        if item.taken:
            return []
        if item.no_roster:
            return [self.t("notify.line.no_roster")]
        if item.stand_in:
            return [self.t("notify.line.stand_in")]
        if self.m.about in {About.REPEAT, About.ESCALATION}:
            return [self.t("notify.line.waits", age=self._age(self.m.now - item.opened_at))]
        if item.take_by is not None and item.take_by > self.m.now:
            return [self.t("notify.line.take", at=self._at(item.take_by))]
        return []

    def _lists(self) -> tuple[Block, ...]:
        blocks = [self._list(s) for s in self.m.sections]
        rules = {i.rule: i for i in self.m.items}
        if len(rules) == 1 and self.m.about not in {About.CLEARED, About.FEEDBACK, About.UNANSWERED}:
            blocks.append(Block("", (self._clause(next(iter(rules.values()))),)))
        return tuple(blocks)

    def _list(self, section: Section) -> Block:
        ordered = sorted(section.items, key=lambda i: (-SEVERITIES.index(i.severity), i.since))
        lines = [self._line(i) for i in ordered[:MAX_ITEMS]]
        if len(ordered) > MAX_ITEMS:
            lines.append(self.t("notify.line.more", n=len(ordered) - MAX_ITEMS))
        heading = self.t(f"notify.section.{section.heading}") if section.heading else ""
        return Block(heading, tuple(lines), bullets=True)

    def _line(self, item: Item) -> str:
        return self.t(
            "notify.line.item_site" if self.several_sites else "notify.line.item",
            severity=self.t(f"severity.{item.severity}"),
            what=self._rule(item.rule, "alarm"),
            count=self._count(item.rule, item.subjects),
            site=harmless(item.site_name),
            place=self._place(item),
            at=self._at(item.since),
        )

    # -- times ---------------------------------------------------------------------------------------------------------

    def _at(self, at: float) -> str:
        """`21:05` today, `11-26 21:05` on another day, in the site's time."""
        local = dt.datetime.fromtimestamp(at, self.zone)
        same_day = local.date() == dt.datetime.fromtimestamp(self.m.now, self.zone).date()
        return local.strftime("%H:%M" if same_day else "%m-%d %H:%M")

    def _age(self, seconds: float) -> str:
        s = max(0, int(seconds))
        if s < 60:
            return self.t("notify.age.seconds", n=s)
        if s < 3600:
            return self.t("notify.age.minutes", n=s // 60)
        if s < 48 * 3600:
            return self.t("notify.age.hours", h=s // 3600, m=s % 3600 // 60)
        return self.t("notify.age.days", n=s // 86400)
