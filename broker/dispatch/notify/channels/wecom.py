"""WeCom's group robot. Address: its web address, with the key. A picture goes as a second message.

Codes: its documents on group robots and global error codes.
"""

from __future__ import annotations

import base64
import hashlib
import logging

from broker.dispatch.notify.channels.base import Failed, Outcome, Sent, Why
from broker.dispatch.notify.channels.robot import Address, number, post, read_address, unmentioned
from broker.dispatch.notify.formats import markdown
from broker.dispatch.notify.message import Sheet

log = logging.getLogger(__name__)

ORIGINS = frozenset({"https://qyapi.weixin.qq.com"})
MAX_BYTES = 4096
MAX_PICTURE = 2 * 1024 * 1024
RATE_WAIT_S = 60.0
"""20 messages a minute."""

_CODES = {
    -1: Why.BUSY,
    45009: Why.RATE_LIMIT,
    45033: Why.RATE_LIMIT,
    93000: Why.BAD_TOKEN,
    93004: Why.ROBOT_OFF,
    93008: Why.ROBOT_OFF,
    40058: Why.CONTENT,
    44004: Why.CONTENT,
    45002: Why.CONTENT,
}


class WeCom:
    def __init__(self, origins: frozenset[str] = ORIGINS) -> None:
        self._origins = origins

    def send(self, sheet: Sheet, address: str, now: float) -> Outcome:  # noqa: ARG002  # nothing is signed
        at = read_address(address, self._origins)
        if at is None or not at.query.get("key"):
            return Failed(Why.BAD_ADDRESS)
        sheet = unmentioned(sheet)
        sent = _call(at, {"msgtype": "markdown", "markdown": {"content": markdown(sheet, MAX_BYTES)}})
        if isinstance(sent, Failed) or sheet.picture is None:
            return sent
        return Sent(picture=_picture(at, sheet))


def _picture(at: Address, sheet: Sheet) -> bool:
    """Send the picture. That it fails is told in the log only: the words have arrived, twice would be worse."""
    assert sheet.picture is not None  # noqa: S101
    try:
        data = sheet.picture.read_bytes()
    except OSError as error:
        log.warning("The picture of a message cannot be read: %s", error)
        return False
    if len(data) > MAX_PICTURE:
        log.warning("A picture of %d bytes is too large for WeCom; at most %d", len(data), MAX_PICTURE)
        return False
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()  # the service asks for this one
    outcome = _call(at, {"msgtype": "image", "image": {"base64": base64.b64encode(data).decode(), "md5": md5}})
    if isinstance(outcome, Failed):
        log.warning("WeCom took the words of a message but not its picture: %s", outcome.code)
    return isinstance(outcome, Sent)


def _call(at: Address, payload: dict[str, object]) -> Outcome:
    answer = post(at.url, payload)
    if isinstance(answer, Failed):
        return answer
    code = number(answer, "errcode")
    if code == 0:
        return Sent()
    if code is None:
        return Failed(Why.GARBAGE)
    why = _CODES.get(code, Why.REFUSED)
    return Failed(why, code, RATE_WAIT_S if why is Why.RATE_LIMIT else None)
