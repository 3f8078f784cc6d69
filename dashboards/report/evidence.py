"""The contact sheet: the newest picture of the month's gravest cases, out of dispatch's database and store.

Faces are unrecognisable in every stored picture already. What is read is held against its hash.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from PIL import Image
from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from broker.dispatch.database import reading
from broker.dispatch.evidence import Store
from broker.dispatch.tables import Case, CaseState, Event, Evidence, Node, Site
from dashboards.report import ReportError
from dashboards.report.month import Month
from dashboards.text import Language

MOST: Final = 24
"""Pictures on the sheet."""
_LONGEST = 640  # pixels: at three pictures a row 280 to the inch
_QUALITY = 80
_GRAVEST_FIRST = ("critical", "warning", "info")


class Fault(StrEnum):
    """Why a kept picture cannot be shown."""

    MISSING = "missing"  # its row is there, its file is not
    CHANGED = "changed"  # other bytes than its hash says
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Shot:
    """A case and its newest picture (JPEG, at most 640 px). sha256: of the stored file."""

    case: str
    rule: str
    source: str
    place: str
    severity: str
    false_alarm: bool
    opened: datetime
    sha256: str
    picture: bytes | None
    fault: Fault | None


@dataclass(frozen=True, slots=True)
class ContactSheet:
    """cases: opened in the month; kept: how many of them have a picture; deleted: had one that retention took."""

    shots: tuple[Shot, ...]
    cases: int
    kept: int
    deleted: int


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """What dispatch knows of the site."""

    id: str
    name: str
    time_zone: str
    language: Language
    retention_days: int
    nodes: tuple[str, ...]


def site_facts(engine: Engine, site: str) -> SiteFacts:
    """Raises ReportError: dispatch's database cannot be read, or does not know the site."""
    try:
        with reading(engine) as session:
            row = session.get(Site, site)
            known = session.scalars(select(Site.id).order_by(Site.id)).all()
            nodes = session.scalars(select(Node.id).where(Node.site == site)).all()
    except SQLAlchemyError as error:
        raise _unread(error) from error
    if row is None:
        raise ReportError(f"dispatch knows no site {site!r}; it knows {', '.join(known) or 'none yet'}")
    name = "".join(c for c in row.name if c.isprintable())  # a control character would be a box on paper
    return SiteFacts(
        row.id, name, row.time_zone, "zh-CN" if row.language == "zh-CN" else "en", row.retention_days, tuple(nodes)
    )


def contact_sheet(
    engine: Engine, folder: Path, site: str, month: Month, *, until: float, most: int = MOST
) -> ContactSheet:
    """Of cases opened in the month, before `until`. folder: of dispatch's evidence. Raises ReportError."""
    if not (folder / "incoming").is_dir():  # dispatch makes it when it starts
        raise ReportError(f"evidence: {folder} is no store of dispatch; is its disk mounted, is the path right?")
    try:
        with reading(engine) as session:
            cases = session.scalars(
                select(Case).where(Case.site == site, Case.opened_at >= month.start, Case.opened_at < until)
            ).all()
            of_site = (Evidence.site == site, Evidence.kind == "snapshot")
            rows = session.execute(
                select(Event.case, Evidence.deleted_at)
                .join(Evidence, (Evidence.alarm == Event.alarm) & (Evidence.node == Event.node))
                .join(Case, Case.id == Event.case)
                .where(*of_site, Event.site == site, Case.opened_at >= month.start, Case.opened_at < until)
                .distinct()
            ).all()
            kept = {case for case, deleted_at in rows if deleted_at is None}
            deleted = {case for case, deleted_at in rows if deleted_at is not None} - kept
            store = Store(folder)
            shots = [
                _shot(case, row, store, month)
                for case in _gravest([case for case in cases if case.id in kept])[:most]
                for row in [row for row in store.files_of(session, case.id) if row.kind == "snapshot"][:1]
            ]
    except SQLAlchemyError as error:
        raise _unread(error) from error
    except OSError as error:
        raise ReportError(f"evidence: {folder} cannot be read: {error.strerror or error}") from error
    return ContactSheet(tuple(shots), len(cases), len(kept), len(deleted))


def _unread(error: SQLAlchemyError) -> ReportError:
    return ReportError(f"dispatch's database cannot be read: {getattr(error, 'orig', None) or type(error).__name__}")


def _gravest(cases: list[Case]) -> list[Case]:
    """By severity; within one the rules take turns, each with its newest first, so that no rule hides another."""
    turn: Counter[tuple[str, str]] = Counter()
    ranked = []
    for case in sorted(cases, key=lambda c: (-c.opened_at, c.id)):
        grave = _GRAVEST_FIRST.index(case.severity) if case.severity in _GRAVEST_FIRST else len(_GRAVEST_FIRST)
        ranked.append((grave, turn[case.severity, case.rule], -case.opened_at, case.id, case))
        turn[case.severity, case.rule] += 1
    return [case for *_, case in sorted(ranked, key=lambda r: r[:4])]


def _shot(case: Case, row: Evidence, store: Store, month: Month) -> Shot:
    picture, fault = _picture(store.path(row.alarm, row.sha256), row.sha256)
    return Shot(
        case=case.id,
        rule=case.rule,
        source=case.source,
        place=case.place,
        severity=case.severity,
        false_alarm=case.state == CaseState.FALSE_ALARM,
        opened=month.local(case.opened_at),
        sha256=row.sha256,
        picture=picture,
        fault=fault,
    )


def _picture(path: Path, sha256: str) -> tuple[bytes | None, Fault | None]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None, Fault.MISSING
    if hashlib.sha256(content).hexdigest() != sha256:
        return None, Fault.CHANGED
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            image.draft("RGB", (_LONGEST, _LONGEST))
            small = image.convert("RGB")
        small.thumbnail((_LONGEST, _LONGEST))
        out = io.BytesIO()
        small.save(out, "JPEG", quality=_QUALITY)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None, Fault.UNREADABLE
    return out.getvalue(), None
