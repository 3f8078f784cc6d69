"""Signed links to a case, as messages carry them: for one person and one case, until they expire.

Reading one touches nothing. Whether the person is still active and still has a role on the site is asked anew each time
that it is used, so that nobody who has left comes in by an old message.
"""

from __future__ import annotations

from dataclasses import dataclass

from itsdangerous import BadData, URLSafeSerializer

LINK_S = 72 * 3600.0
"""How long a link opens: a case of Friday is still answered on Monday."""
_SALT = "banksman-case-link-1"
_COOKIE_SALT = "banksman-case-link-session-1"


class LinkError(Exception):
    """A link does not open anything. `code`: `invalid` or `expired`."""

    def __init__(self, code: str) -> None:
        super().__init__(f"link {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Link:
    """What a link is for. `expires`: Unix seconds."""

    case: str
    person: str
    expires: float


class Links:
    """key: secret of the installation, at least 32 characters. base: address of the pages, without `/` at its end."""

    def __init__(self, key: str, base: str) -> None:
        self._serializer = URLSafeSerializer(key, salt=_SALT)
        self._cookies = URLSafeSerializer(key, salt=_COOKIE_SALT)
        self._base = base.rstrip("/")

    def sign(self, case: str, person: str, now: float) -> str:
        return str(self._serializer.dumps([case, person, int(now + LINK_S)]))

    def url(self, case: str, person: str, now: float) -> str:
        """What a message carries."""
        return f"{self._base}/l/{self.sign(case, person, now)}"

    def cookie(self, link: Link) -> str:
        """Of the session that a link opens: always the same, and nobody but us can make it."""
        return str(self._cookies.dumps([link.case, link.person, link.expires]))

    def read(self, token: str, now: float) -> Link:
        """Raises LinkError."""
        try:
            case, person, expires = self._serializer.loads(token)
        except BadData as error:
            raise LinkError("invalid") from error
        if now >= expires:
            raise LinkError("expired")
        return Link(case, person, expires)
