"""The norm's clock: pure functions and plain values, without a database and without asking the machine for the time.

Clauses are named as in the rule book (design, section 2). Times are Unix seconds in UTC; times of day are minutes after
midnight in the site's time zone. Nothing here is remembered between two calls: every time follows from what is stored,
so that a restart changes nothing.
"""

from __future__ import annotations


class NormError(ValueError):
    """Shifts, holidays, chains or hours that make no sense. `code` names the kind, the text says what and where."""

    ZONE = "zone"
    SHIFT = "shift"
    DUTY = "duty"
    HOLIDAY = "holiday"
    CHAIN = "chain"
    REPEAT = "repeat"
    QUIET = "quiet"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
