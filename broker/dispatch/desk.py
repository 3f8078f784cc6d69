"""The desk: where every change of a case is written down. Steps of people come in by `do`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from uuid6 import uuid7

from broker.dispatch import jobs, points
from broker.dispatch.cases import FIELDS, Action, CaseValues, Change, Line, Mark, NotAllowed, Wanted, act
from broker.dispatch.database import Among, Question, Writes, lock_of, look, table_of
from broker.dispatch.ledger import next_line
from broker.dispatch.tables import Case, CaseState, Ledger, Point

_CASE, _LEDGER, _POINT = table_of(Case), table_of(Ledger), table_of(Point)
NOT_OVER: ColumnElement[bool] = _CASE.c.state.not_in([state.value for state in CaseState if state.over])
_KEPT = frozenset({"published", "site", "node", "source", "place", "rule", "opened_at", "first_seen"})
"""Columns that no step changes, or that are not a step's to change."""
_CHANGED = tuple(name for name in FIELDS if name not in _KEPT)


def do(session: Session, case_id: str, action: Action, actor: str, now: float) -> Case:
    """A person takes a step. Gives the case as it is then.

    Raises NotAllowed (see `cases.act`; also `another_open`: the identity has a newer case) and LookupError.
    """
    case = session.execute(
        select(Case).where(Case.id == case_id).with_for_update(key_share=True).execution_options(populate_existing=True)
    ).scalar_one_or_none()
    if case is None:
        raise LookupError(f"no case {case_id}")
    change = act(CaseValues.of(case), action, actor, now)
    if change:
        try:
            with session.begin_nested():
                write(session, [change], now)
        except IntegrityError as error:
            if "uq_case_open_identity" in str(error) or "case.identity" in str(error):
                raise NotAllowed("another_open", "there is a newer case of the same alarm") from error
            raise
        session.refresh(case)
    return case


class Pages:
    """Changes of a batch as they pile up: each case is written once, with all its lines."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._cases: dict[str, CaseValues] = {}
        self._new: set[str] = set()
        self._lines: list[dict[str, Any]] = []
        self._jobs: list[Wanted] = []
        self._points: list[dict[str, Any]] = []

    def add(self, change: Change) -> CaseValues:
        """Take a change up; gives the case with its ledger and version brought forward."""
        case = change.case
        if not change:
            return case
        if case.version == 0:
            self._new.add(case.id)
        case = replace(case, version=case.version + 1)
        for line in change.lines:
            case = self._line(case, line)
        for mark in change.marks:
            self._mark(case, mark)
        self._jobs += change.jobs
        self._cases[case.id] = case
        return case

    def latest(self, case: CaseValues) -> CaseValues:
        """The case as these pages have it, if it is in them."""
        return self._cases.get(case.id, case)

    def of(self, identity: str) -> CaseValues | None:
        """The case of these pages that has this identity and is not over."""
        return next((c for c in self._cases.values() if c.identity == identity and not c.state.over), None)

    def _line(self, case: CaseValues, line: Line) -> CaseValues:
        detail = dict(line.detail)
        row = next_line(
            case.id, case.ledger_n, case.ledger_head, at=self._now, actor=line.actor, action=line.action, detail=detail
        )
        self._lines.append(row)
        return replace(case, ledger_n=row["n"], ledger_head=row["hash"])

    def _mark(self, case: CaseValues, mark: Mark) -> None:
        key = uuid7()
        line = points.case_line(case, mark, self._now, key.int)
        self._points.append({"id": str(key), "site": case.site, "line": line})

    def write(self, session: Session) -> None:
        """Into the database, in an order that keeps workers from waiting for each other in a circle."""
        self.written().send(session)

    def written(self) -> Writes:
        """What `write` would send."""
        cases = [case.columns() for case in sorted(self._cases.values(), key=lambda case: case.id)]
        writes = Writes()
        writes.insert(_CASE, [case for case in cases if case["id"] in self._new])
        changed = [case for case in cases if case["id"] not in self._new]
        writes.update(_CASE, [{name: case[name] for name in _CHANGED} for case in changed])
        writes.insert(_LEDGER, self._lines)
        writes.insert(_POINT, self._points)
        jobs.ask(writes, self._jobs)
        return writes


def write(session: Session, changes: Iterable[Change], now: float) -> None:
    """Store changes of different cases, whose rows the caller has locked."""
    pages = Pages(now)
    for change in changes:
        pages.add(change)
    pages.write(session)


def locked(session: Session, *conditions: ColumnElement[bool]) -> list[CaseValues]:
    """The cases that fulfil the conditions, locked in the order of their ids.

    key_share: who only writes rows that refer to a case (deliveries, jobs) holds nobody up.
    """
    rows = session.execute(select(_CASE).where(*conditions).order_by(_CASE.c.id).with_for_update(key_share=True))
    return [CaseValues.of(row) for row in rows]


_OPEN = (
    select(_CASE)
    .where(Among(_CASE.c.identity, "identities"), NOT_OVER)
    .order_by(_CASE.c.id)
    .with_for_update(key_share=True)
)


def open_cases(
    session: Session, identities: Collection[str], *beside: Question
) -> tuple[dict[str, CaseValues], list[Sequence[Any]]]:
    """The cases of these identities that are not over, locked; and the answers to other questions, asked with them.

    Until the transaction ends no other worker finds one of these identities without a case, and opens a second.
    """
    questions: list[Question] = [(_OPEN, {"identities": sorted(identities)}), *beside]
    if session.get_bind().dialect.name == "postgresql":  # SQLite has one writer at a time
        _, rows, *answers = look(session, lock_of(identities), *questions)
    else:
        rows, *answers = look(session, *questions)
    return {case.identity: case for case in map(CaseValues.of, rows)}, answers
