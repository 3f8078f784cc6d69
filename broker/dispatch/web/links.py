"""Signed links, as messages carry them: to a case, or to the cases that a message names; for one person, until they
expire.

Reading one touches nothing. Whether the person is still active and still has a role on the site is asked anew each time
that it is used, so that nobody who has left comes in by an old message. A message's cases stay with its rows
(`tables.Delivery`): a link of twenty cases is no longer than that of one, and fits into an SMS.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from itsdangerous import BadData, URLSafeSerializer

LINK_S = 72 * 3600.0
"""How long a link opens: a case of Friday is still answered on Monday."""


class Opens(StrEnum):
    """What a link opens; the value is the first part of its path."""

    CASE = "l"
    MESSAGE = "m"


_SALTS = {Opens.CASE: "banksman-case-link-1", Opens.MESSAGE: "banksman-message-link-1"}
_COOKIE_SALTS = {Opens.CASE: "banksman-case-link-session-1", Opens.MESSAGE: "banksman-message-link-session-1"}


class LinkError(Exception):
    """A link does not open anything. `code`: `invalid` or `expired`."""

    def __init__(self, code: str) -> None:
        super().__init__(f"link {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Link:
    """What a link is for. id: of the case or message. `expires`: Unix seconds."""

    opens: Opens
    id: str
    person: str
    expires: float


class Links:
    """key: secret of the installation, at least 32 characters. base: address of the pages, without `/` at its end."""

    def __init__(self, key: str, base: str) -> None:
        self._serializers = {opens: URLSafeSerializer(key, salt=salt) for opens, salt in _SALTS.items()}
        self._cookies = {opens: URLSafeSerializer(key, salt=salt) for opens, salt in _COOKIE_SALTS.items()}
        self._base = base.rstrip("/")

    def sign(self, key: str, person: str, now: float, opens: Opens = Opens.CASE) -> str:
        """key: id of the case or message."""
        return str(self._serializers[opens].dumps([key, person, int(now + LINK_S)]))

    def case(self, case: str, person: str, now: float) -> str:
        """What a message about one case carries."""
        return self._address(Opens.CASE, case, person, now)

    def message(self, message: str, person: str, now: float) -> str:
        """What a message about several cases carries; message: as its rows have it."""
        return self._address(Opens.MESSAGE, message, person, now)

    def _address(self, opens: Opens, key: str, person: str, now: float) -> str:
        return f"{self._base}/{opens}/{self.sign(key, person, now, opens)}"

    def pages(self) -> str:
        """What a message about no case carries. The log-in, and not `/`: that may be what an older link opened; who is
        logged in goes on from there by itself."""
        return f"{self._base}/login"

    def cookie(self, link: Link) -> str:
        """Of the session that a link opens: always the same, and nobody but us can make it."""
        return str(self._cookies[link.opens].dumps([link.id, link.person, link.expires]))

    def read(self, token: str, now: float, opens: Opens = Opens.CASE) -> Link:
        """Raises LinkError."""
        try:
            key, person, expires = self._serializers[opens].loads(token)
        except BadData as error:
            raise LinkError("invalid") from error
        if now >= expires:
            raise LinkError("expired")
        return Link(opens, key, person, expires)
