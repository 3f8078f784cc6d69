"""Log-ins: passwords (argon2), rate limits, sessions in the database, so that every worker knows them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import defaultdict
from collections.abc import Mapping

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session as Transaction
from uuid6 import uuid7

from broker.dispatch.database import lock
from broker.dispatch.tables import Attempt, Delivery, Membership, Person, Role, Session
from broker.dispatch.web.guard import network_of
from broker.dispatch.web.links import Link, Opens
from broker.dispatch.web.rights import Visitor

IDLE_S = 12 * 3600.0
ABSOLUTE_S = 7 * 86400.0
LINK_SESSION_S = 24 * 3600.0
"""A session that a link opened lives no longer than this."""
WINDOW_S = 15 * 60.0
PER_NAME, PER_ADDRESS = 8, 40
"""Failed log-ins within `WINDOW_S`: with one name, from one address (behind which a whole site may sit)."""
MOST = {"password": 8, "step": 300, "photo": 60, "export": 20, "link": 30, "links_of_address": 240, "enrol": 120}
"""Of each within `WINDOW_S`: by person; of links by link, and by address (behind which a whole site may sit), by which
enrolments go, too."""
SEEN_EVERY_S = 60.0
LEAST_PASSWORD, LONGEST_PASSWORD = 12, 256
_OF_MESSAGE = "m:"  # no id of a case begins like this
_AT_ONCE = 2  # argon2 takes 64 MiB each


class PasswordError(ValueError):
    """A new password is too short or too long."""


class Passwords:
    """argon2id; unless told otherwise with the library's parameters (RFC 9106, low memory)."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        self._nobody = self.hash(secrets.token_hex(16))

    def hash(self, password: str) -> str:
        """Raises PasswordError."""
        if not LEAST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            what = f"a password has {LEAST_PASSWORD} to {LONGEST_PASSWORD} characters"
            raise PasswordError(f"{what}; this one has {len(password)}")
        with self._room:
            return self._hasher.hash(password)

    def right(self, kept: str | None, password: str) -> bool:
        """Takes as long for somebody unknown, so that the time tells nobody's name."""
        with self._room:
            try:
                matches = self._hasher.verify(kept or self._nobody, password[:LONGEST_PASSWORD])
            except (VerificationError, InvalidHashError):
                return False
        return matches and kept is not None


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _named(name: str) -> str:
    return _digest(f"name {name.casefold()}")


def _from(address: str) -> str:
    return _digest(f"address {network_of(address)}")


class TooManyError(Exception):
    """Somebody does something too often. wait: seconds until it is possible again."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"too many; again in {wait:.0f} s")
        self.wait = wait


def _count(db: Transaction, keys: Mapping[str, int], now: float) -> float:
    """Count one more of each key, if all have room. 0: done; else the seconds until there is, and nothing is counted.

    keys: as counted in `Attempt`, with how many there may be. Looking and counting are one step: of parallel ones each
    sees those before it.
    """
    lock(db, *keys)
    # What somebody else is deleting is not waited for: who holds one key would wait for who holds another.
    old = select(Attempt.id).where(Attempt.at <= now - WINDOW_S).with_for_update(skip_locked=True)
    db.execute(delete(Attempt).where(Attempt.id.in_(old)))
    for who, most in keys.items():
        if wait := _left(db, who, most, now):
            return wait
    db.add_all([Attempt(id=str(uuid7()), who=who, at=now) for who in keys])
    return 0.0


def _left(db: Transaction, who: str, most: int, now: float) -> float:
    """0: there is room for one more; else the seconds until there is. who: as counted in `Attempt`."""
    recent = (Attempt.who == who, Attempt.at > now - WINDOW_S)
    count, oldest = db.execute(select(func.count(), func.min(Attempt.at)).where(*recent)).one()
    return 0.0 if count < most else float(max(1.0, oldest + WINDOW_S - now))


def spend(db: Transaction, what: str, who: str, now: float) -> None:
    """Count one of `MOST`. Raises TooManyError, and counts nothing, where there were too many."""
    wait = _count(db, {_digest(f"{what} {who}"): MOST[what]}, now)
    if wait:
        raise TooManyError(wait)


class Attempts:
    """Slows guessing down, by name and by `network_of` the address. An attempt counts before it is tried: parallel ones
    count all."""

    def begin(self, db: Transaction, name: str, address: str, now: float) -> float:
        """Count an attempt. 0: go ahead; else the seconds to wait, and nothing is counted."""
        return _count(db, {_named(name): PER_NAME, _from(address): PER_ADDRESS}, now)

    def spent(self, db: Transaction, name: str, address: str) -> list[str]:
        """Which of `name` and `address` has no attempt left for now."""
        count = select(func.count()).select_from(Attempt)
        keys = (("name", _named(name), PER_NAME), ("address", _from(address), PER_ADDRESS))
        return [what for what, who, limit in keys if (db.scalar(count.where(Attempt.who == who)) or 0) >= limit]

    def succeeded(self, db: Transaction, name: str, address: str) -> None:
        """The name's failures are forgotten, the address's are not: who knows one password may not guess others."""
        lock(db, _named(name), _from(address))  # else two would take back the same one of the address
        db.execute(delete(Attempt).where(Attempt.who == _named(name)))
        newest = select(Attempt.id).where(Attempt.who == _from(address)).order_by(Attempt.at.desc())
        db.execute(delete(Attempt).where(Attempt.id == newest.limit(1).scalar_subquery()))


def roles_of(db: Transaction, person: str) -> dict[str, frozenset[Role]]:
    """Roles of a person by site or `*`."""
    roles: dict[str, set[Role]] = defaultdict(set)
    for site, role in db.execute(select(Membership.site, Membership.role).where(Membership.person == person)):
        roles[site].add(Role(role))
    return {site: frozenset(of_site) for site, of_site in roles.items()}


def cases_of(db: Transaction, opens: Opens, key: str, person: str) -> frozenset[str]:
    """What a link of a person opens; key: id of the case or message."""
    if opens is Opens.CASE:
        return frozenset((key,))
    named = select(Delivery.case).where(Delivery.person == person, Delivery.message == key, Delivery.case.is_not(None))
    return frozenset(case for case in db.scalars(named) if case is not None)


def _opened(db: Transaction, kept: str, person: str) -> frozenset[str]:
    """kept: `Session.link`."""
    of_message = kept.removeprefix(_OF_MESSAGE)
    opens = Opens.CASE if of_message == kept else Opens.MESSAGE
    return cases_of(db, opens, of_message, person)


class Sessions:
    """Sessions; the cookie's value is kept as a hash only."""

    def open(self, db: Transaction, person: str, now: float) -> str:
        """Gives the cookie's value; always a new one."""
        cookie = secrets.token_urlsafe(32)
        db.execute(delete(Session).where(Session.created_at <= now - ABSOLUTE_S))
        self._add(db, cookie, person, now)
        return cookie

    def open_link(self, db: Transaction, link: Link, cookie: str, now: float) -> None:
        """The session of a signed link. cookie: the same for the same link (`Links.cookie`), so that a link that is
        used again and again has one session, not one a tap, be it twice at the same time."""
        lock(db, _digest(cookie))
        db.execute(delete(Session).where(Session.created_at <= now - ABSOLUTE_S))
        if self.find(db, cookie, now) is None:
            self.close(db, cookie)
            kept = link.id if link.opens is Opens.CASE else f"{_OF_MESSAGE}{link.id}"
            self._add(db, cookie, link.person, now, kept)

    def _add(self, db: Transaction, cookie: str, person: str, now: float, link: str | None = None) -> None:
        csrf = secrets.token_urlsafe(32)
        db.add(Session(id=_digest(cookie), person=person, csrf=csrf, created_at=now, seen_at=now, link=link))
        db.flush()

    def find(self, db: Transaction, cookie: str | None, now: float) -> tuple[Visitor, bool] | None:
        """Who has this cookie, and whether it is time to call `seen`. None: nobody, expired, or no longer active."""
        if not cookie:
            return None
        row = db.get(Session, _digest(cookie))
        if row is None or now >= row.seen_at + IDLE_S:
            return None
        if now >= row.created_at + (ABSOLUTE_S if row.link is None else LINK_SESSION_S):
            return None
        person = db.get(Person, row.person)
        if person is None or not person.active:
            return None
        cases = None if row.link is None else _opened(db, row.link, person.id)
        visitor = Visitor(person.id, person.name, person.language, roles_of(db, person.id), cases, row.csrf, row.id)
        return visitor, now >= row.seen_at + SEEN_EVERY_S

    def seen(self, db: Transaction, key: str, now: float) -> None:
        row = db.get(Session, key)
        if row is not None:
            row.seen_at = now

    def close(self, db: Transaction, cookie: str | None) -> None:
        if cookie:
            db.execute(delete(Session).where(Session.id == _digest(cookie)))

    def close_all(self, db: Transaction, person: str, but: str = "") -> None:
        """Somebody left, or has a new password. but: key of the session that stays."""
        db.execute(delete(Session).where(Session.person == person, Session.id != but))


def same_csrf(visitor: Visitor, given: str | None) -> bool:
    return given is not None and hmac.compare_digest(visitor.csrf.encode(), given.encode())
