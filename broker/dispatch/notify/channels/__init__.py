"""Ways to a phone: one file each, behind `base.Channel`."""

from __future__ import annotations

from collections.abc import Mapping

from broker.dispatch.notify.channels.apprise import EMAIL, NTFY, SMS, TELEGRAM, ThroughApprise
from broker.dispatch.notify.channels.base import Channel
from broker.dispatch.notify.channels.dingtalk import DingTalk
from broker.dispatch.notify.channels.feishu import Feishu
from broker.dispatch.notify.channels.wecom import WeCom


def standard() -> Mapping[str, Channel]:
    """Every channel by the name that a contact gives."""
    return {
        "dingtalk": DingTalk(),
        "wecom": WeCom(),
        "feishu": Feishu(),
        "sms": ThroughApprise(SMS, "short", picture=False),
        "email": ThroughApprise(EMAIL, "html", picture=True),
        "ntfy": ThroughApprise(NTFY, "plain", picture=True),
        "telegram": ThroughApprise(TELEGRAM, "plain", picture=True),
    }
