"""What the three rules about what people wear have in common, as a table that each of their tests plays."""

from __future__ import annotations

import pytest

from edge.rules.people import SMALLEST_SHARE
from edge.rules.rule import TOO_DARK
from edge.values import Reason, Verdict
from tests.rules.builders import OFF, ON, UNSEEN, W

OK, BAD, DIM = Verdict.OK, Verdict.VIOLATION, Verdict.UNKNOWN
_SMALLEST = SMALLEST_SHARE * W

COLUMNS = ("wear", "who", "brightness", "settings", "expected")
TABLE = [
    pytest.param(ON, {}, 0.5, {}, (OK, Reason.SEEN), id="worn"),
    pytest.param(OFF, {}, 0.5, {}, (BAD, Reason.BARE), id="bare"),
    pytest.param(UNSEEN, {}, 0.5, {}, (DIM, Reason.UNCERTAIN), id="neither seen"),
    pytest.param(OFF, {"height": _SMALLEST - 1}, 0.5, {}, (DIM, Reason.TOO_SMALL), id="far away"),
    pytest.param(OFF, {"height": _SMALLEST + 1}, 0.5, {}, (BAD, Reason.BARE), id="just near enough"),
    pytest.param(ON, {"height": _SMALLEST - 1}, 0.5, {}, (DIM, Reason.TOO_SMALL), id="far away is not ok either"),
    pytest.param(OFF, {"height": 99}, 0.5, {"min_height_px": 100}, (DIM, Reason.TOO_SMALL), id="smaller than declared"),
    pytest.param(OFF, {"height": 30}, 0.5, {"min_height_px": 30}, (BAD, Reason.BARE), id="as declared"),
    pytest.param(OFF, {}, TOO_DARK - 0.01, {}, (DIM, Reason.TOO_DARK), id="dark"),
    pytest.param(OFF, {}, TOO_DARK, {}, (BAD, Reason.BARE), id="just light enough"),
    pytest.param(OFF, {"upper_hidden": 0.8}, 0.5, {}, (DIM, Reason.OCCLUDED), id="behind somebody"),
    pytest.param(OFF, {"upper_hidden": 0.1}, 0.5, {}, (BAD, Reason.BARE), id="touched by somebody"),
    pytest.param(ON, {"upper_hidden": 0.8}, 0.5, {}, (DIM, Reason.OCCLUDED), id="maybe somebody else's"),
    pytest.param(OFF, {"foot": 800}, 0.5, {}, (BAD, Reason.BARE), id="feet below the picture"),
]


AT_THE_EDGE = [
    pytest.param({"x": 20}, id="left"),
    pytest.param({"x": W - 20}, id="right"),
    pytest.param({"foot": 250, "height": 260}, id="top"),
]
"""People who go on beyond the edge of the picture."""
