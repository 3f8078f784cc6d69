"""A worker with a mistake that somebody could make, so that the kill test can show that it finds it.

python -m tests.dispatch.kill.hasty DISPATCH.yaml: acknowledges to the nodes before it stores.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from broker.dispatch.clock import SystemClock
from broker.dispatch.database import open_engine
from broker.dispatch.intake import Alarm, Received, read
from broker.dispatch.link import Link
from broker.dispatch.settings import load
from broker.dispatch.worker import Worker
from broker.messages import Ack, NodeTopics
from deploy.cli import stop_on_signals
from tests.dispatch.site_server import Workers


class Hasty(Worker):
    def _store(self, batch: Sequence[Received]) -> Mapping[tuple[str, str], list[str]]:
        for received in batch:
            arrival = read(received)
            if isinstance(arrival, Alarm):
                event = arrival.event
                self._link.send(NodeTopics(event.site, event.node).ack, Ack(ids=(event.id,)).to_payload())
        time.sleep(0.05)
        return super()._store(batch)


class HastyWorkers(Workers):
    """Two of them."""

    module = "tests.dispatch.kill.hasty"


if __name__ == "__main__":
    settings, clock = load(Path(sys.argv[1])), SystemClock()
    engine = open_engine(settings.database.get_secret_value())
    Hasty(engine, Link(settings.mqtt, clock), clock, {}, {}).run(stop_on_signals())
