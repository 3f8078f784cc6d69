"""Brings folder, data source, boards, contact points and alert rules into Grafana: by uid, and only what differs.

First everything is read, so that nothing has been changed where something is wrong; then each thing is written, if it
is still as it was read (Grafana says 409 or 412 if not, and it is read again). Whatever breaks off in between, the next
run finishes it.

What was changed by hand is told from what is merely old by a mark: boards carry it as a hidden variable, the data
source among its own settings. Rules and contact points need none: Grafana keeps hands off what came by its interface.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any, Final, Protocol

from dashboards import alerts
from dashboards.alerts import Contact
from dashboards.compare import NOTHING, Change, common, differences, digest, essence, filled, holds
from dashboards.faults import PushError
from dashboards.grafana import UNUSABLE, Grafana, GrafanaError
from dashboards.grafana import Kind as Fault
from dashboards.panels import DATASOURCE, DEFAULT, FOLDER, Setup
from dashboards.render import boards, datasource
from dashboards.text import Language, catalogue

MARK: Final = "banksman_pushed"
"""Name of the hidden variable, and of the data source's setting, that hold the mark."""
_DATASOURCE_KEYS: Final = ("name", "type", "access", "url", "jsonData")
_HIDDEN: Final = "[REDACTED]"
_TRIES: Final = 3
"""How often a thing is read again that somebody else is changing meanwhile."""
_NOT_ACCEPTABLE: Final = 406


class Kind(StrEnum):
    FOLDER = auto()
    SOURCE = auto()
    BOARD = auto()
    CONTACT = auto()
    RULE = auto()


class State(StrEnum):
    """What was found. EDITED: changed by hand; FILE: Grafana takes it from a file; SPARE: of an earlier version."""

    NEW = auto()
    SAME = auto()
    OLD = auto()
    EDITED = auto()
    FILE = auto()
    SPARE = auto()
    REFUSED = auto()


class Result(StrEnum):
    """What became of it. KEPT: changed by hand and left so; SKIPPED: not come to."""

    SAME = auto()
    CREATED = auto()
    UPDATED = auto()
    OVERWRITTEN = auto()
    REMOVED = auto()
    KEPT = auto()
    FILE = auto()
    REFUSED = auto()
    SKIPPED = auto()


_LEFT: Final = frozenset({Result.KEPT, Result.REFUSED, Result.SKIPPED})
_RESULT: Final = {
    State.NEW: Result.CREATED,
    State.OLD: Result.UPDATED,
    State.EDITED: Result.OVERWRITTEN,
    State.SPARE: Result.REMOVED,
}


@dataclass(frozen=True, slots=True)
class Source:
    """InfluxDB as Grafana reaches it. token: may only read; None: what Grafana has is kept. ca: PEM."""

    url: str
    database: str
    token: str | None = None
    ca: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What shall be in Grafana. source None: the data source stays as it is; no contacts: those that are there stay.

    secrets: send tokens and addresses although they cannot be compared, because Grafana does not show them.
    """

    language: Language
    setup: Setup = DEFAULT
    source: Source | None = None
    contacts: Sequence[Contact] = ()
    secrets: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A thing in Grafana against what it should be. write: makes it so. unseen: a secret that cannot be compared."""

    state: State
    changes: tuple[Change, ...] = ()
    write: Callable[[], None] | None = field(default=None, repr=False)
    error: GrafanaError | PushError | None = None
    unseen: bool = False


class Item(Protocol):
    """One thing."""

    @property
    def kind(self) -> Kind: ...
    @property
    def title(self) -> str: ...
    def look(self, grafana: Grafana) -> Found:
        """Read it. Raises GrafanaError."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item."""

    item: Item
    result: Result
    error: GrafanaError | PushError | None = None

    @property
    def done(self) -> bool:
        return self.result not in _LEFT and self.error is None


Plan = Sequence[tuple[Item, Found]]


def plan(grafana: Grafana, wanted: Wanted) -> Plan:
    """Read everything, change nothing. Raises GrafanaError where nothing at all can be asked."""
    return [(item, _looked(item, grafana)) for item in _items(wanted, grafana)]


def push(grafana: Grafana, planned: Plan, overwrite: Callable[[Item, Found], bool]) -> Iterator[Outcome]:
    """Write what differs. overwrite: asked for what was changed by hand, perhaps anew if it changes meanwhile.

    After a failure that will meet all others too (nobody answers) the rest is SKIPPED.
    """
    lost = False
    for item, found in planned:
        if lost:
            done = found.state in (State.SAME, State.FILE)
            yield Outcome(item, Result(found.state) if done else Result.SKIPPED, found.error)
            continue
        try:
            yield _bring(grafana, item, found, overwrite)
        except GrafanaError as error:
            lost = error.kind in UNUSABLE
            yield Outcome(item, Result.SKIPPED if lost else Result.REFUSED, error)
        except PushError as error:
            yield Outcome(item, Result.REFUSED, error)


def pull(grafana: Grafana, uid: str) -> dict[str, Any] | None:
    """A board as it is in Grafana, without its counts and without the mark; None where there is none.

    Raises GrafanaError, and PushError for a board in the new layout, which this interface does not give.
    """
    answer = read_board(grafana, uid)
    if answer is None:
        return None
    return {key: value for key, value in _unmarked(answer["dashboard"]).items() if key not in ("id", "version")}


def edited(answer: Mapping[str, Any]) -> bool:
    """Whether a board that was read has been changed since it was pushed, or never was."""
    mark = _mark(answer["dashboard"])
    return mark is None or not mark.holds(answer) or _folder(answer) != FOLDER


def read_board(grafana: Grafana, uid: str) -> Any:
    """As `Grafana.board`. Raises PushError for a board in the new layout."""
    try:
        return grafana.board(uid)
    except GrafanaError as error:
        if error.status == _NOT_ACCEPTABLE:
            raise PushError("new_layout") from error
        raise


def _bring(grafana: Grafana, item: Item, found: Found, overwrite: Callable[[Item, Found], bool]) -> Outcome:
    for last in (False,) * (_TRIES - 1) + (True,):
        if found.state is State.EDITED and not overwrite(item, found):
            return Outcome(item, Result.KEPT)
        if found.write is None:
            return Outcome(item, Result(found.state), found.error)
        try:
            found.write()
            return Outcome(item, _RESULT[found.state])
        except GrafanaError as error:
            if error.kind is not Fault.CONFLICT or last:
                raise
        found = item.look(grafana)
    raise AssertionError  # the last try returns or raises


def _if_allowed(ask: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Nothing where the token may not ask: each thing says so itself, and boards go without."""
    try:
        return ask()
    except GrafanaError as error:
        if error.kind in UNUSABLE:
            raise
        return []


def _looked(item: Item, grafana: Grafana) -> Found:
    try:
        return item.look(grafana)
    except GrafanaError as error:
        if error.kind in UNUSABLE:
            raise
        return Found(State.REFUSED, error=error)


def _items(wanted: Wanted, grafana: Grafana) -> Iterator[Item]:
    """In an order in which each finds what it needs; spare ones last, when nobody names them any more."""
    contacts = _if_allowed(lambda: grafana.contact_points(alerts.RECEIVER))
    rules = _if_allowed(grafana.rules)
    text = catalogue(wanted.language)
    yield _Folder(text("folder.title"))
    yield _Source(wanted.source, wanted.secrets)
    for uid, board in boards(wanted.language, wanted.setup).items():
        yield _Board(uid, board)
    points = alerts.contact_points(wanted.contacts)
    for point in points:
        yield _Alerting(Kind.CONTACT, point["uid"], f"{point['name']} ({point['type']})", point, wanted.secrets)
    there = {point["uid"] for point in contacts}
    made = alerts.rules(wanted.language, receiver=alerts.RECEIVER if points or there else None)
    for rule in made:
        yield _Alerting(Kind.RULE, rule["uid"], rule["title"], rule)
    ours = {rule["uid"] for rule in made}
    for rule in rules:
        if (rule.get("folderUID"), rule.get("ruleGroup")) == (FOLDER, alerts.GROUP) and rule["uid"] not in ours:
            yield _Spare(Kind.RULE, rule["uid"], rule["title"])
    numbered = re.compile(rf"{re.escape(alerts.RECEIVER)}-\d+")
    for uid in sorted(there - {point["uid"] for point in points}) if points else ():
        if numbered.fullmatch(uid):  # what somebody has added by hand is not ours to remove
            yield _Spare(Kind.CONTACT, uid, uid)


@dataclass(frozen=True, slots=True)
class _Folder:
    """Is there or not; a title that somebody gave it stays."""

    title: str
    kind: Kind = Kind.FOLDER

    def look(self, grafana: Grafana) -> Found:
        def write() -> None:
            grafana.create_folder(FOLDER, self.title)

        return Found(State.NEW, write=write) if grafana.folder(FOLDER) is None else Found(State.SAME)


@dataclass(frozen=True, slots=True)
class _Source:
    source: Source | None
    secrets: bool
    kind: Kind = Kind.SOURCE

    @property
    def title(self) -> str:
        return "Banksman InfluxDB"

    def look(self, grafana: Grafana) -> Found:
        there = grafana.datasource(DATASOURCE)
        if self.source is None:
            return Found(State.REFUSED, error=PushError("no_influx")) if there is None else Found(State.SAME)
        ours = datasource(self.source.url, self.source.database, self.source.token or "", self.source.ca)
        said = _settings(ours)
        made = digest(said)
        body = ours | {"jsonData": ours["jsonData"] | {MARK: made}}
        if self.source.token is None:
            del body["secureJsonData"]["httpHeaderValue1"]
        if there is None:
            if self.source.token is None:
                return Found(State.REFUSED, error=PushError("no_influx_token"))
            return Found(State.NEW, write=lambda: grafana.create_datasource(body))
        had = _settings(there)
        changes = tuple(differences(had, said))
        if there.get("readOnly"):
            return _of_file(changes)
        known = there.get("secureJsonFields") or {}
        lacking = {key for key in body["secureJsonData"] if not known.get(key)}
        mark = (there.get("jsonData") or {}).get(MARK)
        if not changes and mark == made and not lacking and not self.secrets:
            return Found(State.SAME, unseen=bool(body["secureJsonData"]))
        by_hand = bool(changes) and mark != digest(had)
        body["version"] = there.get("version")
        return Found(
            State.EDITED if by_hand else State.OLD,
            changes,
            lambda: grafana.update_datasource(DATASOURCE, body),
        )


@dataclass(frozen=True, slots=True)
class _Board:
    uid: str
    board: dict[str, Any]
    kind: Kind = Kind.BOARD

    @property
    def title(self) -> str:
        return str(self.board["title"])

    def look(self, grafana: Grafana) -> Found:
        try:
            answer = read_board(grafana, self.uid)
        except PushError:
            change = Change(("layout",), "v2", "v1")
            return Found(State.EDITED, (change,), lambda: self._save(grafana, None))
        if answer is None:
            return Found(State.NEW, write=lambda: self._save(grafana, 0))
        there, version = answer["dashboard"], answer["meta"].get("version")
        had, ours = essence(_unmarked(there)), essence(self.board)
        moved = _folder(answer) != FOLDER
        changes = (
            *((Change(("folder",), _folder(answer) or NOTHING, FOLDER),) if moved else ()),
            *differences(had, ours),
        )
        if answer["meta"].get("provisioned"):
            return _of_file(changes)
        mark, made, found = _mark(there), digest(ours), digest(had)
        if mark is not None and (mark.made, mark.stored) == (made, found) and not moved:
            return Found(State.SAME)
        untouched = not moved and (found == made or (mark is not None and mark.holds(answer)))
        return Found(State.OLD if untouched else State.EDITED, changes, lambda: self._save(grafana, version))

    def _save(self, grafana: Grafana, version: int | None) -> None:
        """version: what is to be replaced, 0: nothing is there, None: whatever is there.

        Some versions of Grafana store a board in another form than it was sent. Then the mark must tell how it is
        stored, and is sent after it.
        """
        made = stored = digest(essence(self.board))
        for _ in range(2):
            board = _marked(self.board, _Mark(made, stored, version)) | {"id": None, "version": version or 0}
            reply = grafana.save_board(board, FOLDER, message="banksman", overwrite=version is None)
            expected = reply.get("version") or (None if version is None else version + 1)
            answer = read_board(grafana, self.uid)
            if answer is None:
                raise PushError("lost")
            version = answer["meta"].get("version")
            if expected is not None and version != expected:  # somebody has saved it since
                raise GrafanaError(Fault.CONFLICT, grafana.url)
            stored = _stored(answer)
            mark = _mark(answer["dashboard"])
            if mark is not None and (mark.made, mark.stored) == (made, stored):
                return
        raise PushError("alters")


@dataclass(frozen=True, slots=True)
class _Alerting:
    """A rule or a receiver of a contact point, which Grafana calls provisioned once it has come this way."""

    kind: Kind
    uid: str
    title: str
    ours: dict[str, Any]
    secrets: bool = False

    def look(self, grafana: Grafana) -> Found:
        there = self._read(grafana)
        if there is None:
            return Found(State.NEW, write=lambda: self._create(grafana))
        unseen = {key for key, value in (there.get("settings") or {}).items() if value == _HIDDEN}
        ours, had = _without(self.ours, unseen), _without(there, unseen)
        same = holds(had, ours)
        changes = () if same else tuple(differences(filled(common(had, ours)), filled(ours)))
        if self.kind is Kind.CONTACT:
            changes = tuple(map(_secretly, changes))
        provenance = there.get("provenance")
        if provenance == "file":
            return _of_file(changes)
        if same and not (self.secrets and unseen):
            return Found(State.SAME, unseen=bool(unseen))
        return Found(
            State.OLD if same or provenance == "api" else State.EDITED,
            changes,
            lambda: self._update(grafana),
        )

    def _read(self, grafana: Grafana) -> dict[str, Any] | None:
        if self.kind is Kind.RULE:
            return grafana.rule(self.uid)
        return next((point for point in grafana.contact_points(alerts.RECEIVER) if point["uid"] == self.uid), None)

    def _create(self, grafana: Grafana) -> None:
        if self.kind is Kind.RULE:
            grafana.create_rule(self.ours)
        else:
            grafana.create_contact_point(self.ours)

    def _update(self, grafana: Grafana) -> None:
        if self.kind is Kind.RULE:
            grafana.update_rule(self.uid, self.ours)
        else:
            grafana.update_contact_point(self.uid, self.ours)


@dataclass(frozen=True, slots=True)
class _Spare:
    """Came with an earlier version, or for a contact that is no longer."""

    kind: Kind
    uid: str
    title: str

    def look(self, grafana: Grafana) -> Found:
        delete = grafana.delete_rule if self.kind is Kind.RULE else grafana.delete_contact_point
        return Found(State.SPARE, write=lambda: delete(self.uid))


def _of_file(changes: tuple[Change, ...]) -> Found:
    return Found(State.FILE, changes, error=PushError("file") if changes else None)


def _settings(source: Mapping[str, Any]) -> dict[str, Any]:
    """Of a data source what is not secret, counted or marked."""
    settings = {key: source[key] for key in _DATASOURCE_KEYS if key in source}
    settings["jsonData"] = {key: value for key, value in settings["jsonData"].items() if key != MARK}
    said: dict[str, Any] = filled(settings)
    return said


def _without(thing: dict[str, Any], unseen: set[str]) -> dict[str, Any]:
    settings = {key: value for key, value in (thing.get("settings") or {}).items() if key not in unseen}
    return thing | ({"settings": settings} if "settings" in thing else {})


def _secretly(change: Change) -> Change:
    """Addresses of robots and hooks are as good as passwords."""
    if change.where[-1] != "url":
        return change
    return Change(change.where, *(value if value is NOTHING else "***" for value in (change.there, change.ours)))


def _folder(answer: Mapping[str, Any]) -> str:
    return str(answer["meta"].get("folderUid") or "")


def _variables(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (board.get("templating") or {}).get("list") or []
    return found


@dataclass(frozen=True, slots=True)
class _Mark:
    """Digests of a board as it was made and as it was stored. on: the version that it replaced, if known."""

    made: str
    stored: str
    on: int | None = None

    def holds(self, answer: Mapping[str, Any]) -> bool:
        """Whether nobody has saved the board since.

        When a push ends between its two saves, it is the version that tells.
        """
        follows = self.on is not None and answer["meta"].get("version") == self.on + 1
        return self.stored == _stored(answer) or (self.stored == self.made and follows)


def _stored(answer: Mapping[str, Any]) -> str:
    return digest(essence(_unmarked(answer["dashboard"])))


def _mark(board: Mapping[str, Any]) -> _Mark | None:
    """None where it was not pushed."""
    for variable in _variables(board):
        if variable.get("name") == MARK:
            made, stored, on = (*str(variable.get("query")).split("."), "", "")[:3]
            return _Mark(made, stored, int(on) if on.isdecimal() else None)
    return None


def _marked(board: dict[str, Any], mark: _Mark) -> dict[str, Any]:
    """As a variable: Grafana's editor keeps those, but not keys that it does not know."""
    text = f"{mark.made}.{mark.stored}" + ("" if mark.on is None else f".{mark.on}")
    variable = {"type": "constant", "name": MARK, "hide": 2, "skipUrlSync": True, "query": text}
    return board | {"templating": {"list": [*_variables(board), variable]}}


def _unmarked(board: dict[str, Any]) -> dict[str, Any]:
    if not any(variable.get("name") == MARK for variable in _variables(board)):
        return board
    kept = [variable for variable in _variables(board) if variable.get("name") != MARK]
    return board | {"templating": {**board["templating"], "list": kept}}
