"""What dispatch keeps: SQLAlchemy tables for SQLite and PostgreSQL. `migrations/` makes them.

Times are Unix seconds in UTC as dispatch's own clock had them, unless a column says otherwise; local times of day are
minutes after midnight in the site's time zone. Ids made here are UUIDv7. `event`, `ledger` and `ledger_day` only grow:
their rows are never updated. Changes here need a migration; a test holds the two together.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ID = 64
IDENT = 32


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: String(200), dict[str, Any]: JSON, bytes: LargeBinary}  # noqa: RUF012


class CaseState(StrEnum):
    """How far people are with a case."""

    OPEN = "open"
    ASSIGNED = "assigned"
    RESOLVED = "resolved"
    ANSWERED = "answered"
    CLOSED = "closed"
    REOPENED = "reopened"
    FALSE_ALARM = "false_alarm"

    @property
    def over(self) -> bool:
        return self in {CaseState.CLOSED, CaseState.FALSE_ALARM}


class AlarmState(StrEnum):
    """How the alarm behind a case stands by itself, whatever people did.

    Both together give the four states of an alarm: active or cleared, reviewed or not.
    """

    ACTIVE = "active"
    UNKNOWN = "unknown"
    CLEARED = "cleared"


class Role(StrEnum):
    FOREMAN = "foreman"
    OFFICER = "officer"
    INSTALLER = "installer"
    ADMIN = "admin"

    @property
    def acts(self) -> bool:
        """Whether it may take a case: only then somebody can be on duty, in a chain, or own one."""
        return self in {Role.FOREMAN, Role.OFFICER}


# -- sites, people, shifts ---------------------------------------------------------------------------------------------


class Site(Base):
    """A building site. `hold`: nothing of it is deleted."""

    __tablename__ = "site"
    id: Mapped[str] = mapped_column(String(IDENT), primary_key=True)
    name: Mapped[str]
    time_zone: Mapped[str] = mapped_column(default="Asia/Shanghai")
    language: Mapped[str] = mapped_column(default="zh-CN")
    retention_days: Mapped[int] = mapped_column(default=30)
    hold: Mapped[bool] = mapped_column(default=False)
    repeat_min: Mapped[list[int]] = mapped_column(JSON, default=lambda: [5, 15, 30, 60])
    """Minutes after the first message at which an unanswered case is told again."""
    quiet_start: Mapped[int | None]
    quiet_end: Mapped[int | None]
    storm_per_10min: Mapped[int] = mapped_column(default=20)
    """Above so many messages to one person in ten minutes they come as a digest."""


class Person(Base):
    """Somebody who gets messages or may log in. `password`: argon2 hash; None: no log-in."""

    __tablename__ = "person"
    id: Mapped[str] = mapped_column(String(ID), primary_key=True)
    login: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str]
    language: Mapped[str] = mapped_column(default="zh-CN")
    password: Mapped[str | None] = mapped_column(String(200))
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[float]


class Membership(Base):
    """What somebody is on a site; `site` `*`: on all of them."""

    __tablename__ = "membership"
    person: Mapped[str] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), primary_key=True)
    site: Mapped[str] = mapped_column(String(IDENT), primary_key=True)
    role: Mapped[str] = mapped_column(String(16), primary_key=True)


class Contact(Base):
    """A way to somebody.

    address: what the channel needs (an apprise URL, a robot's token): a secret, never shown whole.
    """

    __tablename__ = "contact"
    id: Mapped[str] = mapped_column(String(ID), primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)
    channel: Mapped[str] = mapped_column(String(32))
    address: Mapped[str] = mapped_column(Text)
    position: Mapped[int] = mapped_column(default=0)
    """Tried in this order; all of the lowest position at once, the next when those fail."""
    enabled: Mapped[bool] = mapped_column(default=True)


class Shift(Base):
    """A stretch of the day, on some weekdays. `end` at or before `start`: it ends the next day."""

    __tablename__ = "shift"
    id: Mapped[str] = mapped_column(String(ID), primary_key=True)
    site: Mapped[str] = mapped_column(ForeignKey("site.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    start: Mapped[int]
    end: Mapped[int]
    weekdays: Mapped[int] = mapped_column(default=0b1111111)
    """Bit 0 is Monday; the day on which the shift starts."""
    on_holidays: Mapped[bool] = mapped_column(default=True)


class Duty(Base):
    """Who is on a shift, first to last in the order of `position`.

    rule: None for all rules. from_day, to_day: ISO dates, inclusive; None: without end.
    """

    __tablename__ = "duty"
    id: Mapped[str] = mapped_column(String(ID), primary_key=True)
    shift: Mapped[str] = mapped_column(ForeignKey("shift.id", ondelete="CASCADE"), index=True)
    person: Mapped[str] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"))
    rule: Mapped[str | None] = mapped_column(String(64))
    position: Mapped[int] = mapped_column(default=0)
    from_day: Mapped[str | None] = mapped_column(String(10))
    to_day: Mapped[str | None] = mapped_column(String(10))


class Holiday(Base):
    """A day that differs from its weekday. `working`: a Saturday or Sunday that is worked in exchange."""

    __tablename__ = "holiday"
    site: Mapped[str] = mapped_column(ForeignKey("site.id", ondelete="CASCADE"), primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    name: Mapped[str] = mapped_column(default="")
    working: Mapped[bool] = mapped_column(default=False)


class ChainStep(Base):
    """To whom a case goes that nobody has taken: a person, or everybody of a role on the site.

    after_s: seconds after `Case.review_from`. The norm's five minutes come first: less counts as 300.
    """

    __tablename__ = "chain_step"
    __table_args__ = (CheckConstraint("(person IS NULL) <> (role IS NULL)", name="person_or_role"),)
    id: Mapped[str] = mapped_column(String(ID), primary_key=True)
    site: Mapped[str] = mapped_column(ForeignKey("site.id", ondelete="CASCADE"), index=True)
    after_s: Mapped[int]
    person: Mapped[str | None] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"))
    role: Mapped[str | None] = mapped_column(String(16))


# -- nodes, events, cases ----------------------------------------------------------------------------------------------


class Node(Base):
    """A node as dispatch last heard of it. `silent`: last will, or three periods without a word."""

    __tablename__ = "node"
    site: Mapped[str] = mapped_column(String(IDENT), primary_key=True)
    id: Mapped[str] = mapped_column(String(IDENT), primary_key=True)
    online: Mapped[bool] = mapped_column(default=False)
    silent: Mapped[bool] = mapped_column(default=False)
    heard_at: Mapped[float]
    period_s: Mapped[float] = mapped_column(default=60.0)
    version: Mapped[str] = mapped_column(default="")
    health: Mapped[dict[str, Any] | None]
    certificate_expires: Mapped[float | None]


class Event(Base):
    """An alarm event as it came, once per node and id: its row is what the node's ack stands for."""

    __tablename__ = "event"
    id: Mapped[str] = mapped_column(String(ID), primary_key=True)
    site: Mapped[str] = mapped_column(String(IDENT), primary_key=True)
    node: Mapped[str] = mapped_column(String(IDENT), primary_key=True)
    alarm: Mapped[str] = mapped_column(String(ID), index=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    case: Mapped[str] = mapped_column(ForeignKey("case.id"), index=True)
    stale: Mapped[bool]
    """It came after a newer one of its case, and changed nothing."""
    at: Mapped[float]
    """Received less age: when it happened, by dispatch's clock."""
    received_at: Mapped[float]
    late: Mapped[bool]
    body: Mapped[dict[str, Any]]


class Case(Base):
    """One alarm identity (site, node, source, place, rule) from its first alarm until it is closed."""

    __tablename__ = "case"
    __table_args__ = (
        Index(
            "uq_case_open_identity",
            "identity",
            unique=True,
            sqlite_where=text("state NOT IN ('closed', 'false_alarm')"),
            postgresql_where=text("state NOT IN ('closed', 'false_alarm')"),
        ),
        Index("ix_case_site_state", "site", "state"),
        Index("ix_case_node", "site", "node"),
        Index("ix_case_opened_at", "opened_at"),
        Index("ix_case_alarm", "alarm"),
        Index(
            "ix_case_unpublished",
            "id",
            sqlite_where=text("published <> version"),
            postgresql_where=text("published <> version"),
        ),
    )
    id: Mapped[str] = mapped_column(String(ID), primary_key=True)
    site: Mapped[str] = mapped_column(String(IDENT))
    node: Mapped[str] = mapped_column(String(IDENT))
    source: Mapped[str] = mapped_column(String(IDENT))
    place: Mapped[str] = mapped_column(String(IDENT))
    rule: Mapped[str] = mapped_column(String(64))
    identity: Mapped[str]
    """The five above with slashes between: at most one case that is not over has it."""
    clause: Mapped[list[str]] = mapped_column(JSON, default=list)
    state: Mapped[str] = mapped_column(String(16))
    severity: Mapped[str] = mapped_column(String(16))
    alarm: Mapped[str] = mapped_column(String(ID))
    """The newest raise-to-clear."""
    alarm_state: Mapped[str] = mapped_column(String(16))
    alarm_seq: Mapped[int] = mapped_column(BigInteger)
    alarm_at: Mapped[float]
    """`Event.at` of the newest event that counted."""
    alarms: Mapped[int] = mapped_column(default=1)
    """How many raise-to-clears the case has had."""
    verdict: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(String(64))
    subjects: Mapped[int] = mapped_column(BigInteger)
    subjects_peak: Mapped[int] = mapped_column(BigInteger)
    """The most of the newest raise-to-clear."""
    first_seen: Mapped[float]
    last_seen: Mapped[float]
    """Both by dispatch's clock: received less age."""
    opened_at: Mapped[float]
    """Receipt of the first event."""
    review_from: Mapped[float]
    """Where the norm's five minutes count from: `opened_at`, or the moment when the case was opened again."""
    cleared_at: Mapped[float | None]
    owner: Mapped[str | None] = mapped_column(ForeignKey("person.id"))
    """Stays when the case is opened again."""
    assigned_at: Mapped[float | None]
    """None: nobody has reviewed it since `review_from`."""
    resolved_at: Mapped[float | None]
    result: Mapped[str | None] = mapped_column(Text)
    answered_at: Mapped[float | None]
    answer: Mapped[str | None] = mapped_column(Text)
    closed_at: Mapped[float | None]
    """When it was over, be it closed or a false alarm."""
    false_alarm_reason: Mapped[str | None] = mapped_column(Text)
    reopened: Mapped[int] = mapped_column(default=0)
    late: Mapped[bool] = mapped_column(default=False)
    """All its raise-to-clears came late so far."""
    unverified: Mapped[bool] = mapped_column(default=False)
    hold: Mapped[bool] = mapped_column(default=False)
    important: Mapped[bool] = mapped_column(default=False)
    """Named by itself at the shift hand-over."""
    ledger_n: Mapped[int] = mapped_column(default=0)
    """Number and hash of its last ledger line: a ledger whose end was cut off does not fit."""
    ledger_head: Mapped[str] = mapped_column(String(64), default="")
    published: Mapped[int] = mapped_column(default=0)
    """Version that the retained topic holds."""
    version: Mapped[int] = mapped_column(default=1)
    """Counts the changes, whoever makes them."""


class Ledger(Base):
    """Every step of every case, chained by hashes; rows are only ever added.

    hash: SHA-256 over `previous` and the row as canonical JSON (`ledger.py`).
    """

    __tablename__ = "ledger"
    case: Mapped[str] = mapped_column(ForeignKey("case.id"), primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[float] = mapped_column(index=True)
    actor: Mapped[str] = mapped_column(String(ID))
    """Person id, `node:<node>`, or `dispatch`."""
    action: Mapped[str] = mapped_column(String(32))
    detail: Mapped[dict[str, Any]]
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class LedgerDay(Base):
    """Hash over the heads of all chains that grew on a day (UTC), chained to the day before."""

    __tablename__ = "ledger_day"
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    cases: Mapped[int]
    heads: Mapped[str] = mapped_column(String(64))
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class Audit(Base):
    """What people changed of sites, people, shifts and the like, and log-ins; no secrets. Rows are only ever added."""

    __tablename__ = "audit"
    id: Mapped[str] = mapped_column(String(ID), primary_key=True)
    at: Mapped[float] = mapped_column(index=True)
    actor: Mapped[str] = mapped_column(String(ID))
    """Person id, `dispatch` for itself and what is done on the command line, empty for who failed to log in."""
    action: Mapped[str] = mapped_column(String(32))
    site: Mapped[str] = mapped_column(String(IDENT), index=True)
    """`*`: of no site in particular."""
    subject: Mapped[str]
    detail: Mapped[dict[str, Any]]


class Evidence(Base):
    """A file of an alarm or of a person's answer; the bytes lie in the evidence folder under the hash."""

    __tablename__ = "evidence"
    alarm: Mapped[str] = mapped_column(String(ID), primary_key=True)
    """Of the node; for what a person added, the case's id."""
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    site: Mapped[str] = mapped_column(String(IDENT), index=True)
    node: Mapped[str | None] = mapped_column(String(IDENT))
    kind: Mapped[str] = mapped_column(String(16))
    bytes: Mapped[int]
    received_at: Mapped[float] = mapped_column(index=True)
    by: Mapped[str | None] = mapped_column(ForeignKey("person.id"))
    deleted_at: Mapped[float | None]


# -- work that waits, messages -----------------------------------------------------------------------------------------


class Job(Base):
    """Something to be done at a time, by whichever worker comes first. Done: the row is gone.

    key: at most one waiting job of a kind has it. Asked for again while it waits, it is due at the earlier time, with
    the later body; asked for again while it runs, it runs once more.
    """

    __tablename__ = "job"
    __table_args__ = (
        Index(
            "ix_job_due",
            "kind",
            "due",
            sqlite_where=text("given_up_at IS NULL"),
            postgresql_where=text("given_up_at IS NULL"),
        ),
        Index(
            "uq_job_waiting",
            "kind",
            "key",
            unique=True,
            sqlite_where=text("given_up_at IS NULL"),
            postgresql_where=text("given_up_at IS NULL"),
        ),
    )
    id: Mapped[str] = mapped_column(String(ID), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    key: Mapped[str] = mapped_column(String(200))
    case: Mapped[str | None] = mapped_column(String(ID), index=True)
    due: Mapped[float]
    body: Mapped[dict[str, Any]]
    asked: Mapped[int] = mapped_column(default=1)
    leased_until: Mapped[float | None]
    """A worker is at it; after this another may take it over."""
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(Text)
    given_up_at: Mapped[float | None]


class Point(Base):
    """A line for InfluxDB that waits until it has been stored there."""

    __tablename__ = "influx_point"  # `point` is a type of PostgreSQL's
    id: Mapped[str] = mapped_column(String(ID), primary_key=True)
    site: Mapped[str] = mapped_column(String(IDENT))
    line: Mapped[str] = mapped_column(Text)


class Refused(Base):
    """A message that could not be read or stored, kept for a person. `id`: SHA-256 over topic and payload."""

    __tablename__ = "refused"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    topic: Mapped[str] = mapped_column(Text)
    payload: Mapped[bytes]
    code: Mapped[str] = mapped_column(String(32))
    detail: Mapped[str] = mapped_column(Text)
    times: Mapped[int] = mapped_column(default=1)
    at: Mapped[float] = mapped_column(index=True)
    """The last time."""


class Delivery(Base):
    """One message to one person by one channel, and what came of it; one row for each case that the message names.

    A row waits (`waiting`, no channel yet) until the message goes: what waits for one person goes together. Then it is
    `sent`, `failed` (the next contact is tried), `given_up`, or `dropped` (there was nothing left to tell).
    """

    __tablename__ = "delivery"
    __table_args__ = (
        Index("ix_delivery_person_state", "person", "state"),
        Index(
            "ix_delivery_message",
            "message",
            sqlite_where=text("message IS NOT NULL"),
            postgresql_where=text("message IS NOT NULL"),
        ),
    )
    id: Mapped[str] = mapped_column(String(ID), primary_key=True)
    case: Mapped[str | None] = mapped_column(ForeignKey("case.id"), index=True)
    """None: of no case, as a hand-over report."""
    person: Mapped[str] = mapped_column(ForeignKey("person.id"))
    site: Mapped[str] = mapped_column(String(IDENT))
    message: Mapped[str | None] = mapped_column(String(ID))
    """Rows with the same one went as one message: its link opens their cases."""
    channel: Mapped[str] = mapped_column(String(32), default="")
    about: Mapped[str] = mapped_column(String(32))
    """raised, updated, cleared, repeat, escalation, late, reopened, …"""
    at: Mapped[float]
    """Since when it waits; then when the last try was."""
    state: Mapped[str] = mapped_column(String(16))
    code: Mapped[str] = mapped_column(String(64), default="")
    """What the far end said, without secrets."""


class Session(Base):
    """A log-in. `id`: SHA-256 of the cookie."""

    __tablename__ = "session"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)
    csrf: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float]
    seen_at: Mapped[float]
    link: Mapped[str | None] = mapped_column("case", String(ID))
    """Opened by a signed link: it may see and answer this case only; `m:` and a message's id: the cases that this one
    names."""


class Attempt(Base):
    """Something that may be done so often only, a failed log-in above all; old ones are deleted."""

    __tablename__ = "attempt"
    id: Mapped[str] = mapped_column(String(ID), primary_key=True)
    who: Mapped[str] = mapped_column(String(200), index=True)
    """What, and of whom (a name, a person, an address, a link), hashed."""
    at: Mapped[float]


class Enrolment(Base):
    """A one-time token for the box of a node, and what it got for it."""

    __tablename__ = "enrolment"
    __table_args__ = (Index("ix_enrolment_site_node", "site", "node"),)
    id: Mapped[str] = mapped_column(String(ID), primary_key=True)
    token: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of it; the token itself is nowhere."""
    site: Mapped[str] = mapped_column(String(IDENT))
    node: Mapped[str] = mapped_column(String(IDENT))
    by: Mapped[str] = mapped_column(String(ID))
    """Person id, or `dispatch` for the command line."""
    made_at: Mapped[float]
    expires_at: Mapped[float]
    public_key: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 of the key of the box that used it; only that one may ask again."""
    used_at: Mapped[float | None]
    serial: Mapped[str | None] = mapped_column(String(40))
    """Of the certificate, in hexadecimal."""
    influx_id: Mapped[str | None] = mapped_column(String(64))
    """Of the authorization in InfluxDB, until that is deleted."""
    influx_token: Mapped[bytes | None]
    """Sealed with the installation's secret, for a box whose answer was lost; gone when the token expires."""
    settled_at: Mapped[float | None]
    """Since when nothing of the node's earlier boxes is valid."""
    ended_at: Mapped[float | None]
    """Revoked, superseded by another box, or withdrawn before it was used."""
    reason: Mapped[str | None] = mapped_column(String(32))
