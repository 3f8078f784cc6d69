"""What is due, done at once: what a worker's threads do in turn."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Engine

from broker.dispatch.clock import Clock
from broker.dispatch.jobs import Handler, claim, do


def run_due(engine: Engine, handlers: Mapping[str, Handler], clock: Clock, limit: int) -> int:
    """Gives how many were tried."""
    claimed = claim(engine, handlers, clock.now(), limit)
    do(engine, claimed, handlers, clock)
    return len(claimed)
