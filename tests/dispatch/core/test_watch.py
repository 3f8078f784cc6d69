"""Nodes: last will, silence, return, restarts, certificates; what becomes of their cases."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from broker.dispatch import desk, intake, ledger, watch
from broker.dispatch.cases import FalseAlarm
from broker.dispatch.database import reading, transaction
from broker.dispatch.intake import Received, Report, read
from broker.dispatch.settings import Settings
from broker.dispatch.tables import Case, Node
from broker.dispatch.worker import housekeeping
from broker.messages import Health, Message, NodeTopics, Status
from broker.pki import names
from broker.pki.authority import Pki, Reason
from broker.pki.certificates import PRIVATE
from broker.pki.names import PkiError
from tests.dispatch.core.builders import NODE, NOW, message

PERIOD = 30.0
OTHER = NodeTopics("north-yard", "gate-04")
NAME = names.node(f"{NODE.site}/{NODE.node}")


def status(state: str, *, by_itself: bool = False) -> Status:
    since = NOW if by_itself or state == "online" else None
    return Status.model_validate(
        {"state": state, "since": since, "version": "1", "model": "m", "site_file_hash": "h", "clock_ok": True}
    )


def health(period_s: float = PERIOD) -> Health:
    return Health(at=NOW, period_s=period_s, uptime_s=1, fps=5, journal_depth=0)


def tell(engine: Engine, *messages: tuple[float, Message], node: NodeTopics = NODE, now: float | None = None) -> None:
    """Messages of a node, each with the second at which it was received."""
    reports = []
    for at, there in messages:
        topic = node.health if isinstance(there, Health) else node.status
        report = read(Received(topic, there.to_payload(), NOW + at))
        assert isinstance(report, Report)
        reports.append(report)
    assert not intake.store(engine, reports, watch.take, NOW + messages[-1][0] if now is None else now).refused


def raise_alarm(engine: Engine, received_at: float = NOW, **changes: object) -> None:
    arrival = read(Received(NODE.alarm("helmet"), message(**changes).to_payload(), received_at))
    assert isinstance(arrival, intake.Alarm)
    assert not intake.store(engine, [arrival], intake.take, received_at).refused


def cases(engine: Engine) -> dict[str, tuple[str, bool]]:
    """By rule: how the alarm stands, and whether it is unverified."""
    with reading(engine) as session:
        rows: Sequence[Case] = session.scalars(select(Case)).all()
        assert [p for c in rows for p in ledger.verify(session, c.id)] == []
        return {c.rule: (c.alarm_state, c.unverified) for c in rows}


def node(engine: Engine) -> Node:
    with reading(engine) as session:
        return session.scalars(select(Node).where(Node.id == NODE.node)).one()


def silence(engine: Engine, at: float, since: float | None = 0.0) -> None:
    watch.silence(engine, NOW + at, None if since is None else NOW + since)


def test_a_node_is_known_by_what_it_says(both: Engine) -> None:
    tell(both, (0, status("online")), (1, health()))
    there = node(both)
    assert (there.online, there.silent, there.heard_at, there.period_s, there.version) == (
        True, False, NOW + 1, PERIOD, "1",
    )  # fmt: skip
    assert there.health is not None
    assert there.health["fps"] == 5
    assert cases(both) == {}


def test_a_last_will_is_a_case_at_once_and_makes_its_alarms_unverified(both: Engine) -> None:
    tell(both, (0, status("online")))
    raise_alarm(both)
    tell(both, (5, status("offline")))
    assert cases(both) == {"helmet": ("active", True), "node_health": ("active", False)}
    tell(both, (9, status("online")))
    assert cases(both) == {"helmet": ("active", True), "node_health": ("cleared", False)}, "nobody has judged yet"
    raise_alarm(both, NOW + 10, id="e2", seq=2, event="updated", verdict="unknown", reason="restarted")
    assert cases(both)["helmet"] == ("unknown", True)
    raise_alarm(both, NOW + 20, id="e3", seq=3, event="updated")
    assert cases(both)["helmet"] == ("active", False)


def test_a_node_that_stops_by_itself_has_three_periods_to_come_back(both: Engine) -> None:
    tell(both, (0, status("online")), (1, health()), (2, status("offline", by_itself=True)))
    silence(both, 2 + 3 * PERIOD)
    assert cases(both) == {}
    silence(both, 2.1 + 3 * PERIOD)
    assert cases(both) == {"node_health": ("active", False)}


@pytest.mark.parametrize(
    ("at", "since", "silent"),
    [
        (3 * PERIOD, 0.0, False),
        (3 * PERIOD + 1, -500.0, True),
        (900.0, 880.0, False),  # dispatch itself was away, and has only begun to listen
        (900.0, None, False),  # it does not listen at all
        (900.0, 700.0, True),
    ],
)
def test_three_periods_without_a_word(both: Engine, at: float, since: float | None, *, silent: bool) -> None:
    tell(both, (0, health()))
    silence(both, at, since)
    assert node(both).silent == silent
    assert cases(both) == ({"node_health": ("active", False)} if silent else {})


@pytest.mark.parametrize("period_s", [1e-300, 1e9, 1.7e308])
def test_no_node_can_blind_dispatch_with_the_period_that_it_says(both: Engine, period_s: float) -> None:
    tell(both, (0, health()))
    tell(both, (0, health(period_s)), node=OTHER)
    silence(both, 1, -1e5)
    assert cases(both) == {}
    silence(both, 3 * 3600 + 1, -1e5)
    with reading(both) as session:
        assert {n.id: n.silent for n in session.scalars(select(Node))} == {"gate-03": True, "gate-04": True}


def test_one_silence_is_one_case_however_often_it_is_looked_at(both: Engine) -> None:
    tell(both, (0, health()))
    for at in (100, 105, 110):
        silence(both, at)
    tell(both, (120, health()))
    silence(both, 300)
    tell(both, (310, status("offline")))
    with reading(both) as session:
        (case,) = session.scalars(select(Case))
        assert (case.alarms, case.alarm_state, case.reason, case.source) == (2, "active", "silent", "-")


def test_a_flap_within_one_batch(both: Engine) -> None:
    raise_alarm(both)
    tell(both, (0, status("online")), (1, status("offline")), (2, status("online")), (3, status("offline")))
    assert cases(both) == {"helmet": ("active", True), "node_health": ("active", False)}


def test_a_will_that_was_overtaken_counts_no_more(both: Engine) -> None:
    """Two workers: one stores `online` of the new connection, then the other the will of the old one."""
    tell(both, (5, status("online")))
    tell(both, (4, status("offline")), now=NOW + 6)
    assert (node(both).online, cases(both)) == (True, {})


def test_other_nodes_and_what_is_over_or_cleared_are_left_alone(both: Engine) -> None:
    tell(both, (0, health()), node=OTHER)
    raise_alarm(both)
    raise_alarm(both, NOW + 1, id="e2", seq=2, event="cleared", verdict="ok")
    raise_alarm(both, NOW + 1, id="e3", alarm="a3", seq=3, place="b")
    with transaction(both) as session:
        over = session.scalars(select(Case.id).where(Case.place == "b")).one()
        desk.do(session, over, FalseAlarm("a bucket"), "ann", NOW)
    tell(both, (5, status("offline")))
    with reading(both) as session:
        assert not session.scalars(select(Case.id).where(Case.unverified)).all()
        assert {n.id: n.silent for n in session.scalars(select(Node))} == {"gate-03": True, "gate-04": False}


DAY = 86_400.0


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    """An authority with a certificate of the node that ends 100 days after NOW. Who reads it needs no key."""
    made = Pki.create(tmp_path / "pki", "Test", PRIVATE, NOW)
    made.issue(NAME, NOW, days=100)
    return made


def look(engine: Engine, pki: Pki, day: float) -> dict[str, tuple[str, bool]]:
    copy = pki.folder.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(pki.folder, copy, ignore=shutil.ignore_patterns("*.key", ".lock"))
    watch.certificates(engine, NOW + day * DAY, copy)
    return cases(engine)


def test_a_certificate_that_runs_out_is_a_case_until_there_is_a_new_one(both: Engine, pki: Pki) -> None:
    tell(both, (0, health()))
    assert look(both, pki, 69) == {}
    assert node(both).certificate_expires == NOW + 100 * DAY
    for day in (71, 71.1, 99, 101):
        assert look(both, pki, day) == {"certificate": ("active", False)}
    pki.renew(NAME, NOW + 101 * DAY, days=100)
    assert look(both, pki, 101) == {"certificate": ("cleared", False)}
    assert look(both, pki, 170) == {"certificate": ("cleared", False)}
    assert look(both, pki, 172) == {"certificate": ("active", False)}
    with reading(both) as session:
        (case,) = session.scalars(select(Case))
        assert (case.alarms, case.severity, case.node, case.reason) == (2, "warning", NODE.node, "certificate_expires")


def test_each_certificate_is_told_once_even_if_its_case_is_closed(both: Engine, pki: Pki) -> None:
    tell(both, (0, health()))
    look(both, pki, 71)
    with transaction(both) as session:
        desk.do(session, session.scalars(select(Case.id)).one(), FalseAlarm("it is on its way"), "ann", NOW + 72 * DAY)
    look(both, pki, 73)
    assert len(rows(both)) == 1
    pki.renew(NAME, NOW + 74 * DAY, days=100)
    look(both, pki, 75)
    assert [case.state for case in rows(both)] == ["false_alarm"]
    look(both, pki, 145)
    assert sorted(case.state for case in rows(both)) == ["false_alarm", "open"]


def test_what_is_revoked_is_not_missed(both: Engine, pki: Pki) -> None:
    tell(both, (0, health()))
    look(both, pki, 71)
    pki.revoke(NAME, Reason.CESSATION, NOW + 72 * DAY)
    assert look(both, pki, 73) == {"certificate": ("cleared", False)}
    assert node(both).certificate_expires is None


def test_of_certificates_of_others_the_log_tells(both: Engine, pki: Pki, caplog: pytest.LogCaptureFixture) -> None:
    tell(both, (0, health()))
    pki.issue(names.service("dispatch"), NOW, days=40)
    pki.issue(names.server("broker.local"), NOW, days=41)
    look(both, pki, 9)
    assert caplog.messages == []
    assert look(both, pki, 12) == {}
    assert [" ".join(message.split(";")[0].split()[3:]) for message in caplog.messages] == [
        "service -/dispatch ends on 2026-10-31",
        "server broker.local ends on 2026-11-01",
    ]


def test_a_worker_looks_where_its_settings_say(both: Engine, pki: Pki) -> None:
    tell(both, (0, health()))
    given = {"mqtt": {"host": "localhost"}, "web": {"secret": "x" * 32}}
    assert "certificates" not in housekeeping(Settings.model_validate(given), both)
    housekeeping(Settings.model_validate(given | {"pki": pki.folder}), both)["certificates"].work(NOW + 71 * DAY)
    assert cases(both) == {"certificate": ("active", False)}


def test_a_folder_that_is_no_authority_s_says_so(both: Engine, tmp_path: Path) -> None:
    with pytest.raises(PkiError, match="no authority there"):
        watch.certificates(both, NOW, tmp_path)


def rows(engine: Engine) -> Sequence[Case]:
    with reading(engine) as session:
        return session.scalars(select(Case)).all()
