"""A stolen box loses everything with one command; a replaced one when its successor has what it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from broker.pki import names
from broker.pki.authority import Reason
from tests.broker.builders import TOPIC, Installation
from tests.broker.builders import Card as Files
from tests.enrol.builders import NAME, NODE, SITE, Box, Card, Place, code
from tests.enrol.influx2 import Influx2Stub
from tests.waiting import until

ARRIVED = {"Success", "No matching subscribers"}


def revoke(place: Place) -> list[str]:
    """What is left to do."""
    return list(place.office.revoke(SITE, NODE, Reason.KEY_COMPROMISE, place.clock.now()).problems)


# -- with the real broker ----------------------------------------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Installation]:
    with Installation(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def whole(tmp_path: Path, place: Place, broker: Installation) -> Iterator[Place]:
    """The door beside a real Mosquitto that trusts the same authority."""
    with Place(tmp_path, place.engine, place.stub, pki=broker.pki, broker=broker.folder) as running:
        yield running


def test_an_enrolled_box_reaches_the_broker_until_it_is_revoked(
    whole: Place, broker: Installation, tmp_path: Path
) -> None:
    card = Card(tmp_path / "card", whole)
    card.give(whole.token())
    assert card.run().exit_code == 0
    files = Files(card.etc / "node.pem", card.etc / "node.key")
    with broker.client(files) as node:
        assert node.publish(f"{TOPIC}/{NAME}/status") in ARRIVED
        assert "Not authorized" in node.publish(f"{TOPIC}/{SITE}/gate-04/status")
    done = whole.office.revoke(SITE, NODE, Reason.KEY_COMPROMISE, whole.clock.now())
    assert (len(done.certificates), done.authorizations, done.effect, done.problems) == (1, 1, "reload", ())
    broker.restart()
    assert broker.client(files).open() != "Success"
    until(lambda: "certificate verify failed" in broker.log())
    assert whole.stub is not None
    assert not whole.stub.may_write(card.file("influx.token").decode())


def test_the_successor_is_in_before_the_predecessor_is_out(whole: Place, broker: Installation, tmp_path: Path) -> None:
    cards = [Card(tmp_path / name, whole) for name in ("first", "second")]
    for card in cards:
        card.give(whole.token())
        assert card.run().exit_code == 0
    until(lambda: whole.states() == ["revoked", "valid"])
    until(lambda: all(row.settled_at or row.ended_at for row in whole.rows()))
    broker.reload()
    first, second = (Files(card.etc / "node.pem", card.etc / "node.key") for card in cards)
    assert broker.client(first).open() != "Success"
    until(lambda: "certificate verify failed" in broker.log())
    with broker.client(second) as node:
        assert node.publish(f"{TOPIC}/{NAME}/status") in ARRIVED


# -- what is revoked ---------------------------------------------------------------------------------------------------


def test_revoking_takes_tokens_certificates_and_influxdbs_token(place: Place) -> None:
    assert place.stub is not None
    box, used = Box(), place.token()
    got = place.ask(used, box.csr()).json()
    until(lambda: place.rows()[0].settled_at)
    waiting = place.token()
    other = place.enrol(Box(), "gate-04")
    done = place.office.revoke(SITE, NODE, Reason.KEY_COMPROMISE, place.clock.now())
    assert (len(done.certificates), done.tokens, done.authorizations, done.problems) == (1, 1, 1, ())
    assert place.states() == ["revoked"]
    assert [place.stub.may_write(g["influx"]["token"]) for g in (got, other)] == [False, True]
    # Neither the thief, who has the key, nor whoever finds a card gets in again.
    assert [code(place.ask(token, box.csr())) for token in (used, waiting)] == [(403, "used")] * 2
    assert place.states() == ["revoked"]
    assert place.office.revoke(SITE, NODE, Reason.KEY_COMPROMISE, place.clock.now()).certificates == ()
    assert place.enrol(Box())["node"] == NODE


def test_what_influxdb_did_not_delete_is_told_and_tried_again(place: Place) -> None:
    assert place.stub is not None
    got = place.enrol(Box())
    place.stub.trouble["DELETE"] = 503
    (problem,) = revoke(place)
    assert f"{NAME}: its token for InfluxDB still works" in problem
    assert "503" in problem
    assert place.states() == ["revoked"], "the other half is done"
    place.stub.stop()
    assert "does not answer" in revoke(place)[0]
    assert len(place.office.settle(place.clock.now())) == 1
    place.stub.start()
    assert place.office.settle(place.clock.now()) == ()
    assert not place.stub.may_write(got["influx"]["token"])
    assert revoke(place) == []


def test_what_the_authority_did_not_revoke_is_told_and_done_when_asked_again(place: Place) -> None:
    assert place.stub is not None
    got = place.enrol(Box())
    key = place.pki.folder / "authorities" / "1.key"
    kept = key.read_bytes()
    key.unlink()
    (problem,) = revoke(place)
    assert "its certificate" in problem
    assert "1.key" in problem
    assert not place.stub.may_write(got["influx"]["token"]), "the other half is done"
    key.write_bytes(kept)
    assert revoke(place) == []
    assert place.states() == ["revoked"]


def test_one_that_was_deleted_by_hand_is_no_fault(place: Place) -> None:
    assert place.stub is not None
    place.enrol(Box())
    place.stub.authorizations.clear()
    assert revoke(place) == []


def test_certificates_that_were_issued_by_hand_go_too(place: Place) -> None:
    place.pki.issue(names.node(NAME), place.clock.now())
    assert len(place.office.revoke(SITE, NODE, Reason.CESSATION, place.clock.now()).certificates) == 1
    assert place.states() == ["revoked"]


# -- a new box for the node --------------------------------------------------------------------------------------------


def test_a_replacement_revokes_what_was_there_after_it_has_its_own(place: Place) -> None:
    assert place.stub is not None
    first, second = place.enrol(Box()), place.enrol(Box())
    assert place.states() == ["revoked", "valid"]
    until(lambda: not place.stub.may_write(first["influx"]["token"]))  # type: ignore[union-attr]
    assert place.stub.may_write(second["influx"]["token"])
    assert [row.reason for row in place.rows()] == ["superseded", None]


def test_the_old_box_gets_nothing_more_for_its_token(place: Place) -> None:
    box, token = Box(), place.token()
    assert place.ask(token, box.csr()).status_code == 200
    place.enrol(Box())
    assert code(place.ask(token, box.csr())) == (403, "used")
    assert place.states() == ["revoked", "valid"]


def test_a_token_that_nobody_uses_changes_nothing(place: Place) -> None:
    assert place.stub is not None
    got = place.enrol(Box())
    place.token()
    place.office.settle(place.clock.now())
    assert place.states() == ["valid"]
    assert place.stub.may_write(got["influx"]["token"])


def test_a_replacement_is_not_held_up_by_what_the_old_one_leaves(place: Place) -> None:
    """InfluxDB does not delete the old token: the new box has all it needs, and the old token goes later."""
    assert place.stub is not None
    first = place.enrol(Box())
    place.stub.trouble["DELETE"] = 500
    second = place.enrol(Box())
    assert place.states() == ["revoked", "valid"]
    until(lambda: not place.stub.trouble)  # type: ignore[union-attr]
    assert place.stub.may_write(second["influx"]["token"])
    assert place.stub.may_write(first["influx"]["token"])
    assert place.office.settle(place.clock.now()) == ()
    assert not place.stub.may_write(first["influx"]["token"])


def test_a_server_that_dies_behind_its_answer_takes_the_old_ones_back_later(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = place.enrol(Box())
    with monkeypatch.context() as dead:
        dead.setattr("broker.dispatch.web.enrol._settle", lambda *_: None)
        second = place.ask(place.token(), Box().csr()).json()
    assert place.states() == ["valid", "valid"]
    assert place.office.settle(place.clock.now()) == ()
    assert place.states() == ["revoked", "valid"]
    assert place.stub is not None
    assert [place.stub.may_write(g["influx"]["token"]) for g in (first, second)] == [False, True]


def test_it_is_the_same_on_both_databases(both: Engine, tmp_path: Path, influx: Influx2Stub) -> None:
    with Place(tmp_path, both, influx) as place:
        first, second = place.enrol(Box()), place.enrol(Box())
        assert place.states() == ["revoked", "valid"]
        until(lambda: not influx.may_write(first["influx"]["token"]))
        assert revoke(place) == []
        assert place.states() == ["revoked", "revoked"]
        assert not influx.may_write(second["influx"]["token"])
