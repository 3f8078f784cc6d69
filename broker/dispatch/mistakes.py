"""Snapshots of alarms that people called false, taken out of the store for whoever trains the detector.

    FOLDER/<sha256>.jpg    a picture each, faces hidden by the node as in all evidence
    FOLDER/marks.json      a list of {"sha256", "rule", "reason", "site", "node", "at"}

`banksman model harvest FOLDER FOLDER/marks.json MODEL QUEUE` reads it. What lies there is out of the sites' retention.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from broker.dispatch.evidence import Store
from broker.dispatch.tables import Case, CaseState, Event, Evidence, Site

MARKS = "marks.json"


class MistakesError(Exception):
    """The pictures cannot be written; the text says why and what would be right."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A snapshot of an alarm that was false. reason: in the words of whoever said so. at: Unix s, when it was told."""

    sha256: str
    rule: str
    reason: str
    site: str
    node: str
    at: float
    path: Path


def mistakes(session: Session, store: Store, *, site: str | None = None, since: float = 0.0) -> list[Mistake]:
    """Of cases that ended as a false alarm at or after `since` (Unix s), of one site or of all, oldest first.

    Of all alarms of such a case; a file that retention has taken meanwhile is not among them. Raises MistakesError for
    a site that is not known.
    """
    if site is not None and session.get(Site, site) is None:
        raise MistakesError(f"site {site}: is not known here; name another, or none for all")
    alarms = select(Event.case, Event.alarm).distinct().subquery()
    of_alarm = and_(Evidence.alarm == alarms.c.alarm, Evidence.site == Case.site, Evidence.node == Case.node)
    told = (Case.rule, Case.false_alarm_reason, Case.site, Case.node, Case.closed_at)
    rows = session.execute(
        select(Evidence.alarm, Evidence.sha256, *told)
        .select_from(Case)
        .join(alarms, alarms.c.case == Case.id)
        .join(Evidence, of_alarm)
        .where(
            Case.state == CaseState.FALSE_ALARM.value,
            Case.closed_at >= since,
            Evidence.kind == "snapshot",
            Evidence.deleted_at.is_(None),
            *([] if site is None else [Case.site == site]),
        )
        .order_by(Case.closed_at, Evidence.received_at, Evidence.sha256)
    )
    found: dict[str, Mistake] = {}
    for alarm, sha256, rule, reason, of_site, node, at in rows:
        assert at is not None  # noqa: S101 (narrowing; such a row is not `>= since`)
        found.setdefault(sha256, Mistake(sha256, rule, reason or "", of_site, node, at, store.path(alarm, sha256)))
    return list(found.values())


def take_out(found: Sequence[Mistake], folder: Path) -> int:
    """Write the folder; gives how many pictures are in it. Raises MistakesError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MistakesError(f"{folder}: is not an empty folder; choose another one, or remove what is there")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        marks = []
        for one in found:
            try:
                shutil.copyfile(one.path, folder / f"{one.sha256}.jpg")
            except FileNotFoundError:  # retention took it meanwhile
                continue
            told = {"sha256": one.sha256, "rule": one.rule, "reason": one.reason}
            marks.append(told | {"site": one.site, "node": one.node, "at": one.at})
        text = json.dumps(marks, indent=1, ensure_ascii=False)
        (folder / MARKS).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise MistakesError(f"{error.filename or folder}: cannot be written ({error.strerror})") from error
    return len(marks)
