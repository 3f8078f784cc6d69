"""The broker over time: killed, reloaded, its authority changed; dispatch's workers; the limits."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.mosquitto.config import Effect
from broker.pki.authority import Reason
from broker.pki.names import server
from tests.broker.builders import (
    DISPATCH,
    DISPATCH_2,
    GRAFANA,
    SIREN,
    SITE,
    TOPIC,
    WATCHER,
    A,
    B,
    Installation,
    watching,
)
from tests.conftest import need
from tests.waiting import until

OWN = f"{TOPIC}/{A.name}"
LASTING = {"clean": False, "session_s": 600}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Installation]:
    with Installation(tmp_path, ("[[services]]", "[limits]\nautosave_s = 1\n\n[[services]]")) as running:
        yield running


def test_kept_states_and_waiting_messages_outlive_a_broker_that_is_killed(place: Installation) -> None:
    with place.client(DISPATCH, **LASTING) as dispatch:
        dispatch.subscribe(f"$share/{place.group}/{TOPIC}/+/+/alarm/+")
    with place.client(A) as node:
        node.publish(f"{OWN}/status", b"online", retain=True)
        node.publish(f"{OWN}/alarm/helmet", b"waits")
    database = place.folder / "data/mosquitto.db"
    until(lambda: database.is_file() and b"waits" in database.read_bytes(), "saved")
    place.kill()
    place.start()
    with place.client(DISPATCH, **LASTING) as dispatch, place.client(WATCHER) as viewer:
        assert dispatch.session_present
        assert dispatch.next() == (f"{OWN}/alarm/helmet", b"waits")
        viewer.subscribe(f"{OWN}/status")
        assert viewer.next() == (f"{OWN}/status", b"online")


def test_two_workers_share_the_alarms_and_each_comes_once(place: Installation) -> None:
    shared = f"$share/{place.group}/{TOPIC}/+/+/alarm/+"
    with place.client(DISPATCH) as one, place.client(DISPATCH_2) as two, place.client(A) as node:
        for worker in (one, two):
            worker.subscribe(shared)
        for number in range(40):
            node.publish(f"{OWN}/alarm/helmet", b"%d" % number)
        for worker in (one, two):
            worker.subscribe(f"{OWN}/health")
        node.publish(f"{OWN}/health")
        came = [payload for worker in (one, two) for _, payload in worker.received(until=f"{OWN}/health")]
        assert sorted(came, key=int) == [b"%d" % number for number in range(40)]


def test_who_is_revoked_is_out_after_a_reload_and_others_notice_nothing(place: Installation, tmp_path: Path) -> None:
    lost, good = place.copy(A, tmp_path / "lost"), place.copy(B, tmp_path / "good")
    with place.client(good) as other, watching(place):
        with place.client(lost):
            pass
        place.pki.revoke(A, Reason.KEY_COMPROMISE, time.time())
        assert place.update().changed == ("crl.pem",)
        with place.client(lost):
            pass  # the broker does not know yet
        place.reload()
        assert place.client(lost).open() != "Success"
        assert other.publish(f"{TOPIC}/{B.name}/status") == "Success"


def test_who_is_connected_while_revoked_stays_until_the_broker_restarts(place: Installation, tmp_path: Path) -> None:
    """Which is why the manual says restart when a box is in the wrong hands."""
    lost = place.copy(A, tmp_path / "lost")
    with watching(place), place.client(lost) as connected:
        place.pki.revoke(A, Reason.KEY_COMPROMISE, time.time())
        place.update()
        place.reload()
        assert connected.publish(f"{OWN}/status") == "Success"
        place.restart()
        assert connected.gone() != ""
    assert place.client(lost).open() != "Success"


def test_the_authority_changes_while_everything_runs(place: Installation, tmp_path: Path) -> None:
    now = time.time()
    old, ca_before = place.copy(A, tmp_path / "old"), tmp_path / "ca.pem"
    ca_before.write_bytes(place.pki.ca_file.read_bytes())
    place.pki.rotate(now)
    assert place.update().effect is Effect.RELOAD
    place.reload()
    with place.client(old):  # certificates of before are good, with the authorities that a node knew before
        pass
    place.pki.renew(A, now)
    with place.client(A):
        pass
    # Nodes have the new ca.pem; now the server may change.
    for who in (server("localhost", "127.0.0.1"), DISPATCH, DISPATCH_2, GRAFANA, SIREN, WATCHER):
        place.pki.renew(who, now)
    assert set(place.update().changed) == {"server.pem"}
    place.reload()
    with place.client(A):
        pass
    behind = place.client(A)
    behind.ca = ca_before
    assert "verify failed" in behind.open()
    place.pki.retire(1, now)
    assert set(place.update().changed) == {"ca.pem", "crl.pem"}
    place.reload()
    assert place.client(old).open() != "Success"
    with place.client(A):
        pass


def test_a_service_that_is_added_gets_rights_with_a_reload(place: Installation) -> None:
    file = place.folder / "broker.toml"
    file.write_text(file.read_text() + f'\n[[services]]\nname = "lamp"\nrole = "siren"\nsite = "{SITE}"\n')
    done = place.update()
    assert (done.changed, done.effect) == (("acl",), Effect.RELOAD)
    assert [path.name for path in done.issued] == ["lamp.pem"]
    place.reload()


def test_a_full_broker_turns_the_next_one_away(tmp_path: Path) -> None:
    with (
        Installation(tmp_path, ("[[services]]", "[limits]\nconnections = 4\n\n[[services]]")) as small,
        small.client(DISPATCH),
        small.client(GRAFANA),
        small.client(A),
        small.client(B),
    ):
        assert small.client(SIREN).open() != "Success"


def test_a_broker_that_has_given_up_root_can_still_read_everything(tmp_path: Path) -> None:
    need(os.geteuid() == 0, "only root can give up root")
    folder = Path(tempfile.mkdtemp(prefix="banksman-broker-"))  # pytest's own folders are closed to other users
    try:
        folder.chmod(0o755)
        with Installation(folder, ('user = "root"', 'user = "mosquitto"')) as running:
            with running.client(A) as node:
                node.publish(f"{OWN}/status", b"online", retain=True)
            running.pki.renew(server("localhost", "127.0.0.1"), time.time())
            running.update()
            running.reload()
            with running.client(A):
                pass
            running.restart()
            with running.client(WATCHER) as viewer:
                viewer.subscribe(f"{OWN}/status")
                assert viewer.next()[1] == b"online"
            assert (running.folder / "data/mosquitto.db").stat().st_uid != 0
    finally:
        shutil.rmtree(folder)
