"""Zones saved by the page: into the site file on disk, or refused in words, with the file as it was."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from edge.page.app import zones_version
from edge.rules import RULES
from edge.site.load import check
from edge.text import LANGUAGES
from tests.page.builders import BenchNode
from tests.page.conftest import Reader

HOURGLASS = [[0.1, 0.1], [0.4, 0.4], [0.4, 0.1], [0.1, 0.4]]
SQUARE = [[0.1, 0.1], [0.4, 0.1], [0.4, 0.4], [0.1, 0.4]]


def zone(**fields: Any) -> dict[str, Any]:
    return {"id": "trench", "name": "Trench", "kind": "work", "polygon": SQUARE, "hours": [], **fields}


def base_of(node: BenchNode) -> str:
    return zones_version(node.site().camera("gate"))


def save(reader: Reader, node: BenchNode, *zones: Any, base: str | None = None, camera: str = "gate") -> httpx.Response:
    version = base_of(node) if base is None else base
    return reader.post(f"/zones/{camera}", json={"base": version, "zones": list(zones)})


def test_saved_zones_are_in_the_site_file_and_the_rest_of_it_is_untouched(reader: Reader, node: BenchNode) -> None:
    hours = [{"start": "19:00:00", "end": "06:00:00"}]
    answer = save(reader, node, zone(name="沟槽"), zone(id="new", kind="pit", hours=hours))
    assert answer.status_code == 200
    on_disk = node.on_disk()
    gate = on_disk.camera("gate")
    assert [(z.id, z.name, z.kind, z.polygon) for z in gate.zones] == [
        ("trench", "沟槽", "work", [tuple(p) for p in SQUARE]),
        ("new", "Trench", "pit", [tuple(p) for p in SQUARE]),
    ]
    assert (gate.zones[1].hours[0].start.hour, gate.zones[1].hours[0].end.hour) == (19, 6)
    assert gate.fixtures
    assert on_disk.camera("yard") is not None
    text = node.path.read_text(encoding="utf-8")
    assert "# Written by hand; this line must survive every save." in text
    assert "沟槽" in text
    assert answer.json() == {"base": zones_version(gate)}


def test_saving_again_goes_on_from_the_answer(reader: Reader, node: BenchNode) -> None:
    base = save(reader, node, zone()).json()["base"]
    assert save(reader, node, zone(kind="pit"), base=base).status_code == 200
    assert node.on_disk().camera("gate").zones[0].kind == "pit"


def test_all_zones_can_be_removed(reader: Reader, node: BenchNode) -> None:
    assert save(reader, node).status_code == 200
    assert node.on_disk().camera("gate").zones == []


def test_two_who_edit_at_once_find_out(reader: Reader, node: BenchNode) -> None:
    base = zones_version(node.site().camera("gate"))
    assert save(reader, node, zone(name="mine"), base=base).status_code == 200
    late = save(reader, node, zone(name="theirs"), base=base)
    assert late.status_code == 409
    assert "Somebody else changed these zones" in late.json()["errors"][0]
    assert node.on_disk().camera("gate").zones[0].name == "mine"


def test_of_many_saves_at_the_same_moment_one_wins(url: str, node: BenchNode) -> None:
    base = zones_version(node.site().camera("gate"))

    def one(n: int) -> int:
        with Reader(url) as reader:
            return save(reader, node, zone(name=f"number {n}"), base=base).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(one, range(8))) == [200, *[409] * 7]


BAD = {
    "id": (zone(id="Trench 1"), "small letters, digits and -"),
    "name": (zone(name="x" * 81), "at most 80 letters"),
    "kind": (zone(kind="canteen"), "choose a kind"),
    "two corners": (zone(polygon=SQUARE[:2]), "3 to 64 points"),
    "65 corners": (zone(polygon=SQUARE * 17), "3 to 64 points"),
    "outside": (zone(polygon=[[0.1, 0.1], [1.2, 0.1], [0.5, 0.5]]), "inside the picture"),
    "crossing": (zone(polygon=HOURGLASS), "“trench”: edges of the outline cross or touch each other"),
    "crossing edges": (zone(polygon=HOURGLASS), "1-2 × 3-4"),
    "on a line": (zone(polygon=[[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]]), "on one line"),
    "no kind": ({k: v for k, v in zone().items() if k != "kind"}, "choose a kind"),
    "unknown field": (zone(colour="red"), "could not be read"),
    "bad hours": (zone(hours=[{"start": "25:00", "end": "x"}]), "could not be read"),
    "not a zone": (7, "could not be read"),
    "nested": (zone(polygon=[[[[[]]]]]), "3 to 64 points"),
    "id of a fixture": (zone(id="north-fence"), "north-fence"),
}


@pytest.mark.parametrize(("bad", "words"), BAD.values(), ids=BAD)
def test_bad_zones_are_refused_in_words(reader: Reader, node: BenchNode, bad: Any, words: str) -> None:
    before = node.path.read_bytes()
    answer = save(reader, node, bad)
    assert answer.status_code == 422
    assert words in answer.json()["errors"][0]
    assert node.path.read_bytes() == before


def test_every_mistake_is_named_at_once(reader: Reader, node: BenchNode) -> None:
    answer = save(reader, node, zone(id="A"), zone(id="b", kind="x"), zone(id="c", polygon=[]))
    told = answer.json()["errors"]
    assert [re.findall("“(.+?)”", line)[0] for line in told] == ["A", "b", "c"]


def test_an_id_used_twice(reader: Reader, node: BenchNode) -> None:
    answer = save(reader, node, zone(), zone())
    assert answer.status_code == 422
    assert "Used twice: trench" in answer.json()["errors"][0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_refusals_are_in_the_readers_language(reader: Reader, node: BenchNode, language: str) -> None:
    reader.get("/", params={"lang": language})
    line = save(reader, node, zone(kind="x")).json()["errors"][0]
    assert ("请从列表中选择类型" in line) == (language == "zh-CN")


@pytest.mark.parametrize("language", LANGUAGES)
def test_crossing_edges_are_told_in_the_words_of_check(reader: Reader, node: BenchNode, language: str) -> None:
    answer = reader.post(
        "/zones/gate", params={"lang": language}, json={"base": base_of(node), "zones": [zone(polygon=HOURGLASS)]}
    )
    square = "[[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]"
    node.path.write_text(node.path.read_text(encoding="utf-8").replace(square, str(HOURGLASS)), encoding="utf-8")
    (told,) = check(node.path, RULES, language)
    assert answer.json()["errors"] == [told.message]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"zones": []}', b"\xff\xfe", b"[" * 100_000, b'{"base":"","zones":NaN}']
)
def test_what_is_no_request_of_ours(reader: Reader, node: BenchNode, body: bytes) -> None:
    before = node.path.read_bytes()
    answer = reader.post("/zones/gate", content=body)
    assert answer.status_code in (409, 422)
    assert answer.json()["errors"]
    assert node.path.read_bytes() == before


def test_unknown_camera(reader: Reader, node: BenchNode) -> None:
    assert save(reader, node, camera="nowhere").status_code == 404
    assert reader.get("/zones/nowhere").status_code == 404


@pytest.mark.parametrize(("language", "words"), [("en", "unknown key"), ("zh-CN", "现场文件将不正确")])
def test_a_file_that_somebody_has_broken_meanwhile_is_not_overwritten(
    reader: Reader, node: BenchNode, language: str, words: str
) -> None:
    reader.get("/", params={"lang": language})
    node.path.write_text(node.path.read_text(encoding="utf-8") + "\nnonsense: 1\n", encoding="utf-8")
    before = node.path.read_bytes()
    answer = save(reader, node, zone())
    assert answer.status_code == 422
    (line,) = answer.json()["errors"]
    assert "site.yaml:32:1" in line
    assert words in line
    assert ("unknown key" in line) == (language == "en")
    assert node.path.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_said(reader: Reader, node: BenchNode) -> None:
    node.path.unlink()
    node.path.mkdir()
    answer = save(reader, node, zone())
    assert answer.status_code in (422, 500)
    assert "/" not in answer.json()["errors"][0] or "site.yaml" in answer.json()["errors"][0]


def test_editor_holds_zones_and_fixtures(reader: Reader, node: BenchNode) -> None:
    html = reader.get("/zones", follow_redirects=True).text
    assert zones_version(node.site().camera("gate")) in html
    for piece in ("trench", "pit-edge", "North fence", "no_entry"):
        assert piece in html
