"""What has come and waits to be stored, in the order in which it came, with an end to it.

Three kinds, each with room of its own, so that none can take it from another:

* **owed** an acknowledgement (QoS 1: alarms, status). The broker has at most its receive maximum of them under way,
  and so many always find room. Should one find none all the same, no more of them are taken in: the broker has them,
  and brings them in their order to the next connection (`spilled`).
* **states** (health, QoS 0): the newest of a topic replaces the one before it, and stands where it came itself: a last
  will that came between the two stays before it.
* **loose**: whatever else comes with QoS 0. Without room it is dropped: its sender asked for no more.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from broker.dispatch import metrics
from broker.dispatch.intake import Received
from broker.messages import Kind, MessageError, parse_topic

RECEIVE_MAXIMUM: Final = 1000
"""Messages that the broker may have under way to this worker; its own limit counts, too (`inflight` of broker.toml)."""
STATES: Final = 4000
"""Nodes whose newest word is kept."""
LOOSE: Final = 1000


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message, and how it is acknowledged. connection: on which it came."""

    received: Received
    mid: int
    qos: int
    connection: int


class _Lane(Enum):
    OWED = auto()
    STATE = auto()
    LOOSE = auto()


class Inbox:
    """From any thread. owed, states, loose: how many there is room for."""

    def __init__(self, owed: int = RECEIVE_MAXIMUM, states: int = STATES, loose: int = LOOSE) -> None:
        self._room = {_Lane.OWED: owed, _Lane.STATE: states, _Lane.LOOSE: loose}
        self._counts: Counter[_Lane] = Counter()
        self._waiting: dict[Hashable, tuple[_Lane, Inbound]] = {}  # by what is replaced by its like; in order
        self._numbers = itertools.count()
        self._there = threading.Condition()
        self._spilled = False

    def put(self, message: Inbound) -> bool:
        """False: there is no room for it."""
        lane = _lane(message)
        key = message.received.topic if lane is _Lane.STATE else next(self._numbers)
        with self._there:
            self._remove(key)
            if self._counts[lane] >= self._room[lane] or (lane is _Lane.OWED and self._spilled):
                self._spilled = self._spilled or lane is _Lane.OWED
                return False
            self._waiting[key] = (lane, message)
            self._counts[lane] += 1
            metrics.QUEUE.set(len(self._waiting))
            self._there.notify()
        return True

    def take(self, most: int, timeout: float) -> list[Inbound]:
        """The first ones, at most `most`; waits for one at most `timeout` seconds."""
        with self._there:
            self._there.wait_for(lambda: self._waiting, timeout)
            keys = list(itertools.islice(self._waiting, most))
            batch = [self._waiting[key][1] for key in keys]
            for key in keys:
                self._remove(key)
            metrics.QUEUE.set(len(self._waiting))
        return batch

    def forget_owed(self) -> None:
        """There is a new connection: what was not acknowledged on the one before comes again."""
        with self._there:
            for key in [key for key, (lane, _) in self._waiting.items() if lane is _Lane.OWED]:
                self._remove(key)
            self._spilled = False
            metrics.QUEUE.set(len(self._waiting))

    @property
    def spilled(self) -> bool:
        """An owed one found no room."""
        return self._spilled

    @property
    def owed(self) -> int:
        """How many owed ones wait."""
        return self._counts[_Lane.OWED]

    def _remove(self, key: Hashable) -> None:
        if there := self._waiting.pop(key, None):
            self._counts[there[0]] -= 1


def _lane(message: Inbound) -> _Lane:
    if message.qos > 0:
        return _Lane.OWED
    try:
        kind = parse_topic(message.received.topic).kind
    except MessageError:
        return _Lane.LOOSE  # whoever reads it says so
    return _Lane.STATE if kind is Kind.HEALTH else _Lane.LOOSE
