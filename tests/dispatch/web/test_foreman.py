"""What a foreman does from alarm to answer, over real HTTP."""

from __future__ import annotations

from tests.dispatch.web.builders import Bench


def test_from_alarm_to_closed(bench: Bench) -> None:
    alarm = bench.alarm(place="trench")
    case = bench.case_of(alarm).id
    foreman = bench.logged_in("wang")
    assert "No hard hat" in foreman.get("/open").text
    at = f"/cases/{case}"
    for step, fields in (
        ("take", {}),
        ("done", {"text": "helmets handed out"}),
        ("answer", {"text": "the reporter was told"}),
    ):
        answer = foreman.submit(f"{at}/{step}", fields)
        assert (answer.status_code, answer.headers["location"]) == (303, at), step
    assert bench.now(case).state == "answered"
    assert foreman.submit(f"{at}/close").status_code == 409  # the alarm still holds, and no reason is given
    bench.alarm(alarm=alarm, event="cleared", place="trench", subjects=0, seq=1000)
    assert foreman.submit(f"{at}/close").status_code == 303
    assert bench.now(case).state == "closed"
    assert bench.ledger(case) == ["opened", "taken", "done", "answered", "cleared", "closed"]
