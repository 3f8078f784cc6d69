"""Events and cases with everything filled in, of which a test says only what it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from broker.dispatch.cases import CaseValues, EventValues, on_event
from broker.messages import AlarmMessage, NodeTopics

NOW = 1_790_000_000.0
NODE = NodeTopics("north-yard", "gate-03")


def event(**changes: Any) -> EventValues:
    """A helmet missing, seen just now. `age` puts it back, all times with it."""
    age = changes.pop("age", 0.0)
    received = changes.pop("received_at", NOW)
    values: dict[str, Any] = {
        "id": "e1",
        "site": NODE.site,
        "node": NODE.node,
        "source": "gate",
        "place": "trench",
        "rule": "helmet",
        "clause": ("I.6.1",),
        "alarm": "a1",
        "seq": 1,
        "event": "raised",
        "severity": "warning",
        "verdict": "violation",
        "reason": "bare",
        "subjects": 1,
        "at": received - age,
        "received_at": received,
        "first_seen": received - age - 2,
        "last_seen": received - age,
    }
    return EventValues(**values | changes)


def case(**changes: Any) -> CaseValues:
    """The case that `event()` opens, changed."""
    return replace(on_event(None, event(), NOW, "c1").case, version=1, **changes)


def message(**changes: Any) -> AlarmMessage:
    """The same event as its node sends it."""
    values: dict[str, Any] = {
        "id": "e1",
        "alarm": "a1",
        "seq": 1,
        "event": "raised",
        "source": "gate",
        "place": "trench",
        "rule": "helmet",
        "clause": ("I.6.1",),
        "severity": "warning",
        "verdict": "violation",
        "reason": "bare",
        "subjects": 1,
        "first_seen": NOW - 2,
        "last_seen": NOW,
        "at": NOW,
        "age_s": 0.0,
        "clock_ok": True,
    }
    return AlarmMessage(**values | changes)
