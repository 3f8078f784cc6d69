"""The first administrator. There is no default password: somebody with a shell on the server sets one."""

from __future__ import annotations

from sqlalchemy import Engine, select
from uuid6 import uuid7

from broker.dispatch.database import transaction
from broker.dispatch.tables import Membership, Person, Role
from broker.dispatch.web import audit
from broker.dispatch.web.auth import Passwords, Sessions
from broker.dispatch.web.rights import EVERYWHERE


def set_admin(engine: Engine, login: str, name: str, password: str, now: float) -> bool:
    """Make somebody an administrator of all sites, or give one a new password; True where the person is new.

    Ends the person's sessions. Raises PasswordError.
    """
    login = login.strip().lower()
    hashed = Passwords().hash(password)
    with transaction(engine) as db:
        person = db.scalar(select(Person).where(Person.login == login))
        new = person is None
        if person is None:
            person = Person(id=str(uuid7()), login=login, name=name, created_at=now)
            db.add(person)
        person.password, person.active = hashed, True
        db.flush()
        db.merge(Membership(person=person.id, site=EVERYWHERE, role=Role.ADMIN.value))
        Sessions().close_all(db, person.id)
        audit.note(db, now, "dispatch", "admin_set", login)
    return new
