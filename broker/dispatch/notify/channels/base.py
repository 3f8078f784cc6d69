"""What a channel is, and what came of a message.

Outcomes are words of our own and the far end's numbers, never its text: so no secret gets into a log.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from broker.dispatch.notify.message import Sheet

DEADLINE_S = 10.0
"""For one message, from the name's look-up to the last byte of the answer."""


class Why(StrEnum):
    """Why a message did not go; `notify.why.…` of the catalogues says what to do about it."""

    BAD_ADDRESS = "bad_address"
    BAD_TOKEN = "bad_token"  # noqa: S105  # a word, not a token
    KEYWORD = "keyword"
    SIGN = "sign"
    IP = "ip"
    ROBOT_OFF = "robot_off"
    CONTENT = "content"
    REFUSED = "refused"
    RATE_LIMIT = "rate_limit"
    BUSY = "busy"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    GARBAGE = "garbage"

    @property
    def passing(self) -> bool:
        """Trying again may help without anybody mending anything."""
        return self in {Why.RATE_LIMIT, Why.BUSY, Why.TIMEOUT, Why.UNREACHABLE, Why.GARBAGE}


@dataclass(frozen=True, slots=True)
class Sent:
    """The service says that it has the message. picture: whether one went along."""

    picture: bool = False

    @property
    def code(self) -> str:
        return "ok"


@dataclass(frozen=True, slots=True)
class Failed:
    """far: the far end's number or HTTP status, no text. retry_after: seconds that it asked to wait, or None."""

    why: Why
    far: int | None = None
    retry_after: float | None = None

    @property
    def code(self) -> str:
        return self.why.value if self.far is None else f"{self.why}:{self.far}"


Outcome = Sent | Failed


class Channel(Protocol):
    """A way for messages. `address` is a secret of the form that the channel's module documents."""

    def send(self, sheet: Sheet, address: str, now: float) -> Outcome:
        """Send and read the answer. Never raises for what the address holds or the far end does. now: Unix s."""
        ...
