"""Confirmation over time: when many looks at one subject add up to a verdict.

One look is never believed. A verdict counts once it was seen in at least `min_looks` looks that span `confirm_s`,
and in most of the looks that could be judged at all. It is left again only when the looks of a whole window speak
against it: between the two shares nothing changes (hysteresis), so a detector that flickers does not.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice

from edge.alarm.terms import Terms
from edge.clock import Stamp
from edge.values import NOBODY_LOOKED, Judgement, Reason, Verdict

ENTER_SHARE = 0.7  # of the judgeable looks in the window must agree before a verdict is taken up
STAY_SHARE = 0.4  # and so many keep it
SEEN_SHARE = 0.5  # of all looks in the window must be judgeable before a verdict is taken up
WINDOW = 1.5  # window over confirmation time: room for a dropped look or a flicker without starting over
MAX_LOOKS = 512
"""Looks that are remembered; where a window holds more, every other one is forgotten, so that it keeps its length."""
SLACK_S = 1e-6


@dataclass(frozen=True, slots=True)
class _Look:
    stamp: Stamp
    judgement: Judgement

    @property
    def mono(self) -> float:
        return self.stamp.mono


@dataclass(slots=True)
class SubjectWatch:
    """What is known about one subject of one rule instance. Feed it with `look`; read `verdict`.

    breach_since, breach_seen: of the looks that make it a violation, the first one ever and the newest; else None.
    """

    terms: Terms
    verdict: Verdict = Verdict.UNKNOWN
    reason: Reason = Reason.TOO_FEW_LOOKS
    confidence: float = 0.0
    last: Stamp | None = None
    breach_since: Stamp | None = None
    breach_seen: Stamp | None = None
    _looks: deque[_Look] = field(default_factory=deque)

    def look(self, judgement: Judgement, stamp: Stamp) -> None:
        """Add one look. Stamps must rise; an older one is ignored."""
        if self.last is not None and stamp.mono <= self.last.mono:
            return
        if not self._looks or stamp.mono - self._looks[-1].mono > self.terms.gap_s + SLACK_S:
            self._forget()
        self.last = stamp
        if judgement.reason in NOBODY_LOOKED:
            # Nobody looked: what was known fades as in any gap, and no share of looks is spoilt.
            if not self._looks:
                self.reason = judgement.reason
            return
        if len(self._looks) >= MAX_LOOKS:
            self._looks = deque(islice(self._looks, 0, None, 2))
        self._looks.append(_Look(stamp, judgement))
        oldest_kept = stamp.mono - self.terms.confirm_s * WINDOW - SLACK_S
        while len(self._looks) > self.terms.min_looks and self._looks[0].mono < oldest_kept:
            self._looks.popleft()
        self._settle(judgement)

    @property
    def remembered(self) -> int:
        """How many looks are kept."""
        return len(self._looks)

    def known_at(self, stamp: Stamp) -> bool:
        """Whether the last look is recent enough to still speak for this moment."""
        return self.last is not None and stamp.mono - self.last.mono <= self.terms.gap_s + SLACK_S

    def _forget(self) -> None:
        self._looks.clear()
        self._know_nothing(Reason.TOO_FEW_LOOKS)

    def _know_nothing(self, reason: Reason) -> None:
        self.verdict, self.reason, self.confidence = Verdict.UNKNOWN, reason, 0.0
        self.breach_since = self.breach_seen = None

    def _settle(self, newest: Judgement) -> None:
        looks = self._looks
        judged = [x for x in looks if x.judgement.verdict is not Verdict.UNKNOWN]
        for candidate in (Verdict.VIOLATION, Verdict.OK):
            agree = [x for x in judged if x.judgement.verdict is candidate]
            if self.verdict is candidate:
                # In force: stays while enough of what could be judged speaks for it.
                if judged and len(agree) >= STAY_SHARE * len(judged):
                    self._take(candidate, agree)
                    return
                continue
            if (
                newest.verdict is candidate
                and len(agree) >= self.terms.min_looks
                and agree[-1].mono - agree[0].mono >= self.terms.confirm_s - SLACK_S
                and len(agree) >= ENTER_SHARE * len(judged)
                and len(judged) >= SEEN_SHARE * len(looks)
            ):
                self._take(candidate, agree)
                return
        self._know_nothing(newest.reason if newest.verdict is Verdict.UNKNOWN else Reason.TOO_FEW_LOOKS)

    def _take(self, verdict: Verdict, agree: list[_Look]) -> None:
        if verdict is Verdict.OK:
            self.breach_since = self.breach_seen = None
        else:
            self.breach_since = self.breach_since or agree[0].stamp
            self.breach_seen = agree[-1].stamp
        self.verdict = verdict
        self.reason = agree[-1].judgement.reason
        self.confidence = sum(x.judgement.confidence for x in agree) / len(agree)
