"""What the worker does for each kind of job that tells people."""

from __future__ import annotations

from collections.abc import Mapping

from broker.dispatch.jobs import Handler, Together
from broker.dispatch.notify import asking
from broker.dispatch.notify.channels.base import Channel
from broker.dispatch.notify.letters import Links, Pictures
from broker.dispatch.notify.post import Post, of_person


def handlers(channels: Mapping[str, Channel], links: Links, pictures: Pictures) -> Mapping[str, Handler]:
    """By kind. The worker asks for `handover` with the key `asking.EVERY_SITE` when it starts."""
    return {
        "notify": Together(Post(channels, links, pictures).notify, asking.notify, fits=lambda job: not of_person(job)),
        "repeat": asking.repeat,
        "escalate": asking.escalate,
        "late_digest": asking.late_digest,
        "feedback": asking.feedback,
        "answer_due": asking.answer_due,
        "handover": asking.handover,
    }
