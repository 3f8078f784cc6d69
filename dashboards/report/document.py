"""Figures and pictures put into one language: headings, sentences, tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Final

from broker.dispatch.text import catalogue as of_dispatch
from dashboards.report.charts import Bar, bars
from dashboards.report.evidence import ContactSheet, Shot, SiteFacts
from dashboards.report.figures import CaseFigures, Figures, OpenFigures, Sums, Watch
from dashboards.report.month import HOUR_S
from dashboards.report.printed import share
from dashboards.report.values import Caption, Cell, Document, Kind, Section, Table, Value
from dashboards.text import Language, catalogue

PLACES_PRINTED: Final = 20
GAPS_PRINTED: Final = 15
NODES_NAMED: Final = 8
WHOLE_PICTURE: Final = "-"
"""`place` of what is judged in the whole picture."""
UNKNOWN_NAMED: Final = 0.1
"""From this share on what could not be judged is named on the first page."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the figures come from. influx: host; database: its."""

    influx: str
    database: str


def document(
    figures: Figures, sheet: ContactSheet, site: SiteFacts, *, origin: Origin, now: float, language: Language
) -> Document:
    """now: Unix s, when the report is made."""
    return _Writer(figures, sheet, site, origin=origin, now=now, language=language).document()


class _Writer:
    def __init__(
        self, figures: Figures, sheet: ContactSheet, site: SiteFacts, *, origin: Origin, now: float, language: Language
    ) -> None:
        self.f, self.sheet, self.site, self.origin = figures, sheet, site, origin
        self.now = figures.month.local(now)
        self.language = language
        self.text = catalogue(language)
        self.words = of_dispatch(language)

    def document(self) -> Document:
        month, text = self.f.month, self.text
        period = text(
            "report.period",
            first=month.first.isoformat(),
            last=(month.following - timedelta(days=1)).isoformat(),
            zone=month.zone.key,
        )
        made = f"{self.now:%Y-%m-%d %H:%M} (UTC{self.now:%z})"
        name = f"{self.site.name} ({self.site.id})"
        facts = [("site", name), ("period", period)]
        if self.f.until < month.stop:
            facts.append(("until", _minute(month.local(self.f.until))))
        sources = text(
            "report.fact.sources",
            database=self.origin.database,
            influx=self.origin.influx,
            version=version("banksman"),
        )
        facts += [("made", made), ("from", sources)]
        return Document(
            language=self.language,
            title=text("report.title"),
            site=self.site.name,
            made_at=self.now,
            facts=tuple((text(f"report.fact.{key}"), value) for key, value in facts),
            warnings=tuple(self._warnings()),
            sections=(
                self._summary(),
                self._rules(),
                self._cases(),
                self._places(),
                self._days(),
                self._hours(),
                self._gaps(),
                self._evidence(),
                self._list("made", zone=month.zone.key),
                self._list("not_said"),
                self._asked(),
            ),
            footer=text("report.footer", site=self.site.name, month=month, made=made),
        )

    def _warnings(self) -> Iterable[str]:
        f, text = self.f, self.text
        if f.until < f.month.stop:
            yield text("report.warning.running", until=_minute(f.month.local(f.until)))
        if f.total.compliance is None:
            yield text("report.warning.empty")
        if f.total.unknown_share is not None and f.total.unknown_share >= UNKNOWN_NAMED:
            yield text("report.warning.unknown", share=share(f.total.unknown_share))
        silent = sorted(((watch[Watch.SILENT], node) for node, watch in f.watch.items()), reverse=True)
        named = [f"{node}: {hours}" for hours, node in silent if hours]
        if more := named[NODES_NAMED:]:
            named[NODES_NAMED:] = [text("report.warning.more_nodes", n=len(more))]
        if named:
            yield text("report.warning.silent", nodes="; ".join(named), all=len(f.month.hours(f.until)))
        if self.sheet.cases != f.cases.opened:
            yield text("report.warning.ledger", ledger=self.sheet.cases, influx=f.cases.opened)
        if f.before == Sums() and f.cases_before == CaseFigures():
            yield text("report.warning.no_before")

    # -- sections ------------------------------------------------------------------------------------------------------

    def _summary(self) -> Section:
        f = self.f
        rows = [
            self._row("compliance", Kind.SHARE, f.total.compliance, f.before.compliance),
            self._row("unknown", Kind.SHARE, f.total.unknown_share, f.before.unknown_share),
            self._row("judged", Kind.DURATION, f.total.judged_s, f.before.judged_s),
            self._row("breach", Kind.DURATION, f.total.breach_s, f.before.breach_s),
            self._row("alarms", Kind.COUNT, f.alarms, f.alarms_before),
        ]
        for key, kind, field in (
            ("opened", Kind.COUNT, "opened"),
            ("reopened", Kind.COUNT, "reopened"),
            ("reviewed", Kind.COUNT, "reviewed"),
            ("late", Kind.COUNT, "late"),
            ("review_p50", Kind.DURATION, "review_p50_s"),
            ("review_p95", Kind.DURATION, "review_p95_s"),
            ("closed", Kind.COUNT, "closed"),
            ("close_p50", Kind.DURATION, "close_p50_s"),
            ("close_p95", Kind.DURATION, "close_p95_s"),
            ("false_alarms", Kind.COUNT, "false_alarms"),
            ("false_share", Kind.SHARE, "false_alarm_share"),
        ):
            rows.append(self._row(key, kind, getattr(f.cases, field), getattr(f.cases_before, field)))
        for key, kind in (("open", Kind.COUNT), ("overdue", Kind.COUNT), ("oldest", Kind.DURATION)):
            rows.append(self._row(key, kind, _open(f.open, key), _open(f.open_before, key)))
        columns = ("figure", "now", "before", "change")
        return Section(self._heading("summary"), tables=(self._table("summary", columns, rows),))

    def _row(self, key: str, kind: Kind, now: float | None, before: float | None) -> tuple[Cell, ...]:
        difference = {Kind.SHARE: Kind.POINTS, Kind.DURATION: Kind.LONGER, Kind.COUNT: Kind.MORE}[kind]
        change = None if now is None or before is None else now - before
        name = Cell(Kind.TEXT, self.text(f"report.figure.{key}"))
        return name, Cell(kind, now), Cell(kind, before), Cell(difference, change)

    def _rules(self) -> Section:
        columns = (
            "rule", "compliance", "unknown", "judged", "hours", "breach", "alarms", "compliance_before", "change",
        )  # fmt: skip
        rows = [
            _cells(
                (Kind.TEXT, self._rule(r.rule)),
                (Kind.SHARE, r.sums.compliance),
                (Kind.SHARE, r.sums.unknown_share),
                (Kind.DURATION, r.sums.judged_s),
                (Kind.COUNT, r.hours),
                (Kind.DURATION, r.sums.breach_s),
                (Kind.COUNT, r.alarms),
                (Kind.SHARE, r.before.compliance),
                (Kind.POINTS, _less(r.sums.compliance, r.before.compliance)),
            )
            for r in self.f.rules
        ]
        return self._tabled("rules", columns, rows)

    def _cases(self) -> Section:
        columns = (
            "rule", "opened", "reviewed", "late", "review_p50", "review_p95", "closed", "close_p50", "close_p95",
            "false_alarms", "false_share",
        )  # fmt: skip
        rows = [
            _cells(
                (Kind.TEXT, self._rule(r.rule)),
                (Kind.COUNT, r.cases.opened),
                (Kind.COUNT, r.cases.reviewed),
                (Kind.COUNT, r.cases.late),
                (Kind.DURATION, r.cases.review_p50_s),
                (Kind.DURATION, r.cases.review_p95_s),
                (Kind.COUNT, r.cases.closed),
                (Kind.DURATION, r.cases.close_p50_s),
                (Kind.DURATION, r.cases.close_p95_s),
                (Kind.COUNT, r.cases.false_alarms),
                (Kind.SHARE, r.cases.false_alarm_share),
            )
            for r in self.f.rules
            if r.cases != CaseFigures()
        ]
        return self._tabled("cases", columns, rows)

    def _places(self) -> Section:
        columns = ("place", "source", "rule", "breach", "compliance", "unknown")
        rows = [
            _cells(
                (Kind.TEXT, self._place(p.place)),
                (Kind.TEXT, p.source),
                (Kind.TEXT, self._rule(p.rule)),
                (Kind.DURATION, p.breach_s),
                (Kind.SHARE, p.compliance),
                (Kind.SHARE, p.unknown_share),
            )
            for p in self.f.places
        ]
        return self._tabled("places", columns, rows, most=PLACES_PRINTED)

    def _days(self) -> Section:
        rows = [(Cell(Kind.DAY, day), *_of(sums)) for day, sums in self.f.days.items()]
        items = [(f"{day.day}", sums) for day, sums in self.f.days.items()]
        return self._timed("days", "day", rows, items)

    def _hours(self) -> Section:
        rows = [(Cell(Kind.COUNT, hour), *_of(sums)) for hour, sums in self.f.hours.items()]
        items = [(f"{hour}", sums) for hour, sums in self.f.hours.items()]
        return self._timed("hours", "hour", rows, items)

    def _timed(self, name: str, first: str, rows: list[tuple[Cell, ...]], items: list[tuple[str, Sums]]) -> Section:
        columns = (first, "compliance", "unknown", "judged", "breach")
        if all(sums == Sums() for _, sums in items):
            sentence = self.text(f"report.lead.{name}_none")
            return Section(self._heading(name), (sentence,), tables=(self._table(name, columns, rows, printed=False),))
        bar = [Bar(label, s.breach_s / HOUR_S if s.judged_s or s.breach_s else None) for label, s in items]
        return Section(
            self._heading(name),
            (self.text(f"report.lead.{name}"),),
            chart=(self.text(f"report.chart.{name}"), bars(bar)),
            tables=(self._table(name, columns, rows),),
        )

    def _gaps(self) -> Section:
        f = self.f
        nodes = [_cells((Kind.TEXT, node), *((Kind.COUNT, watch[w]) for w in Watch)) for node, watch in f.watch.items()]
        gaps = [
            _cells(
                (Kind.TEXT, gap.node),
                (Kind.TEXT, self.text(f"report.watch.{gap.watch}")),
                (Kind.MOMENT, f.month.local(gap.start)),
                (Kind.MOMENT, f.month.local(gap.stop)),
                (Kind.DURATION, float(gap.stop - gap.start)),
            )
            for gap in f.gaps
        ]
        sentences = [self.text("report.lead.gaps", all=len(f.month.hours(f.until)))]
        if not nodes:
            sentences.append(self.text("report.lead.nodes_none"))
        elif not gaps:
            sentences.append(self.text("report.lead.gaps_none"))
        tables = (
            self._table("nodes", ("node", *(f"watch_{w}" for w in Watch)), nodes),
            self._table("gaps", ("node", "watch", "from", "to", "lasted"), gaps, most=GAPS_PRINTED),
        )
        return Section(self._heading("gaps"), tuple(sentences), tables=tables)

    def _evidence(self) -> Section:
        sheet, text = self.sheet, self.text
        lead = "evidence" if sheet.kept else "evidence_none"
        sentences = [text(f"report.lead.{lead}", shown=len(sheet.shots), kept=sheet.kept, cases=sheet.cases)]
        if sheet.deleted:
            days = self.site.retention_days
            sentences.append(text("report.lead.evidence_deleted", deleted=sheet.deleted, days=days))
        columns = ("case", "day", "severity", "rule", "place", "source", "marked", "picture", "sha256")
        rows = [
            _cells(
                (Kind.TEXT, shot.case),
                (Kind.MOMENT, shot.opened),
                (Kind.TEXT, self._severity(shot.severity)),
                (Kind.TEXT, self._rule(shot.rule)),
                (Kind.TEXT, self._place(shot.place)),
                (Kind.TEXT, shot.source),
                (Kind.TEXT, text("report.shot.yes") if shot.false_alarm else None),
                (Kind.TEXT, self._fault(shot) or text("report.shot.shown")),
                (Kind.TEXT, shot.sha256),
            )
            for shot in sheet.shots
        ]
        return Section(
            self._heading("evidence"),
            tuple(sentences),
            tables=(self._table("evidence", columns, rows, printed=False),),
            captions=tuple(self._caption(shot) for shot in sheet.shots),
            apart=bool(sheet.shots),
        )

    def _caption(self, shot: Shot) -> Caption:
        text = self.text
        lines = [
            self._rule(shot.rule),
            text("report.shot.where", place=self._place(shot.place), source=shot.source),
            text("report.shot.when", at=_minute(shot.opened), severity=self._severity(shot.severity)),
            text("report.shot.case", case=shot.case),
        ]
        if shot.false_alarm:
            lines.append(text("report.shot.false_alarm"))
        return Caption(shot, tuple(lines), self._fault(shot))

    def _list(self, name: str, **fields: str) -> Section:
        keys = [key for key in self.text.texts if key.startswith(f"report.{name}.")]
        return Section(self._heading(name), notes=tuple(self.text(key, **fields) for key in keys), apart=name == "made")

    def _asked(self) -> Section:
        key = "rule.{}.clause_text"
        asked = [
            f"{self._rule(r.rule)}: {self.words(key.format(r.rule))}"
            for r in self.f.rules
            if key.format(r.rule) in self.words
        ]
        return Section(self._heading("asked"), () if asked else (self.text("report.none"),), notes=tuple(asked))

    # -- words ---------------------------------------------------------------------------------------------------------

    def _heading(self, name: str) -> str:
        return self.text(f"report.section.{name}")

    def _tabled(self, name: str, columns: tuple[str, ...], rows: list[tuple[Cell, ...]], most: int = 100) -> Section:
        lead = self.text(f"report.lead.{name}" if rows else f"report.lead.{name}_none")
        return Section(self._heading(name), (lead,), tables=(self._table(name, columns, rows, most=most),))

    def _table(
        self, name: str, columns: Iterable[str], rows: list[tuple[Cell, ...]], *, most: int = 100, printed: bool = True
    ) -> Table:
        headings = tuple(self.text(f"report.column.{column}") for column in columns)
        return Table(self.text(f"report.table.{name}"), headings, tuple(rows), most, printed)

    def _rule(self, rule: str) -> str:
        key = f"rule.{rule}.name"
        return self.words(key) if key in self.words else rule

    def _place(self, place: str) -> str:
        return self.text("report.shot.whole") if place == WHOLE_PICTURE else place

    def _severity(self, severity: str) -> str:
        key = f"severity.{severity}"
        return self.words(key) if key in self.words else severity

    def _fault(self, shot: Shot) -> str:
        return "" if shot.fault is None else self.text(f"report.fault.{shot.fault}")


def _cells(*cells: tuple[Kind, Value]) -> tuple[Cell, ...]:
    return tuple(Cell(kind, value) for kind, value in cells)


def _of(sums: Sums) -> tuple[Cell, ...]:
    return _cells(
        (Kind.SHARE, sums.compliance),
        (Kind.SHARE, sums.unknown_share),
        (Kind.DURATION, sums.judged_s),
        (Kind.DURATION, sums.breach_s),
    )


def _open(figures: OpenFigures | None, key: str) -> float | None:
    if figures is None or (key == "oldest" and not figures.open):
        return None
    return {"open": figures.open, "overdue": figures.overdue, "oldest": figures.oldest_s}[key]


def _less(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
