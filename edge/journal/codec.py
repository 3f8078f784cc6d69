"""Alarm events as they stand in the journal, and their dates put right once the clock is."""

from __future__ import annotations

from dataclasses import replace

from pydantic import TypeAdapter

from edge.clock import Stamp
from edge.values import AlarmEvent

_EVENT = TypeAdapter(AlarmEvent)


def encode(event: AlarmEvent) -> str:
    return _EVENT.dump_json(event).decode()


def decode(text: str) -> AlarmEvent:
    """The event of a row. Raises pydantic.ValidationError where the text is not one."""
    return _EVENT.validate_json(text)


def redated(stamp: Stamp, now: Stamp) -> Stamp:
    """The stamp with the wall time that it would have had if the clock had been right then.

    Possible only where `now` is synchronised and of the same boot: the monotonic clock tells how long ago it was.
    Other stamps come back as they are.
    """
    if stamp.synced or not now.synced or stamp.boot != now.boot:
        return stamp
    return replace(stamp, wall=now.wall - (now.mono - stamp.mono), synced=True)


def redated_event(event: AlarmEvent, now: Stamp) -> AlarmEvent:
    """The event with each of its stamps put right where that can be done."""
    return replace(
        event,
        first_seen=redated(event.first_seen, now),
        last_seen=redated(event.last_seen, now),
        at=redated(event.at, now),
    )
