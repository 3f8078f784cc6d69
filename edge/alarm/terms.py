"""The terms on which a rule's looks become an alarm: the rule's own defaults, overruled by the site file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge.rules import Rule
from edge.site.model import RuleSettings
from edge.values import Severity

PERSON_GAP_S = 2.0
"""A person who is not judged for longer than this is no longer known about (design: section 3, "one detector")."""
FIXTURE_GAP_LOOKS = 3
"""A fixture is looked at on a schedule; so many missed looks break what was known about it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """All times in seconds.

    confirm_s, min_looks: how long and how often a verdict must be seen before it counts.
    clear_s: how long there must be no breach, with the camera seeing, before an alarm is cleared.
    quiet_s: after an event of an open alarm, no further one for so long unless it grew worse.
    gap_s: a longer time between two looks breaks a confirmation.
    empty_is_ok: whether "nobody there any more" means that the breach ended well (somebody left a no-entry zone), or
        that nobody knows (a bare head walked out of sight).
    """

    subject: Literal["person", "fixture"]
    clauses: tuple[str, ...]
    severity: Severity
    confirm_s: float
    min_looks: int
    clear_s: float
    quiet_s: float
    gap_s: float
    empty_is_ok: bool = False

    def __post_init__(self) -> None:
        if self.confirm_s <= 0 or self.clear_s <= 0 or self.gap_s <= 0 or self.min_looks < 1 or self.quiet_s < 0:
            raise ValueError(f"terms need positive times and at least one look, got {self}")


def terms_of(rule: Rule, settings: RuleSettings) -> Terms:
    """The terms of one rule on one site."""
    return Terms(
        subject=rule.subject,
        clauses=rule.clauses,
        severity=settings.severity or rule.severity,
        confirm_s=settings.confirm_s or rule.confirm_s,
        min_looks=rule.min_looks,
        clear_s=settings.clear_s or rule.clear_s,
        quiet_s=settings.quiet_s,
        gap_s=PERSON_GAP_S if rule.subject == "person" else FIXTURE_GAP_LOOKS * rule.every_s,
        empty_is_ok=rule.empty_is_ok,
    )
