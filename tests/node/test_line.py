"""Before somebody is blamed, a closer look asks whether there is anybody at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge.clock import ManualClock
from edge.detect import LookError
from edge.line import CameraLine
from edge.rules import RULES
from edge.values import Box, Image, Reason, Verdict, WearState
from tests.node.builders import MODEL, NOON, WHOLE, detections, frame, site_file, worker

BARE = worker(helmet=False, vest=False)
SITE = site_file(
    {"id": "trench", "kind": "work", "polygon": WHOLE}, {"id": "closed", "kind": "no_entry", "polygon": WHOLE}
)
Verdicts = dict[str, tuple[Verdict, Reason]]


def judged(look: Callable[[Image, Box], WearState] | None) -> tuple[Verdicts, tuple[LookError | None, ...]]:
    """What the rules about people say of somebody bare, and how the closer looks went."""
    line = CameraLine(SITE, SITE.cameras[0], MODEL, RULES, closer={"person": look} if look else {})
    looked = line.judge(frame(ManualClock(wall=NOON).now()), detections(BARE))
    found = {f.instance.rule: (f.judgements[0].verdict, f.judgements[0].reason) for f in looked.findings}
    return {rule: found[rule] for rule in ("helmet", "hi_vis", "intrusion")}, looked.closer


def fails(image: Image, box: Box) -> WearState:
    del image, box
    raise LookError("out of memory")


BLAMED: Verdicts = {
    "helmet": (Verdict.VIOLATION, Reason.BARE),
    "hi_vis": (Verdict.VIOLATION, Reason.BARE),
    "intrusion": (Verdict.VIOLATION, Reason.INSIDE),
}


@pytest.mark.parametrize(
    ("look", "wanted"),
    [
        pytest.param(None, BLAMED, id="no such look"),
        pytest.param(lambda *_: WearState.ON, BLAMED, id="somebody"),
        pytest.param(lambda *_: WearState.UNSEEN, BLAMED, id="not sure: danger weighs more than a false alarm"),
        pytest.param(fails, BLAMED, id="no answer: as not sure"),
        pytest.param(
            lambda *_: WearState.OFF, dict.fromkeys(BLAMED, (Verdict.UNKNOWN, Reason.UNCERTAIN)), id="surely nobody"
        ),
    ],
)
def test_nobody_is_blamed_who_is_not_there(look: Callable[[Image, Box], WearState] | None, wanted: Verdicts) -> None:
    assert judged(look)[0] == wanted


def test_a_place_that_breaks_three_rules_is_looked_at_once() -> None:
    assert judged(lambda *_: WearState.ON)[1] == (None,)
    assert [str(error) for error in judged(fails)[1]] == ["out of memory"]


def test_who_is_in_order_is_not_looked_at() -> None:
    site = site_file()
    line = CameraLine(site, site.cameras[0], MODEL, RULES, closer={"person": fails})
    assert line.judge(frame(ManualClock(wall=NOON).now()), detections(worker())).closer == ()
