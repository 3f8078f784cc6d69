"""The audit ledger: every step of a case, chained by hashes, and a hash a day over the ends of all chains.

Whoever changes or removes a line breaks its case's chain; whoever rewrites a whole chain breaks the day's hash, which
is worth writing down outside (it is printed in the log).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Row, exists, func, select, true
from sqlalchemy.orm import Session

from broker.dispatch.database import insert_many, table_of, update_many
from broker.dispatch.tables import Case, Ledger, LedgerDay

_CASE, _LEDGER, _DAY = table_of(Case), table_of(Ledger), table_of(LedgerDay)


_HASHED = ("previous", "case", "n", "at", "actor", "action", "detail")
_BATCH = 2000


def line_hash(line: Mapping[str, Any]) -> str:
    """SHA-256, hex, over the columns of a line, with the hash before it (empty for the first), as canonical JSON."""
    canonical = json.dumps([line[name] for name in _HASHED], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def next_line(case: str, n: int, head: str, **columns: Any) -> dict[str, Any]:
    """The row that follows line `n` of a case, whose hash is `head`. columns: at, actor, action, detail."""
    line = {"case": case, "n": n + 1, "previous": head} | columns
    return line | {"hash": line_hash(line)}


def append(  # noqa: PLR0917 a line has these columns
    session: Session, case_id: str, at: float, actor: str, action: str, detail: Mapping[str, Any]
) -> None:
    """One line more. Locks the case; raises LookupError where there is none of that id."""
    append_all(session, at, actor, action, [(case_id, detail)])


def append_all(
    session: Session, at: float, actor: str, action: str, details: Sequence[tuple[str, Mapping[str, Any]]]
) -> None:
    """A line more for each case and detail, in three statements: a case is locked until the transaction ends.

    Raises LookupError where there is no case of an id.
    """
    wanted = sorted({case for case, _ in details})
    rows = session.execute(
        select(_CASE.c.id, _CASE.c.ledger_n, _CASE.c.ledger_head)
        .where(_CASE.c.id.in_(wanted))
        .order_by(_CASE.c.id)  # everybody locks cases in this order
        .with_for_update(key_share=True)
    )
    ends = {row.id: (row.ledger_n, row.ledger_head) for row in rows}
    if missing := [case for case in wanted if case not in ends]:
        raise LookupError(f"no case {', '.join(missing)}")
    lines = []
    for case, detail in details:
        n, head = ends[case]
        line = next_line(case, n, head, at=at, actor=actor, action=action, detail=dict(detail))
        ends[case] = (line["n"], line["hash"])
        lines.append(line)
    insert_many(session, _LEDGER, lines)
    update_many(session, _CASE, [{"id": c, "ledger_n": n, "ledger_head": head} for c, (n, head) in ends.items()])


def verify(session: Session, case_id: str) -> list[str]:
    """What is wrong with the chain of a case, in words; empty: nothing."""
    held = session.execute(select(_CASE.c.ledger_n, _CASE.c.ledger_head).where(_CASE.c.id == case_id)).one_or_none()
    lines = session.execute(select(_LEDGER).where(_LEDGER.c.case == case_id).order_by(_LEDGER.c.n))
    problems, n, head = _chain(lines)
    if held is None:
        return [*problems, "the case is missing"]
    return problems + _end(n, head, held.ledger_n, held.ledger_head)


def _chain(lines: Iterable[Row[Any]]) -> tuple[list[str], int, str]:
    """What is wrong with the lines of a case; number and hash of the last one."""
    problems = []
    n, head = 0, ""
    for row in lines:
        n += 1
        if row.n != n:
            problems.append(f"line {n} is missing")
            n = row.n
        if row.previous != head:
            problems.append(f"line {n} does not follow the line before it")
        if row.hash != line_hash(dict(row._mapping)):
            problems.append(f"line {n} was changed")
        head = row.hash
    return problems, n, head


def _end(n: int, head: str, held_n: int, held_head: str) -> list[str]:
    whole = (held_n, held_head) == (n, head)
    return [] if whole else [f"the case knows {held_n} lines; the ledger has {n}, or ends otherwise"]


@dataclass(frozen=True, slots=True)
class Checked:
    """What a look at whole ledgers found. problems: by case, in words. days: what is wrong with the days' hashes.

    last_day, last_hash: the newest day that is closed; empty where none is. Days that were cut off at the end leave no
    trace here: the hash is to be compared with what was written down outside.
    """

    cases: int
    lines: int
    problems: Mapping[str, list[str]]
    days: list[str]
    last_day: str
    last_hash: str

    @property
    def sound(self) -> bool:
        return not self.problems and not self.days


def verify_all(session: Session, which: ColumnElement[bool] | None = None) -> Checked:
    """Every chain of the cases that fulfil `which` (None: all), in one pass, and the hashes of all days."""
    cases = lines = 0
    problems: dict[str, list[str]] = {}
    both = select(_CASE.c.id, _CASE.c.ledger_n, _CASE.c.ledger_head, _LEDGER).join(
        _LEDGER, _LEDGER.c.case == _CASE.c.id, isouter=True
    )
    rows = session.execute(
        both.where(true() if which is None else which).order_by(_CASE.c.id, _LEDGER.c.n),
        execution_options={"yield_per": _BATCH},
    )
    for case, group in groupby(rows, key=lambda row: str(row.id)):
        of_case = list(group)
        found, n, head = _chain(row for row in of_case if row.n is not None)
        found += _end(n, head, of_case[0].ledger_n, of_case[0].ledger_head)
        cases, lines = cases + 1, lines + n
        if found:
            problems[case] = found
    if which is None:
        orphans = select(_LEDGER.c.case).where(~exists().where(_CASE.c.id == _LEDGER.c.case)).distinct()
        problems |= {case: ["the case is missing"] for case in session.scalars(orphans)}
    last = session.execute(select(_DAY).order_by(_DAY.c.day.desc()).limit(1)).one_or_none()
    return Checked(cases, lines, problems, verify_days(session), last.day if last else "", last.hash if last else "")


def _bounds(day: dt.date) -> tuple[float, float]:
    start = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp()
    return start, start + 86_400


def _heads(session: Session, day: dt.date) -> tuple[int, str]:
    """How many chains grew on a day (UTC), and SHA-256 over their ends as they were at its end."""
    start, end = _bounds(day)
    last = (
        select(_LEDGER.c.case, func.max(_LEDGER.c.n).label("n"))
        .where(_LEDGER.c.at >= start, _LEDGER.c.at < end)
        .group_by(_LEDGER.c.case)
        .subquery()
    )
    rows = session.execute(
        select(_LEDGER.c.case, _LEDGER.c.hash).join(last, (last.c.case == _LEDGER.c.case) & (last.c.n == _LEDGER.c.n))
    )
    count, digest = 0, hashlib.sha256()
    for case, head in sorted((row.case, row.hash) for row in rows):  # sorted here: databases collate differently
        count += 1
        digest.update(f"{case} {head}\n".encode())
    return count, digest.hexdigest()


def _day_hash(day: str, cases: int, heads: str, previous: str) -> str:
    return hashlib.sha256(f"{previous} {day} {cases} {heads}".encode()).hexdigest()


def close_day(session: Session, day: dt.date) -> str:
    """Hash a day that is over, with those before it that were left out; gives its hash. A closed day stays as it is."""
    last = session.execute(select(_DAY).order_by(_DAY.c.day.desc()).limit(1)).one_or_none()
    if last is None:
        first = session.execute(select(func.min(_LEDGER.c.at))).scalar()
        at = day if first is None else min(day, dt.datetime.fromtimestamp(first, dt.UTC).date())
        previous = ""
    else:
        at, previous = dt.date.fromisoformat(last.day) + dt.timedelta(days=1), last.hash
    while at <= day:
        cases, heads = _heads(session, at)
        digest = _day_hash(at.isoformat(), cases, heads, previous)
        session.execute(
            _DAY.insert(),
            {"day": at.isoformat(), "cases": cases, "heads": heads, "previous": previous, "hash": digest},
        )
        at, previous = at + dt.timedelta(days=1), digest
    return str(session.execute(select(_DAY.c.hash).where(_DAY.c.day == day.isoformat())).scalar_one())


def verify_days(session: Session) -> list[str]:
    """What is wrong with the hashes of the days, in words; empty: nothing."""
    problems = []
    previous, expected = "", None
    for row in session.execute(select(_DAY).order_by(_DAY.c.day)):
        day = dt.date.fromisoformat(row.day)
        if expected is not None and day != expected:
            problems.append(f"{expected.isoformat()} is missing")
        if row.previous != previous:
            problems.append(f"{row.day} does not follow the day before it")
        if (row.cases, row.heads) != _heads(session, day):
            problems.append(f"the ledger of {row.day} is not what it was")
        if row.hash != _day_hash(row.day, row.cases, row.heads, row.previous):
            problems.append(f"the hash of {row.day} is wrong")
        previous, expected = row.hash, day + dt.timedelta(days=1)
    return problems
