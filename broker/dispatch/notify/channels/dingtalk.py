"""DingTalk's group robot. Address: the robot's web address, and `#SEC…` behind it where it wants signatures.

Robots of DingTalk cannot be handed a file: no picture. Codes: its documents on custom robots and global error codes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from broker.dispatch.notify.channels.base import Failed, Outcome, Sent, Why
from broker.dispatch.notify.channels.robot import number, post, read_address, unmentioned
from broker.dispatch.notify.formats import markdown
from broker.dispatch.notify.message import Sheet

ORIGINS = frozenset({"https://oapi.dingtalk.com", "https://api.dingtalk.com"})
MAX_BYTES = 18_000
"""The service takes 20,000 with everything around the text."""
RATE_WAIT_S = 600.0
"""Above 20 a minute a robot is mute for ten minutes."""

_CODES = {
    -1: Why.BUSY,
    130101: Why.RATE_LIMIT,
    410100: Why.RATE_LIMIT,
    300001: Why.BAD_TOKEN,
    300005: Why.BAD_TOKEN,
    400101: Why.BAD_TOKEN,
    400013: Why.ROBOT_OFF,
    400102: Why.ROBOT_OFF,
    430101: Why.CONTENT,
    430102: Why.CONTENT,
    430103: Why.CONTENT,
    430104: Why.CONTENT,
}
_SECURITY = 310000
"""One code for three rules; only the text tells which."""


def sign(secret: str, now: float) -> dict[str, str]:
    """timestamp (ms) and HMAC-SHA256 over `timestamp\\nsecret` with the secret as key, base64."""
    stamp = str(round(now * 1000))
    digest = hmac.digest(secret.encode(), f"{stamp}\n{secret}".encode(), hashlib.sha256)
    return {"timestamp": stamp, "sign": base64.b64encode(digest).decode()}


class DingTalk:
    def __init__(self, origins: frozenset[str] = ORIGINS) -> None:
        self._origins = origins

    def send(self, sheet: Sheet, address: str, now: float) -> Outcome:
        at = read_address(address, self._origins)
        if at is None or not at.query.get("access_token"):
            return Failed(Why.BAD_ADDRESS)
        sheet = unmentioned(sheet)
        payload = {
            "msgtype": "markdown",
            "markdown": {"title": sheet.title, "text": markdown(sheet, MAX_BYTES)},
            "at": {"isAtAll": False},
        }
        answer = post(at.url, payload, sign(at.secret, now) if at.secret else None)
        if isinstance(answer, Failed):
            return answer
        code = number(answer, "errcode")
        if code == 0:
            return Sent()
        if code is None:
            # Its shield against floods answers without an error code: {"status": 1111, "wait": 5, "punish": "deny"}
            wait = number(answer, "wait")
            return Failed(Why.RATE_LIMIT, retry_after=float(wait)) if wait is not None else Failed(Why.GARBAGE)
        why = _rule_of(str(answer.get("errmsg", ""))) if code == _SECURITY else _CODES.get(code, Why.REFUSED)
        return Failed(why, code, RATE_WAIT_S if why is Why.RATE_LIMIT else None)


def _rule_of(text: str) -> Why:
    text = text.lower()
    if "keyword" in text or "关键词" in text:
        return Why.KEYWORD
    if "whitelist" in text or "ip" in text.split():
        return Why.IP
    return Why.SIGN
