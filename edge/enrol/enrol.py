"""From a card to a node, in steps of which each may be the last before a power cut, and can be done again.

The key is on disk before anybody is asked, and the answer before anything else is done with it: a box that was cut off
asks again with the same key, or finishes without asking. The card is wiped last.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge.enrol import identity
from edge.enrol.ask import Answer, ask
from edge.enrol.card import CA_FILE, IDENTITY, NODE_FILE, SITE_FILE, Card, NodeFile, node_file
from edge.enrol.error import EnrolError
from edge.enrol.files import put
from edge.enrol.first import Bucket
from edge.enrol.site import SiteFile
from edge.site.disk import replace

log = logging.getLogger(__name__)

SECRET, PUBLIC = 0o600, 0o644


@dataclass(frozen=True, slots=True)
class Done:
    """What `enrol` or `take_site` came to. key: of the catalogue."""

    key: str
    name: str


def enrol(folder: Path, etc: Path) -> Done:
    """folder: `banksman` of the card; etc: where the node's files go. Raises EnrolError, OSError."""
    card = Card(folder)
    data = card.need(NODE_FILE)
    node = node_file(data)
    with _locked(etc):
        site = SiteFile(card, node, etc)
        done = (_from_card if node.identity.mode == "key" else _by_token)(card, node, etc, site)
        put(etc / NODE_FILE, data, 0o640)
    return done


def take_site(folder: Path, etc: Path) -> Done:
    """Of these steps only what needs the card's site file, which may be wiped then. Raises EnrolError, OSError."""
    card = Card(folder)
    node = node_file(card.need(NODE_FILE))
    with _locked(etc):
        if not SiteFile(card, node, etc).exists():
            raise EnrolError("card.missing", file=folder / SITE_FILE)
    return Done("site_taken", node.full_name)


@contextmanager
def _locked(etc: Path) -> Iterator[None]:
    etc.mkdir(mode=0o770, parents=True, exist_ok=True)
    (etc / "enrol").mkdir(mode=0o700, exist_ok=True)
    with (etc / "enrol" / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# -- by a one-time token -----------------------------------------------------------------------------------------------


class _Work:
    """What is kept of an enrolment that is under way, and of the last one: which token it was for, as a hash."""

    def __init__(self, folder: Path) -> None:
        self._key = folder / "node.key"
        self._answer = folder / "answer.json"
        self._done = folder / "done"

    def key(self) -> bytes:
        if not self._key.exists():
            replace(self._key, identity.new_key(), SECRET)
        return self._key.read_bytes()

    def keep(self, token: str, answer: Answer) -> None:
        kept = {"token": _digest(token), "answer": answer.model_dump()}
        replace(self._answer, json.dumps(kept).encode(), SECRET)

    def answer(self, token: str) -> Answer | None:
        """The one for this token; for a card that has been wiped, whichever there is."""
        if not self._answer.exists():
            return None
        kept = json.loads(self._answer.read_bytes())
        return Answer.model_validate(kept["answer"]) if not token or kept["token"] == _digest(token) else None

    def is_done(self, token: str) -> bool:
        return self._done.exists() and self._done.read_text() == _digest(token)

    def end(self) -> None:
        replace(self._done, json.loads(self._answer.read_bytes())["token"].encode(), SECRET)
        self._answer.unlink()
        self.tidy()

    def tidy(self) -> None:
        """The key goes after the answer: where there is one, there is its key."""
        self._key.unlink(missing_ok=True)


def _by_token(card: Card, node: NodeFile, etc: Path, site: SiteFile) -> Done:
    work = _Work(etc / "enrol")
    try:
        token = card.token()
    except EnrolError:
        if work.answer("") is None and not _complete(node, etc):
            raise
        token = ""  # the power failed while it was wiped
    answer = work.answer(token)
    if answer is None and (not token or work.is_done(token)):
        if not _complete(node, etc):
            raise EnrolError("card.no_token")
        work.tidy()
        return Done("already" if _wiped(card.wipe_token) else "not_wiped", node.full_name)
    site.made(None)  # what would not do is refused before anybody is asked
    if answer is None:
        key = work.key()
        csr = identity.request(key, node.full_name)
        answer = ask(node.server.enrol_url, card.need(CA_FILE), token, csr)
        identity.check(key, answer.certificate.encode(), answer.ca.encode(), node.full_name)
        work.keep(token, answer)
    grant = answer.influx
    secret = grant.token.encode() if grant is not None else None
    _install(etc, answer.ca.encode(), work.key(), answer.certificate.encode(), secret)
    site.write(Bucket(grant.url, grant.org, grant.bucket) if grant is not None else None)
    wiped = _wiped(card.wipe_token)
    work.end()
    return Done("done" if wiped else "not_wiped", node.full_name)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


# -- with the key on the card ------------------------------------------------------------------------------------------


def _from_card(card: Card, node: NodeFile, etc: Path, site: SiteFile) -> Done:
    certificate, key, secret = map(card.identity, IDENTITY)
    if certificate is None or key is None:
        if not _complete(node, etc):
            raise EnrolError("card.no_identity")
        return Done("already" if _wiped(card.wipe_identity) else "not_wiped", node.full_name)
    ca = card.need(CA_FILE)
    identity.check(key, certificate, ca, node.full_name)
    site.made(None)
    _install(etc, ca, key, certificate, secret)
    server = node.server
    there = server.influx_url is not None and (etc / IDENTITY[2]).exists()
    site.write(Bucket(server.influx_url or "", server.influx_org, server.influx_bucket) if there else None)
    return Done("done" if _wiped(card.wipe_identity) else "not_wiped", node.full_name)


# -- both --------------------------------------------------------------------------------------------------------------


def _install(etc: Path, ca: bytes, key: bytes, certificate: bytes, influx: bytes | None) -> None:
    put(etc / CA_FILE, ca, PUBLIC)
    if influx is not None:
        put(etc / IDENTITY[2], influx, SECRET)
    put(etc / IDENTITY[1], key, SECRET)
    put(etc / IDENTITY[0], certificate, PUBLIC)


def _complete(node: NodeFile, etc: Path) -> bool:
    try:
        certificate, key, ca = ((etc / name).read_bytes() for name in (*IDENTITY[:2], CA_FILE))
        identity.check(key, certificate, ca, node.full_name)
    except (EnrolError, FileNotFoundError):
        return False
    return (etc / SITE_FILE).exists()


def _wiped(wipe: Callable[[], None]) -> bool:
    """A card that cannot be written keeps no box from work."""
    try:
        wipe()
    except OSError as error:
        log.warning("the card is not wiped: %s", error)
        return False
    return True
