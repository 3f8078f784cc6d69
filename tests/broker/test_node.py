"""The node against the production broker: its site file, its certificate, TLS 1.3, and dispatch behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.messages import Ack, AlarmMessage
from broker.pki import names
from edge.clock import SystemClock
from edge.doctor.broker import examine_broker
from edge.site.load import load
from edge.site.model import Mqtt
from tests.broker.builders import DISPATCH, SITE, TOPIC, B, Installation, watching
from tests.journal.builders import event
from tests.mqtt.builders import NAME, Node, running
from tests.waiting import until

OWN = f"{TOPIC}/{NAME}"
NODE = names.node(NAME)
SITE_FILE = """\
site: {{id: north-yard, latitude: 39.91, longitude: 116.4}}
node: {{id: gate-03}}
cameras:
  - id: gate
    source: {{type: usb}}
uplinks:
  mqtt:
    host: localhost
    port: {port}
    ca: {ca}
    cert: {cert}
    key: {key}
    resend_s: 1
"""


def uplink_of(place: Installation, folder: Path, subject: names.Subject = NODE) -> Mqtt:
    """What stands in the site file of a node that was given its three files."""
    card = place.copy(subject, folder / "node")
    file = folder / "site.yaml"
    file.write_text(SITE_FILE.format(port=place.port, ca=place.pki.ca_file, cert=card.cert, key=card.key))
    mqtt = load(file, ()).uplinks.mqtt
    assert mqtt is not None
    return mqtt


@pytest.fixture
def node(place: Installation, tmp_path: Path) -> Iterator[Node]:
    with running(tmp_path, uplink_of(place, tmp_path)) as one:
        yield one


def test_an_alarm_goes_to_dispatch_and_its_ack_comes_back(place: Installation, node: Node) -> None:
    with place.client(DISPATCH) as dispatch:
        dispatch.subscribe(f"$share/{place.group}/{TOPIC}/+/+/alarm/+")
        made = node.journal.alarm(event(node.clock.now()))
        node.uplink.wake()
        topic, payload = dispatch.next()
        assert topic == f"{OWN}/alarm/{made.instance.rule}"
        came = AlarmMessage.from_payload(payload)
        assert came.id == made.id
        assert node.journal.pending_alarms(1) == (made,)
        dispatch.publish(f"{OWN}/ack", Ack(ids=(came.id,)).to_payload())
        node.delivered()
        until(lambda: node.uplink.detail == "", "nothing to complain about")


def test_a_node_that_the_broker_loses_is_announced_and_comes_back(place: Installation, node: Node) -> None:
    """Somebody with the same certificate: another box of the same name. The uplink says so, and returns."""
    node.up()
    with watching(place, f"{OWN}/status") as viewer:
        with place.client(NODE) as _twin:
            until(lambda: node.uplink.cause == "taken_over", "the node says that somebody took its name")
        until(lambda: b'"offline"' in viewer.next()[1], "its last will")
        until(lambda: b'"online"' in viewer.next()[1], "online again")
        node.up()


def test_the_certificate_of_another_node_is_told_as_denied(place: Installation, tmp_path: Path) -> None:
    with running(tmp_path, uplink_of(place, tmp_path, B)) as other:
        other.journal.alarm(event(other.clock.now()))
        other.uplink.wake()
        until(lambda: other.uplink.cause == "denied", "denied")


def test_the_doctor_logs_in_where_no_node_runs(place: Installation, tmp_path: Path) -> None:
    result = examine_broker(uplink_of(place, tmp_path), SITE, "gate-03", SystemClock(trusted=True).now().wall)
    assert (result.code, result.fields) == ("ok", {"days": 397})


def test_the_doctor_does_not_push_off_the_node_that_runs(place: Installation, tmp_path: Path) -> None:
    settings = uplink_of(place, tmp_path)
    with watching(place, f"{OWN}/status") as viewer, running(tmp_path, settings) as node:
        assert b'"online"' in viewer.next()[1]
        result = examine_broker(settings, SITE, "gate-03", node.clock.now().wall, node_runs=True)
        assert (result.code, result.fields) == ("node_runs", {"days": 397})
        node.reporter.state = node.reporter.state.model_copy(update={"model": "another"})
        node.uplink.status_changed()
        assert b'"another"' in viewer.next()[1]  # nothing in between: no last will, no new greeting
