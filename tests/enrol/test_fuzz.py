"""Whatever comes: no crash, no certificate, no word of a secret; and first site files that are always in order."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.enrol.card import IdentityPart, NodeFile, NodePart, PagePart, ServerPart
from edge.enrol.first import Bucket, city, first_site_file
from edge.rules import RULES
from edge.site.parse import parse
from tests.enrol.builders import Box, Place

CSR = Box().csr()
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
TOKENS = st.one_of(st.text(alphabet="abcXYZ019_-", max_size=70), st.text(max_size=40), JSON)


@st.composite
def requests(draw: st.DrawFn) -> str:
    """A certificate request with something changed in it, or anything else."""
    kind = draw(st.sampled_from(["cut", "byte", "any", "whole"]))
    if kind == "any":
        return draw(st.text(max_size=200))
    if kind == "whole":
        return CSR
    at = draw(st.integers(0, len(CSR) - 1))
    return CSR[:at] if kind == "cut" else CSR[:at] + draw(st.characters(max_codepoint=0xFFFF)) + CSR[at + 1 :]


@pytest.mark.parametrize("known", [False, True])
def test_the_door_takes_whatever_comes(place: Place, proof: bool, known: bool) -> None:
    true = place.token(hours=700)

    @settings(
        max_examples=2000 if proof else 30,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(token=TOKENS, csr=requests() | JSON, more=st.dictionaries(st.text(), JSON, max_size=2))
    def knock(token: object, csr: object, more: dict[str, object]) -> None:
        place.clock.advance(8.0)  # under the limit of one address
        body = {**more, "token": true if known else token, "csr": csr}
        content = json.dumps(body).encode("utf-8", "surrogatepass")
        answer = place.client.post("/enrol", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in ({200, 400, 413} if known else {400, 403, 413}), answer.text
        assert true not in answer.text
        if answer.status_code != 200:
            assert set(answer.json()) == {"code", "message"}

    knock()
    assert len(place.states()) <= 1
    assert not known or place.ask(true, Box().csr()).status_code in {200, 403}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300), kind=st.sampled_from(["application/json", "text/plain", ""]))
def test_bodies_of_any_kind(place: Place, body: bytes, kind: str) -> None:
    place.clock.advance(8.0)
    answer = place.client.post("/enrol", content=body, headers={"Content-Type": kind})
    assert answer.status_code in {400, 415}
    assert set(answer.json()) == {"code", "message"}


IDENTS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True)
WORDS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=40)
ZONES = [
    line.split("\t")[2]
    for line in (files("tzdata") / "zoneinfo" / "zone.tab").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


@settings(max_examples=60)
@given(
    site=IDENTS, node=IDENTS, name=WORDS, zone=st.sampled_from(ZONES), org=WORDS.filter(bool),
    bucket=st.none() | WORDS.filter(bool), password=st.none() | WORDS.filter(lambda w: len(w) >= 8),
    language=st.sampled_from(["zh-CN", "en"]),
)  # fmt: skip
def test_a_first_site_file_is_in_order_whatever_the_card_says(  # noqa: PLR0917 as many as the card says
    site: str, node: str, name: str, zone: str, org: str, bucket: str | None, password: str | None, language: Any
) -> None:
    server = ServerPart(
        name="s", enrol_url="https://s:8444/enrol", evidence_url="https://s:8443", mqtt_host="s", influx_org=org
    )
    card = NodeFile(
        node=NodePart(site=site, node=node, name=name, language=language, time_zone=zone),
        server=server,
        identity=IdentityPart(mode="token"),
        page=PagePart(password=password),
    )
    target = Bucket("https://i:8086", org, bucket) if bucket else None
    made = parse(first_site_file(card, target, Path("/etc/banksman")), Path("/etc/banksman/site.yaml"), RULES)
    assert (made.site.id, made.node.id, made.cameras[0].name, made.site.timezone) == (site, node, name, zone)
    assert (made.uplinks.influx.bucket if made.uplinks.influx else None) == (bucket or None)
    assert (made.page.password.get_secret_value() if made.page and made.page.password else None) == password


def test_every_city_lies_where_its_zone_is() -> None:
    """Degrees by the sign and number of digits of ISO 6709; these are known."""
    assert city("Asia/Shanghai") == (31.2333, 121.4667)
    assert city("Asia/Urumqi") == (43.8, 87.5833)
    assert city("America/Los_Angeles") == (34.0522, -118.2428)
    assert city("America/Sao_Paulo") == (-23.5333, -46.6167)
    assert all(abs(lat) <= 90 and abs(lon) <= 180 for lat, lon in map(city, ZONES))
