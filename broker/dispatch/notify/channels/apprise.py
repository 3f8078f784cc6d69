"""SMS, e-mail, ntfy and Telegram through apprise. Address: an apprise URL of the channel's schemas.

`mailtos://user:password@host?to=…`, `ntfys://host/topic`, `tgram://bot/chat`, `twilio://…`. Other schemas are refused:
among apprise's are the three robots, where it takes a refusal in an HTTP 200 for success, and local files and programs.

apprise says yes or no; the number of the answer is read from its log lines, everything else of which may hold secrets
and goes nowhere.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from apprise import Apprise, AppriseAsset, NotifyFormat
from apprise.result import AppriseResultStatus

from broker.dispatch.notify.channels.base import DEADLINE_S, Failed, Outcome, Sent, Why
from broker.dispatch.notify.formats import html, plain, short
from broker.dispatch.notify.message import Sheet

SMS = frozenset(
    {"atalk", "bulksms", "bulkvs", "burstsms", "clickatell", "clicksend", "d7sms", "exotel", "httpsms", "infobip"}
    | {"kaleyra", "kavenegar", "msg91", "nexmo", "octopush", "plivo", "seven", "sinch", "smpp", "smpps", "smseagle"}
    | {"smseagles", "smsmanager", "sns", "telesign", "telnyx", "twilio", "voipms", "vonage"}
)
EMAIL = frozenset({"mailto", "mailtos"})
NTFY = frozenset({"ntfy", "ntfys"})
TELEGRAM = frozenset({"tgram"})

_KEPT = re.compile(r"\berror=\d{3}|\(\d{3}, b|timed out")
_CODE = re.compile(r"\d{3}")


class _Bare(logging.Filter):
    """Of apprise's log lines only what `_KEPT` matches: the rest holds topics, addresses, answers."""

    def filter(self, record: logging.LogRecord) -> bool:
        found = _KEPT.search(record.getMessage())
        record.msg, record.args, record.exc_info = found[0] if found else "", (), None
        return found is not None


_log = logging.getLogger("apprise")
_log.addFilter(_Bare())
_log.setLevel(logging.DEBUG)  # what a mail server said is told at this level only
logging.getLogger("urllib3").setLevel(logging.WARNING)  # below it whole paths are written, and with them tokens


@dataclass(frozen=True, slots=True)
class ThroughApprise:
    """One of the channels. text: what it can show; picture: whether a file may go along."""

    schemas: frozenset[str]
    text: str
    picture: bool

    def send(self, sheet: Sheet, address: str, now: float) -> Outcome:  # noqa: ARG002  # nothing is signed
        schema = address.strip().partition("://")[0].lower()
        if schema not in self.schemas:
            return Failed(Why.BAD_ADDRESS)
        asset = AppriseAsset(
            app_id=sheet.sender,
            app_desc=sheet.sender,
            app_url="",
            image_url_mask="",
            image_url_logo="",
            storage_mode="memory",
            http_redirects=False,
            service_timeout=DEADLINE_S,
        )
        service = Apprise(asset=asset)
        if not service.add(address.strip()):
            return Failed(Why.BAD_ADDRESS)
        title, body, form = self._content(sheet)
        picture = sheet.picture if self.picture and _is_there(sheet.picture) else None
        result = service.notify(
            title=title,
            body=body,
            body_format=form,
            attach=str(picture) if picture else None,
            timeout=DEADLINE_S,
            log_level=logging.DEBUG,
        )
        if result:
            return Sent(picture is not None)
        if result.status is AppriseResultStatus.TIMEOUT:
            return Failed(Why.TIMEOUT)
        return _why([entry.message for entry in result.logs()])

    def _content(self, sheet: Sheet) -> tuple[str, str, NotifyFormat]:
        if self.text == "short":
            return "", short(sheet), NotifyFormat.TEXT
        if self.text == "html":
            return sheet.title, html(sheet), NotifyFormat.HTML
        return sheet.title, plain(sheet), NotifyFormat.TEXT


def _is_there(picture: Path | None) -> bool:
    return picture is not None and picture.is_file()


def _why(lines: list[str]) -> Failed:
    """What a refusal was: HTTP status or SMTP code where there is one, else the network."""
    answer = next((line for line in lines if line != "timed out"), None)
    if answer is None:
        return Failed(Why.TIMEOUT if lines else Why.UNREACHABLE)
    found = _CODE.search(answer)
    assert found is not None  # noqa: S101 for the type checker: `_KEPT` has it
    code = int(found[0])
    smtp = answer.startswith("(")
    if code == 429:
        return Failed(Why.RATE_LIMIT, code)
    if code in {530, 534, 535} if smtp else code in {401, 403, 404}:
        return Failed(Why.BAD_TOKEN, code)
    return Failed(Why.BUSY if (code < 500 if smtp else code >= 500 or code == 408) else Why.REFUSED, code)
