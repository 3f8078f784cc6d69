"""Dispatch as far as delivery goes, to be killed too: stores in SQLite, commits, then acknowledges to broker and node.

    python -m tests.kill.dispatch DATABASE PORT [SABOTAGE]

Commits what has come every `COMMIT_S`, as a busy service would, so that a kill often finds something uncommitted.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker.messages import MAX_IDS, Ack, AlarmMessage, Kind, NodeTopics, parse_topic

COMMIT_S = 0.03

SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    id TEXT PRIMARY KEY, alarm TEXT NOT NULL, seq INTEGER NOT NULL, sent REAL NOT NULL, received REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS arrival (id TEXT NOT NULL) STRICT;
"""


class Dispatch:
    """One connection; runs until the process is killed."""

    def __init__(self, database: Path, port: int, sabotage: str) -> None:
        self._sabotage = sabotage
        self._lock = threading.Lock()
        self._new: list[paho.MQTTMessage] = []
        self._db = sqlite3.connect(database, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(SCHEMA)
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id="dispatch",
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        client.on_connect = lambda c, *_: c.subscribe("banksman/1/+/+/alarm/+", qos=1)
        client.on_message = lambda _c, _d, message: self._take(message)
        client.reconnect_delay_set(min_delay=1, max_delay=1)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600
        # clean_start False from the first connect on: else Mosquitto does not keep the session over its own restart.
        client.connect_async("127.0.0.1", port, clean_start=False, properties=properties)

    def _take(self, message: paho.MQTTMessage) -> None:
        with self._lock:
            self._new.append(message)

    def run(self) -> None:
        self._client.loop_start()
        while True:
            time.sleep(COMMIT_S)
            with self._lock:
                batch, self._new = self._new[:MAX_IDS], self._new[MAX_IDS:]
            if not batch:
                continue
            if self._sabotage == "dispatch acknowledges first":
                self._acknowledge(batch)
            self._store(batch)
            if self._sabotage != "dispatch acknowledges first":
                self._acknowledge(batch)

    def _store(self, batch: list[paho.MQTTMessage]) -> None:
        now = time.time()
        self._db.execute("BEGIN IMMEDIATE")
        for message in batch:
            alarm = AlarmMessage.from_payload(message.payload)
            self._db.execute("INSERT INTO arrival VALUES (?)", (alarm.id,))
            self._db.execute(
                "INSERT OR IGNORE INTO event VALUES (?,?,?,?,?)", (alarm.id, alarm.alarm, alarm.seq, alarm.at, now)
            )
        if self._sabotage == "dispatch acknowledges first":
            time.sleep(2 * COMMIT_S)
        self._db.execute("COMMIT")

    def _acknowledge(self, batch: list[paho.MQTTMessage]) -> None:
        topic = parse_topic(batch[0].topic)
        assert topic.kind is Kind.ALARM
        assert topic.node is not None
        ids = tuple(AlarmMessage.from_payload(m.payload).id for m in batch)
        self._client.publish(NodeTopics(topic.site, topic.node).ack, Ack(ids=ids).to_payload(), qos=1)
        for message in batch:
            self._client.ack(message.mid, message.qos)


if __name__ == "__main__":
    Dispatch(Path(sys.argv[1]), int(sys.argv[2]), *(sys.argv[3:] or [""])).run()
