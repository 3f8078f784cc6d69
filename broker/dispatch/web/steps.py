"""Steps that people take on a case: who may, sent twice counts once. What the state allows is asked of `cases.act`."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastapi import HTTPException
from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session as Transaction

from broker.dispatch import cases, desk, ledger
from broker.dispatch.cases import Action, CaseValues, NotAllowed
from broker.dispatch.database import reading, transaction
from broker.dispatch.evidence import EvidenceError
from broker.dispatch.tables import Case, Ledger, Membership, Person
from broker.dispatch.web.pages import FormError, Web, cleaned
from broker.dispatch.web.photo import FacesError, PhotoError, anonymous
from broker.dispatch.web.rights import EVERYWHERE, ROLES, Right, Visitor

Fields = Mapping[str, str]
log = logging.getLogger(__name__)


class StepRefusedError(Exception):
    """The case does not allow the step now. `code`: of `cases.NotAllowed`, or `owner`: it is somebody else's."""

    def __init__(self, case: str, code: str, text: str) -> None:
        super().__init__(text)
        self.case = case
        self.code = code


@dataclass(frozen=True, slots=True)
class Step:
    """A step. line: its action in the ledger. right: needed on the site. owner: the owner takes it, or who leads."""

    line: str
    make: Callable[[Fields], Action]
    right: Right = Right.ACT
    owner: bool = False


def _text(fields: Fields) -> str:
    return cleaned(fields.get("text", ""))


def _on(fields: Fields) -> bool:
    return fields.get("on", "") in ("1", "true", "on")


def _close(fields: Fields) -> Action:
    reason = fields.get("text", "").strip()
    return cases.Close(cleaned(reason) if reason else None)


STEPS: Mapping[str, Step] = {
    "take": Step("taken", lambda _: cases.Take()),
    "give": Step("given", lambda f: cases.Give(f.get("person", "")), owner=True),
    "done": Step("done", lambda f: cases.Done(_text(f)), owner=True),
    "answer": Step("answered", lambda f: cases.Answer(_text(f)), owner=True),
    "close": Step("closed", _close, owner=True),
    "false_alarm": Step("false_alarm", lambda f: cases.FalseAlarm(_text(f)), owner=True),
    "dissatisfied": Step("dissatisfied", lambda f: cases.Dissatisfied(_text(f))),
    "hold": Step("hold", lambda f: cases.Hold(_on(f)), Right.LEAD),
    "important": Step("important", lambda f: cases.Important(_on(f))),
    "note": Step("note", lambda f: cases.Note(_text(f)), Right.SEE),
}
_TRY: Fields = {"text": "-", "person": "-", "on": "1"}


def _may(step: Step, visitor: Visitor, case: Case) -> bool:
    """Whether role and ownership allow it. What nobody has taken, or nobody has any more, is anybody's who may act."""
    theirs = not step.owner or case.assigned_at is None or case.owner in {None, visitor.id}
    return visitor.may(step.right, case.site) and (theirs or visitor.may(Right.LEAD, case.site))


def offered(visitor: Visitor, case: Case, now: float) -> frozenset[str]:
    """The steps that somebody could take now."""
    values = CaseValues.of(case)
    found = set()
    for name, step in STEPS.items():
        try:
            if _may(step, visitor, case) and cases.act(values, step.make(_TRY), visitor.id, now):
                found.add(name)
        except NotAllowed:
            continue
    # Switches are offered both ways.
    return frozenset(found | {n for n in ("hold", "important") if _may(STEPS[n], visitor, case)})


def receivers(db: Transaction, site: str) -> list[tuple[str, str]]:
    """Ids and names of those to whom a case of a site can be given."""
    acting = [role.value for role in ROLES[Right.ACT]]
    of_site = Membership.site.in_([site, EVERYWHERE]) & Membership.role.in_(acting)
    rows = db.execute(
        select(Person.id, Person.name)
        .where(Person.active, Person.id.in_(select(Membership.person).where(of_site)))
        .order_by(Person.name, Person.id)
    )
    return [(i, name) for i, name in rows]


def take_step(
    web: Web,
    visitor: Visitor,
    case_id: str,
    name: str,
    fields: Fields,
    *,
    after: int | None,
    photo: bytes | None = None,
) -> None:
    """Take a step. after: number of the last ledger line that the reader had seen; the same step of the same person
    after it means that this is the same form once more (poor network, second tap), and changes nothing.

    Raises HTTPException (404, 403), FormError, StepRefusedError, TooManyError.
    """
    step = STEPS[name]
    action = step.make(fields)
    now = web.clock.now()
    web.spend("step", visitor.id)
    if photo:
        web.spend("photo", visitor.id)
    picture = None
    if photo:
        # A picture takes its time: for nothing where the step will not be taken.
        with reading(web.engine) as db:
            case = web.case(db, visitor, case_id)
            if not _wanted(db, visitor, case, step, after):
                return
            _act(case, lambda: cases.act(CaseValues.of(case), action, visitor.id, now))
        picture = _picture(web, case_id, photo)
    with transaction(web.engine) as db:
        case = web.case(db, visitor, case_id)
        db.refresh(case, with_for_update=True)
        if not _wanted(db, visitor, case, step, after):
            return
        if isinstance(action, cases.Give) and action.person not in [i for i, _ in receivers(db, case.site)]:
            raise FormError("web.error.receiver")
        _act(case, lambda: desk.do(db, case_id, action, visitor.id, now))
        if picture is not None:
            sha256, size = picture
            web.store.put(
                db,
                site=case.site,
                node=None,
                alarm=case_id,
                sha256=sha256,
                kind="photo",
                size=size,
                now=now,
                by=visitor.id,
            )
            ledger.append(db, case_id, now, visitor.id, "photo", {"sha256": sha256})


def _wanted(db: Transaction, visitor: Visitor, case: Case, step: Step, after: int | None) -> bool:
    """False for the same form once more. Raises HTTPException, StepRefusedError for who may not take the step."""
    if not visitor.may(step.right, case.site):
        raise HTTPException(403, "not yours to change")
    if after is not None and db.scalar(_repeated(case.id, after, visitor.id, step.line)):
        return False
    if not _may(step, visitor, case):
        raise StepRefusedError(case.id, "owner", "the case is somebody else's")
    return True


def _act(case: Case, do: Callable[[], object]) -> None:
    try:
        do()
    except NotAllowed as error:
        raise StepRefusedError(case.id, error.code, error.text) from error


def _repeated(case_id: str, after: int, actor: str, line: str) -> Select[tuple[bool]]:
    of_form = (Ledger.case == case_id, Ledger.n > after, Ledger.actor == actor, Ledger.action == line)
    return select(exists().where(*of_form))


def _picture(web: Web, case_id: str, photo: bytes) -> tuple[str, int]:
    """The photo in the store, as hash and size. Its row comes with the step; without one nobody finds it."""
    try:
        jpeg = anonymous(photo, web.hide_faces)
    except PhotoError as error:
        raise FormError("web.error.photo") from error
    except FacesError as error:
        log.error("a photo of case %s was refused: %s", case_id, error)  # noqa: TRY400 the text says it all
        raise FormError("web.error.faces", status=503) from error
    sha256 = hashlib.sha256(jpeg).hexdigest()
    try:
        return sha256, web.store.write(case_id, sha256, "photo", jpeg)
    except EvidenceError as error:
        log.error("a photo of case %s is not kept: %s", case_id, error)  # noqa: TRY400 the text says it all
        raise FormError("web.error.full", status=507) from error
