"""Builders of alarm events and tallies for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from uuid6 import uuid7

from edge.clock import Clock, Stamp
from edge.journal.journal import Journal
from edge.site.model import JournalSettings
from edge.values import AlarmChange, AlarmEvent, EvidenceRef, Instance, Reason, Severity, Tally, Verdict

HELMET = Instance("gate", "trench", "helmet")


def event(
    at: Stamp, change: AlarmChange = AlarmChange.RAISED, alarm: str = "", instance: Instance = HELMET
) -> AlarmEvent:
    """A critical alarm of two bare heads; `alarm` continues one."""
    return AlarmEvent(
        id=str(uuid7()),
        alarm=alarm or str(uuid7()),
        change=change,
        instance=instance,
        clauses=("I.1.2", "I.6.1"),
        severity=Severity.CRITICAL,
        verdict=Verdict.OK if change is AlarmChange.CLEARED else Verdict.VIOLATION,
        reason=Reason.BARE,
        subjects=2,
        confidence=0.9,
        first_seen=at.plus(-2.0),
        last_seen=at,
        at=at,
        evidence=(EvidenceRef("ab" * 32, "snapshot", 1234),),
    )


def tally(minute: int, ok: int = 60, violation: int = 0, instance: Instance = HELMET, subjects: int = 1) -> Tally:
    return Tally(instance, minute, ok, violation, 0, violation, subjects)


def unsynced(stamp: Stamp, wrong_by: float) -> Stamp:
    return replace(stamp, wall=stamp.wall + wrong_by, synced=False)


def journal(folder: Path, clock: Clock, **how: bool) -> Journal:
    return Journal(folder / "journal.db", clock, JournalSettings(max_mb=5, max_days=2), **how)
