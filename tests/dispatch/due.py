"""What is due, done at once: what a worker's threads do in turn."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine

from broker.dispatch.clock import Clock
from broker.dispatch.jobs import Handler, claim, do


def run_due(engine: Engine, handlers: Mapping[str, Handler], clock: Clock, limit: int) -> int:
    """Gives how many were tried."""
    claimed = claim(engine, handlers, clock.now(), limit)
    # In a thread, as a worker does: in that of the tests a browser may keep an event loop running, and a channel
    # starts one of its own.
    with ThreadPoolExecutor(1) as worker:
        worker.submit(do, engine, claimed, handlers, clock).result()
    return len(claimed)
