"""Who gets a certificate and a token for InfluxDB, and who loses both.

One at a time (a lock in the authority's folder), in an order in which whatever is cut short is found when it is asked
for again: the token is bound to the box's key, the certificate is issued, InfluxDB's token is made, both are written
down. Only a box that asks with the same key gets them again, and only until its token expires.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import ColumnElement, Engine, select
from sqlalchemy.orm import Session

from broker import files
from broker.dispatch.database import reading, transaction
from broker.dispatch.enrol.authorizations import Authorizations, InfluxError
from broker.dispatch.enrol.tokens import CONSOLE, find, note
from broker.dispatch.settings import Enrol, Settings, SettingsError
from broker.dispatch.tables import Enrolment
from broker.mosquitto import config
from broker.mosquitto.settings import BrokerError
from broker.pki import certificates, names
from broker.pki.authority import Entry, Pki, Reason
from broker.pki.names import PkiError

log = logging.getLogger(__name__)

_SEAL = b"banksman enrolment: token of influxdb, 1"


class Refusal(StrEnum):
    """Why there is nothing to be had for a token."""

    UNKNOWN = "unknown_token"
    EXPIRED = "expired"
    USED = "used"
    CSR = "bad_csr"


class EnrolError(Exception):
    """Nothing is handed out. code: why; None: because something here does not work, so that it may work later."""

    def __init__(self, code: Refusal | None, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Grant:
    """Where a node writes its figures. token: secret."""

    url: str
    org: str
    bucket: str
    token: str


@dataclass(frozen=True, slots=True)
class Handed:
    """What a box gets. PEM."""

    site: str
    node: str
    certificate: str
    ca: str
    influx: Grant | None


@dataclass(frozen=True, slots=True)
class Revoked:
    """What `revoke` did. tokens: not used yet, and now worthless. effect: what the broker needs; None: it was not told.
    problems: what is left, in words."""

    certificates: tuple[Entry, ...]
    tokens: int
    authorizations: int
    effect: config.Effect | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Influx:
    """InfluxDB, and where and as what nodes reach it."""

    api: Authorizations
    url: str
    org: str


class Office:
    """secret: of the installation; seals what may have to be handed out again. broker: its folder, if it lies here."""

    def __init__(
        self, engine: Engine, pki: Pki, secret: str, *, influx: Influx | None = None, broker: Path | None = None
    ) -> None:
        self._engine = engine
        self._pki = pki
        self._influx = influx
        self._broker = broker
        key = HKDF(hashes.SHA256(), 32, salt=None, info=_SEAL).derive(secret.encode())
        self._seal = Fernet(base64.urlsafe_b64encode(key))

    @classmethod
    def of(cls, settings: Settings, enrol: Enrol, engine: Engine) -> Self:
        """As the settings say. Raises SettingsError."""
        try:
            pki = Pki(enrol.pki)
        except PkiError as error:
            raise SettingsError([f"enrol.pki: {error}"]) from error
        influx = None
        if settings.influx is not None and enrol.influx_admin_token_file is not None:
            api = Authorizations(settings.influx, _read_token(enrol.influx_admin_token_file))
            influx = Influx(api, enrol.influx_url or settings.influx.url, settings.influx.org)
        return cls(engine, pki, settings.web.secret.get_secret_value(), influx=influx, broker=enrol.broker)

    # -- handing out -------------------------------------------------------------------------------------------------

    def enrol(self, token: str, csr: bytes, now: float) -> Handed:
        """The same for the same token and key, until the token expires. Raises EnrolError."""
        row = self._bind(token, csr, now)
        try:
            with self._one_at_a_time():
                return self._hand_out(row.id, csr, now)
        except (PkiError, OSError) as error:
            log.error("%s/%s gets no certificate: %s", row.site, row.node, error)  # noqa: TRY400 it says all
            raise EnrolError(None, "the certificate authority does not work; see the server's log") from error
        except InfluxError as error:
            log.error("%s/%s is not enrolled yet: %s", row.site, row.node, error)  # noqa: TRY400
            raise EnrolError(None, "InfluxDB gives no token; see the server's log") from error

    def _bind(self, token: str, csr: bytes, now: float) -> Enrolment:
        """To the key of the first who asks: of two at once the database lets one win."""
        with transaction(self._engine) as session:
            row = find(session, token, lock=True)
            _check(row, now)
            assert row is not None  # noqa: S101 for the type checker
            key = _fingerprint(csr, f"{row.site}/{row.node}")
            if row.public_key is None:
                row.public_key, row.used_at = key, now
                note(session, row, "enrol_use", CONSOLE, now, token=row.id)
            elif row.public_key != key:
                raise EnrolError(Refusal.USED, "another box has used this token; make a new card")
        return row

    def _hand_out(self, which: str, csr: bytes, now: float) -> Handed:
        with reading(self._engine) as session:
            row = session.get_one(Enrolment, which)
            _check(row, now)  # somebody may have revoked it meanwhile
        name = f"{row.site}/{row.node}"
        cert = self._pki.enrol(names.node(name), csr, now)
        grant = self._granted(row)
        with transaction(self._engine) as session:
            for old in _rows(session, row.site, row.node, Enrolment.serial.is_not(None), Enrolment.id != row.id):
                if int(old.serial or "0", 16) <= cert.serial_number:
                    _end(old, Reason.SUPERSEDED, now)
            kept = session.get_one(Enrolment, which)
            if kept.serial is None:
                note(session, kept, "enrol_done", CONSOLE, now, token=which, serial=f"{cert.serial_number:x}")
            kept.serial = f"{cert.serial_number:x}"
            kept.influx_id, kept.influx_token = row.influx_id, row.influx_token
        ca = self._pki.ca_file.read_text(encoding="ascii")
        return Handed(row.site, row.node, certificates.pem(cert).decode(), ca, grant)

    def _granted(self, row: Enrolment) -> Grant | None:
        """row: gets the new token's id, and the token sealed. Raises InfluxError."""
        if self._influx is None:
            return None
        api = self._influx.api
        try:
            token = self._seal.decrypt(row.influx_token or b"").decode()
        except InvalidToken:  # none yet, or sealed with another secret
            made = api.make(row.site, row.node, row.id)
            token = made.token
            row.influx_id, row.influx_token = made.id, self._seal.encrypt(token.encode())
        return Grant(self._influx.url, self._influx.org, api.bucket(row.site), token)

    # -- taking back -------------------------------------------------------------------------------------------------

    def settle(self, now: float) -> tuple[str, ...]:
        """Take back what boxes have that were replaced, and forget what nobody may ask for again. Done after each
        enrolment, and again and again. Gives what does not work yet, in words."""
        with self._one_at_a_time():
            problems = self._supersede(now)
            problems += self._forget(Enrolment.ended_at.is_not(None))[1]
            with transaction(self._engine) as session:
                over = Enrolment.influx_token.is_not(None) & (Enrolment.expires_at <= now)
                for row in session.scalars(select(Enrolment).where(over)):
                    row.influx_token = None
        return tuple(problems)

    def _supersede(self, now: float) -> list[str]:
        unsettled = Enrolment.serial.is_not(None), Enrolment.settled_at.is_(None), Enrolment.ended_at.is_(None)
        with reading(self._engine) as session:
            rows = session.scalars(select(Enrolment).where(*unsettled).order_by(Enrolment.id)).all()
        problems = []
        for row in rows:
            try:
                subject = names.node(f"{row.site}/{row.node}")
                gone = self._pki.clear(subject, Reason.SUPERSEDED, now, before=int(row.serial or "0", 16))
                effect = self._tell_broker(now)
            except (PkiError, BrokerError, OSError) as error:
                problems.append(f"{row.site}/{row.node}: the certificate of its former box is not revoked: {error}")
                continue
            if gone:
                log.warning(
                    "%s/%s has a new box; the certificate of the old one is revoked. Broker: %s",
                    row.site, row.node, "run `banksman broker update` and reload it" if effect is None else effect,
                )  # fmt: skip
            with transaction(self._engine) as session:
                session.get_one(Enrolment, row.id).settled_at = now
        return problems

    def _forget(self, *which: ColumnElement[bool]) -> tuple[int, list[str]]:
        """Delete authorizations: how many went, and what does not work."""
        with reading(self._engine) as session:
            rows = session.scalars(select(Enrolment).where(Enrolment.influx_id.is_not(None), *which)).all()
        gone, problems = 0, []
        for row in rows:
            where = f"{row.site}/{row.node}: its token for InfluxDB still works"
            if self._influx is None:
                problems.append(f"{where}: delete authorization {row.influx_id}; the settings name no InfluxDB")
                continue
            try:
                self._influx.api.forget(row.influx_id or "")
            except InfluxError as error:
                problems.append(f"{where}: {error}")
                break  # the others would wait for it as long, and so would whoever wants to enrol
            with transaction(self._engine) as session:
                kept = session.get_one(Enrolment, row.id)
                kept.influx_id = kept.influx_token = None
            gone += 1
        return gone, problems

    def revoke(self, site: str, node: str, reason: Reason, now: float) -> Revoked:
        """Take everything from a node: tokens, certificates, InfluxDB's token. Either half is done though the other
        fails; it may be asked for again. Raises PkiError for a name that can be no node's."""
        subject = names.node(f"{site}/{node}")
        problems: list[str] = []
        certificates_gone: tuple[Entry, ...] = ()
        effect = None
        with self._one_at_a_time():
            with transaction(self._engine) as session:
                rows = _rows(session, site, node)
                for row in rows:
                    _end(row, reason, now)
                    note(session, row, "enrol_revoke", CONSOLE, now, token=row.id, reason=reason.value)
            try:
                certificates_gone = self._pki.clear(subject, reason, now)
                effect = self._tell_broker(now)
            except (PkiError, BrokerError, OSError) as error:
                problems.append(f"{subject.name}: its certificate: {error}")
            mine = Enrolment.site == site, Enrolment.node == node, Enrolment.ended_at.is_not(None)
            gone, more = self._forget(*mine)
        unused = sum(row.used_at is None for row in rows)
        return Revoked(certificates_gone, unused, gone, effect, (*problems, *more))

    def _tell_broker(self, now: float) -> config.Effect | None:
        """Its list of what is revoked. None: it lies elsewhere."""
        return config.update(self._broker, self._pki, now).effect if self._broker is not None else None

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        with files.locked(self._pki.folder / ".enrol"):
            yield


def _read_token(file: Path) -> str:
    try:
        words = file.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no text file with a token"
        raise SettingsError([f"enrol.influx_admin_token_file: {file}: {why}"]) from error
    if len(words) != 1:
        raise SettingsError([f"enrol.influx_admin_token_file: {file}: must hold the token alone, on one line"])
    return words[0]


def _check(row: Enrolment | None, now: float) -> None:
    """Raises EnrolError where this token opens nothing, whoever has it."""
    if row is None:
        raise EnrolError(Refusal.UNKNOWN, "nobody here has made this token; make a new card")
    if row.ended_at is not None:
        raise EnrolError(Refusal.USED, "this token is no longer good: its node was revoked or has a newer box")
    if now >= row.expires_at:
        raise EnrolError(Refusal.EXPIRED, "this token has expired; make a new card")


def _fingerprint(csr: bytes, name: str) -> str:
    """SHA-256 of the key of a request for this node."""
    try:
        public = certificates.read_csr(csr, names.node(name))
    except PkiError as error:
        raise EnrolError(Refusal.CSR, str(error)) from error
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def _rows(session: Session, site: str, node: str, *which: ColumnElement[bool]) -> list[Enrolment]:
    """Those of a node that are not ended, for changing."""
    mine = (Enrolment.site == site, Enrolment.node == node, Enrolment.ended_at.is_(None))
    return list(session.scalars(select(Enrolment).where(*mine, *which).order_by(Enrolment.id).with_for_update()))


def _end(row: Enrolment, reason: Reason, now: float) -> None:
    row.ended_at, row.reason, row.influx_token = now, reason.value, None
