"""Everything that is forbidden, tried on the real broker with real certificates."""

from __future__ import annotations

import datetime as dt
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from broker.messages import MAX_PACKET
from broker.pki import certificates as certs
from broker.pki.authority import Pki, Reason
from broker.pki.names import Kind, Subject, server
from tests.broker.builders import (
    DISPATCH,
    DISPATCH_2,
    GRAFANA,
    OTHER_SITE,
    SIREN,
    SITE,
    TOPIC,
    A,
    B,
    C,
    Card,
    Installation,
    watching,
)
from tests.waiting import until

OWN, OTHERS, ABROAD = (f"{TOPIC}/{who.name}" for who in (A, B, C))
CASE = f"{TOPIC}/{SITE}/-/case/0199"
NOT_AUTHORIZED = "Not authorized"


# -- publishing --------------------------------------------------------------------------------------------------------

MAY_WRITE = [
    (A, f"{OWN}/alarm/helmet"),
    (A, f"{OWN}/status"),
    (A, f"{OWN}/command/ping/reply/desk"),
    (DISPATCH, f"{OWN}/ack"),
    (DISPATCH, f"{ABROAD}/command/ping"),
    (DISPATCH_2, CASE),
]
MAY_NOT_WRITE = [
    (A, f"{OTHERS}/alarm/helmet"),
    (A, f"{OTHERS}/status"),
    (A, f"{OTHERS}/ack"),
    (A, f"{OTHERS}/command/ping"),
    (A, f"{ABROAD}/status"),
    (A, f"{OWN}1/status"),
    (A, f"{TOPIC}/{SITE}"),
    (A, CASE),
    (A, f"{TOPIC}/{SITE}/-/status"),
    (A, f"{TOPIC}/-/dispatch/status"),
    (A, f"banksman/2/{A.name}/status"),
    (A, "$SYS/broker/version"),
    (A, "$CONTROL/dynamic-security/v1"),
    (DISPATCH, f"{OWN}/alarm/helmet"),
    (DISPATCH, f"{OWN}/status"),
    (DISPATCH, f"{OWN}/command/ping/reply"),
    (GRAFANA, f"{OWN}/ack"),
    (GRAFANA, CASE),
    (SIREN, CASE),
    (SIREN, f"{OWN}/command/ping"),
]


@pytest.mark.parametrize(("who", "topic"), MAY_WRITE, ids=lambda v: getattr(v, "name", v))
def test_each_writes_what_is_its_to_write(place: Installation, who: Subject, topic: str) -> None:
    with watching(place) as viewer, place.client(who) as client:
        assert client.publish(topic, b"here") == "Success"
        assert viewer.next() == (topic, b"here")


@pytest.mark.parametrize(("who", "topic"), MAY_NOT_WRITE, ids=lambda v: getattr(v, "name", v))
def test_nobody_writes_what_is_not_its_own(place: Installation, who: Subject, topic: str) -> None:
    with watching(place, "#", "$CONTROL/#") as viewer, place.client(who) as client, place.client(C) as other:
        assert client.publish(topic, b"forged") == NOT_AUTHORIZED
        other.publish(f"{ABROAD}/health")
        assert viewer.received(until=f"{ABROAD}/health") == []


def test_a_will_on_the_topic_of_another_node_is_not_published(place: Installation) -> None:
    with watching(place) as viewer, place.client(C) as other:
        with place.client(A, will=(f"{OTHERS}/status", b"offline")) as client:
            client.drop()
        with place.client(A, will=(f"{OWN}/status", b"offline")) as client:
            client.drop()
        assert viewer.received(until=f"{OWN}/status") == []
        other.publish(f"{ABROAD}/health")
        assert viewer.received(until=f"{ABROAD}/health") == []


# -- reading -----------------------------------------------------------------------------------------------------------

EVERYTHING = (
    "#",
    "+/#",
    f"{TOPIC}/#",
    f"{TOPIC}/+/+/alarm/+",
    f"{OTHERS}/#",
    f"{ABROAD}/status",
    f"{TOPIC}/{SITE}/-/case/+",
    "$SYS/#",
    "$share/mine/banksman/1/+/+/alarm/+",
)


def test_a_node_reads_nothing_but_its_own(place: Installation) -> None:
    with place.client(B) as b, place.client(C) as c, place.client(DISPATCH) as dispatch:
        b.publish(f"{OTHERS}/status", b"kept", retain=True)
        dispatch.publish(CASE, b"kept", retain=True)
        with place.client(A) as client:
            client.subscribe(*EVERYTHING)
            b.publish(f"{OTHERS}/alarm/helmet")
            c.publish(f"{ABROAD}/alarm/helmet")
            dispatch.publish(f"{OTHERS}/ack")
            dispatch.publish(f"{TOPIC}/{SITE}/-/case/0200")
            dispatch.publish(f"{OWN}/ack")
            assert client.received(until=f"{OWN}/ack") == []


def test_a_siren_reads_the_cases_of_its_site(place: Installation) -> None:
    with place.client(SIREN) as siren, place.client(DISPATCH) as dispatch, place.client(B) as node:
        siren.subscribe("#", "$SYS/#", f"{TOPIC}/+/-/case/+")
        node.publish(f"{OTHERS}/alarm/helmet")
        dispatch.publish(f"{TOPIC}/{OTHER_SITE}/-/case/0300")
        dispatch.publish(f"{TOPIC}/{SITE}/-/case/0301", b"open")
        before = siren.received(until=f"{TOPIC}/{SITE}/-/case/0301")
        assert {topic for topic, _ in before} <= {CASE}  # kept by the broker from another test


def test_a_node_that_guesses_at_a_group_takes_nothing_from_dispatch(place: Installation) -> None:
    with place.client(DISPATCH) as dispatch, place.client(A) as thief, place.client(B) as node:
        dispatch.subscribe(f"$share/{place.group}/{TOPIC}/+/+/alarm/+")
        thief.subscribe(f"$share/dispatch/{TOPIC}/+/+/alarm/+", "$share/dispatch/#")
        for number in range(20):
            node.publish(f"{OTHERS}/alarm/helmet", b"%d" % number)
        assert [dispatch.next()[1] for _ in range(20)] == [b"%d" % number for number in range(20)]


def test_who_knows_the_group_has_messages_dropped_therefore_it_is_secret(place: Installation) -> None:
    """Mosquitto gives a share of the messages to a member that may not read them, and so to nobody. Where this fails,
    it has been mended, and the group needs no secret name any more."""
    with place.client(DISPATCH) as dispatch, place.client(A) as thief, place.client(B) as node:
        for member in (dispatch, thief):
            member.subscribe(f"$share/{place.group}/{TOPIC}/+/+/alarm/+")
        for number in range(20):
            node.publish(f"{OTHERS}/alarm/helmet", b"%d" % number)
        dispatch.subscribe(f"{OTHERS}/health")
        node.publish(f"{OTHERS}/health")
        assert len(dispatch.received(until=f"{OTHERS}/health")) == 10
        assert thief.inbox.empty()


# -- being somebody else -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client_id", [B.name, B.name.replace("/", ":"), "-/dispatch", "gate-04"])
def test_no_client_id_pushes_another_client_off(place: Installation, client_id: str) -> None:
    own = B.name.replace("/", ":")
    with watching(place), place.client(B, client_id=own) as victim, place.client(DISPATCH) as dispatch:
        with place.client(A, client_id=client_id, clean=False) as client:
            assert not client.session_present
        assert victim.publish(f"{OTHERS}/status") == "Success"
        assert dispatch.publish(CASE) == "Success"


def test_what_waits_for_a_node_is_given_to_that_node_only(place: Installation) -> None:
    lasting = {"client_id": "north-yard:gate-04", "clean": False, "session_s": 60}
    with place.client(B, **lasting) as away:
        away.subscribe(f"{OTHERS}/ack")
    with place.client(DISPATCH) as dispatch:
        dispatch.publish(f"{OTHERS}/ack", b"for B")
        with place.client(A, **lasting | {"session_s": 0}) as thief:
            assert not thief.session_present
            thief.subscribe(f"{OWN}/ack")
            dispatch.publish(f"{OWN}/ack")
            assert thief.received(until=f"{OWN}/ack") == []
    with place.client(B, **lasting | {"session_s": 0}) as back:
        assert back.session_present
        assert back.next() == (f"{OTHERS}/ack", b"for B")


def test_a_second_connection_with_the_same_certificate_ends_the_first(place: Installation) -> None:
    with watching(place), place.client(B, client_id="one") as first, place.client(B, client_id="two") as second:
        assert first.gone() == "Session taken over"
        assert second.publish(f"{OTHERS}/status") == "Success"


@pytest.mark.parametrize("name", ["#", "+", "+/+", f"{SITE}/+", f"{SITE}/#", "..", f"{SITE}/..", f"{SITE}/gate-04/x"])
def test_a_name_with_wildcards_would_open_nothing(place: Installation, tmp_path: Path, name: str) -> None:
    """`pki` issues none; here somebody signed it with the authority's key by other means."""
    card = signed(place.pki, Subject(Kind.NODE, name), tmp_path)
    with watching(place, "#") as viewer, place.client(C) as other:
        client = place.client(card)
        if client.open() == "Success":
            client.subscribe("#", f"{OTHERS}/#")
            for topic in (f"{OTHERS}/alarm/helmet", CASE, f"{ABROAD}/status"):
                assert client.publish(topic) == NOT_AUTHORIZED
        other.publish(f"{ABROAD}/health")
        assert viewer.received(until=f"{ABROAD}/health") == []
        assert client.inbox.empty()
        client.close()


def signed(pki: Pki, who: Subject, folder: Path, *, days_ago: float = 0, days: float = 1) -> Card:
    """A certificate that the authority's key signed, past all checks of `pki`."""
    last = pki.authorities()[-1]
    authority_key = load_pem_private_key((pki.folder / f"authorities/{last.number}.key").read_bytes(), None)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    signer = certs.Signer(last.cert, authority_key)
    key, now = certs.new_key(), dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(days=days_ago)
    card = Card(folder / "odd.pem", folder / "odd.key")
    card.cert.write_bytes(certs.pem(certs.issue(signer, who, key.public_key(), now=now, days=days, serial=1)))
    card.key.write_bytes(certs.key_pem(key))
    return card


def revoked(place: Installation, folder: Path) -> Card:
    who = Subject(Kind.NODE, f"{SITE}/lost")
    card = place.copy(who, folder / "lost")
    place.pki.revoke(who, Reason.KEY_COMPROMISE, time.time())
    place.update()
    place.reload()
    return card


def foreign(_: Installation, folder: Path) -> Card:
    stranger = Pki.create(folder / "stranger", "Test", certs.PRIVATE, time.time())
    made = stranger.issue(A, time.time())
    assert made.key is not None
    return Card(made.cert, made.key)


def server_card(place: Installation, _: Path) -> Card:
    return place.card(server("localhost", "127.0.0.1"))


def expired(place: Installation, folder: Path) -> Card:
    return signed(place.pki, A, folder, days_ago=3)


UNWELCOME: dict[str, tuple[Callable[[Installation, Path], Card | None], str]] = {
    "nobody": (lambda _p, _f: None, "peer did not return a certificate"),
    "expired": (expired, "certificate verify failed"),
    "revoked": (revoked, "certificate verify failed"),
    "another authority of the same name": (foreign, "certificate verify failed"),
    "a server's certificate": (server_card, "certificate verify failed"),
}


@pytest.mark.parametrize("case", UNWELCOME)
def test_without_a_good_certificate_nobody_gets_in(place: Installation, tmp_path: Path, case: str) -> None:
    make, says = UNWELCOME[case]
    card = make(place, tmp_path)
    before = len(place.log())
    client = place.client(card, password=(A.name, "secret"))
    assert client.open() != "Success"
    assert "Success" not in {client.events.get()[1] for _ in range(client.events.qsize())}
    until(lambda: says in place.log()[before:], says)


def test_tls_1_2_is_refused(place: Installation) -> None:
    assert "protocol version" in place.client(A, max_tls=ssl.TLSVersion.TLSv1_2).open()
    assert place.client(A).open() == "Success"


def test_a_packet_above_the_limit_ends_the_connection_of_who_sent_it_only(place: Installation) -> None:
    with place.client(A) as client, place.client(B) as other, watching(place) as viewer:
        topic = f"{OWN}/alarm/helmet"
        assert client.publish(topic, b"x" * (MAX_PACKET - 1024)) == "Success"
        assert client.publish(topic, b"y" * MAX_PACKET).startswith("gone:")
        assert other.publish(f"{OTHERS}/status") == "Success"
        assert [len(payload) for _, payload in viewer.received(until=f"{OTHERS}/status")] == [MAX_PACKET - 1024]


def test_the_log_tells_who_came_and_no_secrets(place: Installation) -> None:
    with place.client(A) as client:
        client.publish(f"{OWN}/status", b"the payload")
        client.subscribe(f"$share/{place.group}/{TOPIC}/#")
    log = place.log()
    assert f"u'{A.name}'" in log
    assert not [word for word in ("the payload", place.group, "PRIVATE KEY") if word in log]
