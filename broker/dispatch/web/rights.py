"""Who may do what, by role and site; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from broker.dispatch.tables import Role

EVERYWHERE = "*"
"""In place of a site: all of them."""


class Right(Enum):
    """What somebody may do on a site."""

    SEE = "see"  # cases and their evidence
    ACT = "act"  # take a case, say what was done
    LEAD = "lead"  # close others' cases, hold, ledger, export, hand-over report
    MANAGE = "manage"  # people, shifts, chains
    INSTALL = "install"  # cards of nodes


ROLES: Mapping[Right, frozenset[Role]] = {
    Right.SEE: frozenset(Role),
    Right.ACT: frozenset(role for role in Role if role.acts),
    Right.LEAD: frozenset({Role.OFFICER}),
    Right.MANAGE: frozenset({Role.ADMIN}),
    Right.INSTALL: frozenset({Role.INSTALLER, Role.ADMIN}),
}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks. roles: by site or `*`. cases: the only ones that a link's session may see; None: it is a log-in.
    key: the session's."""

    id: str
    name: str
    language: str
    roles: Mapping[str, frozenset[Role]]
    cases: frozenset[str] | None
    csrf: str
    key: str

    @property
    def linked(self) -> bool:
        """They came by a link, and see no more than what it opens."""
        return self.cases is not None

    def may(self, right: Right, site: str) -> bool:
        mine = self.roles.get(site, frozenset()) | self.roles.get(EVERYWHERE, frozenset())
        if self.linked and right not in (Right.SEE, Right.ACT):
            return False
        return bool(mine & ROLES[right])

    def anywhere(self, right: Right) -> bool:
        return any(self.may(right, site) for site in self.roles)

    def among(self, right: Right, sites: Iterable[str]) -> list[str]:
        """Of these sites those where they may."""
        return [site for site in sites if self.may(right, site)]

    def sees(self, site: str, case: str) -> bool:
        return (self.cases is None or case in self.cases) and self.may(Right.SEE, site)
