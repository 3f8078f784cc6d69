"""One-time tokens as they are kept."""

from __future__ import annotations

import base64
import threading
from typing import Any

import pytest
from sqlalchemy import Engine, select

from broker.dispatch.database import reading, transaction
from broker.dispatch.enrol import TakenError, holders, new_token
from broker.dispatch.enrol.tokens import find
from broker.dispatch.tables import Audit, Enrolment, Node, Site
from broker.pki.names import PkiError

NOW = 1_800_000_000.0


def test_a_token_is_bound_to_its_node_and_its_time(both: Engine) -> None:
    with transaction(both) as session:
        token = new_token(session, "north-yard", "gate-03", "officer-1", NOW, hours=72)
    with reading(both) as session:
        row = find(session, token)
        assert row is not None
        assert (row.site, row.node, row.by, row.expires_at) == ("north-yard", "gate-03", "officer-1", NOW + 72 * 3600)
        assert find(session, token.swapcase()) is None


def test_tokens_are_long_and_all_different(both: Engine) -> None:
    with transaction(both) as session:
        made = {new_token(session, "north-yard", "gate-03", "officer-1", NOW, replace=True) for _ in range(50)}
    assert len(made) == 50
    assert all(len(base64.urlsafe_b64decode(token)) * 8 >= 128 for token in made)


def test_only_its_hash_is_kept(both: Engine) -> None:
    with transaction(both) as session:
        token = new_token(session, "north-yard", "gate-03", "officer-1", NOW)
    with reading(both) as session:
        kept = [str(vars(row)) for table in (Enrolment, Audit) for row in session.scalars(select(table))]
    assert len(kept) == 2
    assert not any(token in row for row in kept)


@pytest.mark.parametrize(
    ("site", "node"),
    [("North", "gate"), ("north", "-"), ("north", "a/b"), ("", "gate"), ("+", "gate"), ("n" * 32, "g" * 32)],
)
def test_no_token_for_a_name_that_no_certificate_can_carry(both: Engine, site: str, node: str) -> None:
    with transaction(both) as session, pytest.raises(PkiError):
        new_token(session, site, node, "officer-1", NOW)


@pytest.mark.parametrize("hours", [0, -1, 24 * 30 + 1, float("nan"), float("inf")])
def test_no_token_for_a_time_that_makes_no_sense(both: Engine, hours: float) -> None:
    with transaction(both) as session, pytest.raises(ValueError, match="hours"):
        new_token(session, "north-yard", "gate-03", "officer-1", NOW, hours)


OPEN = {"token": "0" * 64, "by": "officer-1", "made_at": NOW - 3600, "expires_at": NOW + 3600}
USED = OPEN | {"public_key": "1" * 64, "used_at": NOW - 60}
ENROLLED = USED | {"serial": "ab", "expires_at": NOW - 1}
REVOKED = {"ended_at": NOW - 30, "reason": "key-compromise"}


@pytest.mark.parametrize(
    ("rows", "reported", "held"),
    [
        ([], False, None),
        ([], True, "box"),
        ([OPEN], False, "card"),
        ([OPEN], True, "box"),
        ([OPEN | {"expires_at": NOW}], False, None),
        ([OPEN | REVOKED], False, None),
        ([USED], False, "card"),
        ([ENROLLED], False, "box"),
        ([ENROLLED, OPEN | {"token": "2" * 64}], False, "box"),
        ([ENROLLED | REVOKED], False, None),
        ([ENROLLED | REVOKED], True, "box"),
    ],
)
def test_a_name_that_a_box_or_a_card_has_is_given_to_another_only_when_asked_to(
    both: Engine, rows: list[dict[str, Any]], reported: bool, held: str | None
) -> None:
    with transaction(both) as session:
        for number, row in enumerate(rows):
            session.add(Enrolment(id=str(number), site="north-yard", node="gate-03", **row))
        if reported:
            session.add(Node(site="north-yard", id="gate-03", heard_at=NOW - 86_400))
    with transaction(both) as session:
        assert holders(session, "north-yard", NOW) == ({"gate-03": held} if held else {})
        if held:
            with pytest.raises(TakenError, match=f"north-yard/gate-03 has a {held} already"):
                new_token(session, "north-yard", "gate-03", "officer-1", NOW)
        for site, node, replace in (
            ("north-yard", "gate-04", False), ("south-yard", "gate-03", False), ("north-yard", "gate-03", True)
        ):  # fmt: skip
            assert new_token(session, site, node, "officer-1", NOW, replace=replace)


@pytest.mark.parametrize("entered", [True, False])
def test_of_two_who_type_one_name_at_the_same_time_one_is_told(both: Engine, entered: bool) -> None:
    told: list[str] = []

    def second() -> None:
        try:
            with transaction(both) as session:
                new_token(session, "north-yard", "gate-03", "officer-2", NOW)
        except TakenError as error:
            told.append(error.held)

    with transaction(both) as session:
        if entered:
            session.add(Site(id="north-yard", name="North yard"))
    other = threading.Thread(target=second)
    with transaction(both) as session:
        new_token(session, "north-yard", "gate-03", "officer-1", NOW)
        session.flush()
        other.start()
        other.join(0.5)  # it waits for this transaction, or would be through by now
    other.join()
    assert told == ["card"]
