"""Which alarm event is sent next, and which again. Reads the journal, knows no network; not for several threads.

Events leave in the order of `seq`, and the next one of an alarm only when the one before it is confirmed: a broker that
loses its memory between the two, or whose queue is full, would else hand over the newer without the older.

At most `CAPACITY` are under way: sent, or about to be, and not confirmed. One that stays unconfirmed is sent again
after `resend_s`, then after twice that, and so on up to `MAX_BACKOFF` times, so that a far end that is silent gets at
most CAPACITY events per interval. As soon as it confirms anything, what is overdue by the plain `resend_s` goes at
once. What the broker took though nobody has subscribed is lost for certain; it is sent again after `UNHEARD_S`, then
after twice that, and so on up to `resend_s`.

An event that the broker refuses, or that a far end leaves out while it confirms others, must not block those behind
it: after `MAX_FAILURES` of these it is set aside, with an error in the log, and taken up again every `REREAD_S` and at
each new connection. It stays in the journal until it is confirmed. Silence is no failure: nothing is set aside for it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from edge.journal.journal import Journal
from edge.values import AlarmEvent

log = logging.getLogger(__name__)

CAPACITY = 256
UNHEARD_S = 1.0
MAX_BACKOFF = 8
MAX_FAILURES = 4
REREAD_S = 600.0


@dataclass(slots=True)
class _Row:
    event: AlarmEvent
    due: float
    tries: int = 0
    first_sent: float = 0.0
    sent: float = 0.0
    failures: int = 0


def _doubled(times: int) -> int:
    return 1 << min(times, 16)


class Outbox:
    """All times are monotonic seconds, `resend_s` is a duration in seconds."""

    def __init__(self, journal: Journal, resend_s: float) -> None:
        self._journal = journal
        self._resend_s = resend_s
        self._rows: dict[str, _Row] = {}  # in the order of `seq`
        self._aside: set[str] = set()  # that this was said of
        self._cursor = 0
        self._reread_at = float("-inf")
        self._confirmed_at = float("-inf")

    def restart(self, now: float) -> None:
        """A new connection: whatever is not confirmed is due again, from the oldest on."""
        self._rows.clear()
        self._cursor = 0
        self._reread_at = now + REREAD_S

    def due(self, now: float, limit: int) -> list[AlarmEvent]:
        """At most `limit` events to send now, in order."""
        if limit <= 0:
            return []
        self._refill(now)
        due: list[AlarmEvent] = []
        begun: set[str] = set()
        for row in list(self._rows.values()):
            if row.event.alarm in begun:
                continue
            begun.add(row.event.alarm)
            if row.due > now:
                continue
            if row.failures >= MAX_FAILURES:
                self.set_aside(row.event.id, f"refused or left out, {row.tries} times sent")
            elif len(due) < limit:
                due.append(row.event)
        return due

    def _refill(self, now: float) -> None:
        if now >= self._reread_at:
            self._cursor, self._reread_at = 0, now + REREAD_S
        while room := CAPACITY - len(self._rows):
            events = self._journal.pending_alarms(room, self._cursor)
            for event in events:
                self._cursor = event.seq
                self._rows.setdefault(event.id, _Row(event, due=now))
            if len(events) < room:
                return

    def sent(self, event_id: str, now: float) -> None:
        """The event was handed to the connection."""
        row = self._rows[event_id]
        if not row.tries:
            row.first_sent = now
        elif self._confirmed_at > row.sent:
            row.failures += 1
        row.tries += 1
        row.sent = now
        row.due = now + self._resend_s * min(_doubled(row.tries - 1), MAX_BACKOFF)

    def stored(self, ids: Collection[str], now: float) -> None:
        """The far end has stored these events. Ids that are not waiting are ignored."""
        if not ids:
            return
        self._journal.delivered(ids)
        self._aside.difference_update(ids)
        known = [event_id for event_id in ids if self._rows.pop(event_id, None)]
        if known:
            self._confirmed_at = now
            for row in self._rows.values():
                row.due = min(row.due, row.sent + self._resend_s) if row.tries else row.due

    def refused(self, event_id: str) -> None:
        """The broker did not take the event; it is tried again when it is due, a few times."""
        if row := self._rows.get(event_id):
            row.failures += 1

    def unheard(self, event_id: str, now: float) -> None:
        """The broker took the event, but nobody has subscribed: it is lost. Whoever should may be on the way."""
        if row := self._rows.get(event_id):
            row.due = min(row.due, now + min(self._resend_s, UNHEARD_S * _doubled(row.tries - 1)))

    def set_aside(self, event_id: str, why: str) -> None:
        """The event cannot be sent now; those behind it go first."""
        row = self._rows.pop(event_id, None)
        if row is not None and event_id not in self._aside:
            self._aside.add(event_id)
            log.error("alarm event %s (seq %d) is set aside for now: %s", event_id, row.event.seq, why)

    def silent_s(self, now: float) -> float:
        """For how long nothing was confirmed though something is under way; 0 where nothing is."""
        sent = [row.first_sent for row in self._rows.values() if row.tries]
        return now - max(min(sent), self._confirmed_at) if sent else 0.0
