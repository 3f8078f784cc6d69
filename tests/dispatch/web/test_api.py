"""JSON: the same rights as the pages; whatever is thrown at it, it answers as its own description says."""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok

from tests.dispatch.web.builders import PASSWORD, Bench, jpeg

JSON = {"Accept": "application/json"}
EXAMPLES = 200 if os.environ.get("BANKSMAN_PROOF") else 8


def test_a_program_logs_in_looks_and_takes_a_step(bench: Bench) -> None:
    alarm = bench.alarm()
    sha256 = bench.keep(alarm, jpeg())
    case = bench.case_of(alarm).id
    program = bench.reader()
    program.headers.update(JSON)
    del program.headers["Origin"]
    me = program.post("/api/login", json={"name": "wang", "password": PASSWORD}).json()
    assert (me["name"], me["roles"]) == ("王强", {"north": ["foreman"]})
    program.headers["X-CSRF-Token"] = me["csrf"]
    assert [s["id"] for s in program.get("/api/sites").json()] == ["north"]
    assert program.get("/api/cases?over=false").json()["cases"][0]["id"] == case
    for _ in range(2):
        taken = program.post(f"/api/cases/{case}/take", json={"after": 1})
        assert (taken.status_code, taken.json()["state"]) == (200, "assigned")
    assert program.post(f"/api/cases/{case}/close", json={}).status_code == 409
    assert program.post(f"/api/cases/{case}/done", json={"text": " "}).json()["code"] == "empty"
    history = program.get(f"/api/cases/{case}/history").json()
    assert [line["action"] for line in history] == ["opened", "taken"]
    assert history[1]["previous"] == history[0]["hash"]
    assert [f["sha256"] for f in program.get(f"/api/cases/{case}/evidence").json()] == [sha256]


def test_nobody_and_strangers_get_nothing(bench: Bench) -> None:
    case = bench.case()
    paths = ("/api/cases", f"/api/cases/{case}", f"/api/cases/{case}/history", f"/api/cases/{case}/evidence",
             "/api/me", "/api/sites", "/api/openapi.json")  # fmt: skip
    assert {bench.reader().get(path, headers=JSON).status_code for path in paths} == {401}
    stranger = bench.logged_in("smith")
    assert {stranger.get(path, headers=JSON).status_code for path in paths[1:4]} == {404}
    assert stranger.get("/api/cases", headers=JSON).json() == {"total": 0, "cases": []}


@pytest.mark.parametrize(
    "body", ["{", "[]", "null", '{"text": 1}', '{"extra": 1}', '{"after": -1}', '{"after": 1e400}']
)
def test_a_body_that_is_not_ours_is_told(bench: Bench, body: str) -> None:
    case = bench.case()
    reader = bench.logged_in("wang")
    csrf = reader.get("/api/me", headers=JSON).json()["csrf"]
    headers = JSON | {"X-CSRF-Token": csrf, "Content-Type": "application/json"}
    assert reader.post(f"/api/cases/{case}/take", content=body, headers=headers).status_code == 422


def test_too_much_is_refused_with_and_without_a_length(bench: Bench) -> None:
    reader = bench.logged_in("wang")
    headers = JSON | {"Content-Type": "application/json"}
    many = b" " * (100 << 10)
    assert reader.post("/api/login", content=many, headers=headers).status_code == 413
    assert reader.post("/api/login", content=iter([many]), headers=headers).status_code == 413


def test_the_api_is_as_it_says(bench: Bench) -> None:
    """schemathesis: what the description allows and what it does not, for every operation."""
    case = bench.case()
    reader = bench.logged_in("chen")
    me = reader.get("/api/me", headers=JSON).json()
    document: dict[str, Any] = reader.get("/api/openapi.json", headers=JSON).json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=bench.url)
    headers = {"X-CSRF-Token": me["csrf"], "Cookie": f"banksman={reader.cookies['banksman']}"} | JSON
    seen = set()
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        @given(generated=operation.as_strategy())
        def run(generated: Any) -> None:
            if "case_id" in (generated.path_parameters or {}):
                generated.path_parameters["case_id"] = case  # so that it finds something
            response = generated.call(headers=headers, allow_redirects=False)
            generated.validate_response(response)
            seen.add(generated.operation.label)

        run()
    assert len(seen) >= 9
