"""One-to-one assignment of least total cost."""

from __future__ import annotations

import lap
import numpy as np
import numpy.typing as npt

_BLOCKED = 1e6


def best_pairs(cost: npt.NDArray[np.float64], limit: float) -> list[tuple[int, int]]:
    """Pairs (row, column) that together cost least, each row and each column used once at most.

    cost: (n, m), not negative; `inf` forbids a pair. limit: leaving a row and a column unpaired costs this much, so no
    pair above it is ever made, and none that would force a better one apart for the sake of one pair more.
    Jonker and Volgenant 1987, as `lap` implements it; rows come in rising order.
    """
    if not cost.size or float(cost.min()) > limit:
        return []
    _, columns, _ = lap.lapjv(np.minimum(cost, _BLOCKED), extend_cost=True, cost_limit=limit)
    return [(row, int(column)) for row, column in enumerate(columns) if column >= 0]
