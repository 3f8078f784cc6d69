"""Feishu's and Lark's group robot. Address: its web address, and `#secret` behind it where it wants signatures.

A custom robot can show only pictures that an application uploaded: no picture. Codes: its documents on custom robots.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from broker.dispatch.notify.channels.base import Failed, Outcome, Sent, Why
from broker.dispatch.notify.channels.robot import number, post, read_address, unmentioned
from broker.dispatch.notify.message import Sheet

ORIGINS = frozenset({"https://open.feishu.cn", "https://open.larksuite.com"})
RATE_WAIT_S = 60.0
"""100 messages a minute, 5 a second."""

_COLOURS = {"critical": "red", "warning": "orange", "info": "blue", "calm": "green"}
_CODES = {
    11232: Why.RATE_LIMIT,
    99991400: Why.RATE_LIMIT,
    19001: Why.BAD_TOKEN,
    19007: Why.ROBOT_OFF,
    19021: Why.SIGN,
    19022: Why.IP,
    19024: Why.KEYWORD,
    19002: Why.CONTENT,
}
_BAD_REQUEST = 9499
"""Usually a wrong message; also too many at a time, which only the text tells."""


def sign(secret: str, now: float) -> dict[str, str]:
    """timestamp (s) and HMAC-SHA256 over nothing with `timestamp\\nsecret` as key, base64."""
    stamp = str(int(now))
    digest = hmac.digest(f"{stamp}\n{secret}".encode(), b"", hashlib.sha256)
    return {"timestamp": stamp, "sign": base64.b64encode(digest).decode()}


def card(sheet: Sheet) -> dict[str, object]:
    """A message card: the title on the colour of its severity, plain text (no markup is read in it), one button."""
    elements: list[dict[str, object]] = []
    for block in sheet.blocks:
        lines = [block.heading] if block.heading else []
        lines += [f"• {line}" if block.bullets else line for line in block.lines]
        elements.append({"tag": "div", "text": {"tag": "plain_text", "content": "\n".join(lines)}})
    if sheet.link:
        text = {"tag": "plain_text", "content": sheet.link_word}
        elements.append(
            {"tag": "action", "actions": [{"tag": "button", "type": "primary", "text": text, "url": sheet.link}]}
        )
    elements.append({"tag": "note", "elements": [{"tag": "plain_text", "content": sheet.sender}]})
    return {
        "config": {"wide_screen_mode": True},
        "header": {"template": _COLOURS[sheet.tone], "title": {"tag": "plain_text", "content": sheet.title}},
        "elements": elements,
    }


class Feishu:
    def __init__(self, origins: frozenset[str] = ORIGINS) -> None:
        self._origins = origins

    def send(self, sheet: Sheet, address: str, now: float) -> Outcome:
        at = read_address(address, self._origins)
        if at is None or "/bot/v2/hook/" not in at.path:
            return Failed(Why.BAD_ADDRESS)
        sheet = unmentioned(sheet)
        payload: dict[str, object] = {"msg_type": "interactive", "card": card(sheet)}
        answer = post(at.url, payload | (sign(at.secret, now) if at.secret else {}))
        if isinstance(answer, Failed):
            return answer
        code = number(answer, "code", "StatusCode")
        if code == 0:
            return Sent()
        if code is None:
            return Failed(Why.GARBAGE)
        why = _CODES.get(code, Why.REFUSED)
        if code == _BAD_REQUEST:
            why = Why.RATE_LIMIT if "frequency" in str(answer.get("msg", "")).lower() else Why.CONTENT
        return Failed(why, code, RATE_WAIT_S if why is Why.RATE_LIMIT else None)
