"""`banksman dashboards …` against Grafana's rules: pushing twice changes nothing, and no hand's work is lost."""

from __future__ import annotations

import copy
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from typer.testing import CliRunner

from broker.embedded import free_port
from dashboards.alerts import QUESTIONS, RECEIVER
from dashboards.boards import BOARDS
from dashboards.panels import DATASOURCE, FOLDER
from dashboards.push import MARK
from dashboards.text import Language, catalogue
from deploy.dashboards import app
from tests.conftest import need
from tests.dashboards.stub_grafana import EDITOR, SCHEMA, TOKEN, VIEWER, StubGrafana, Trouble
from tests.influx import TOKEN as INFLUX_TOKEN
from tests.influx import Influx
from tests.servers import HOST

BANKSMAN = Path(sys.executable).with_name("banksman")
SITE = "banksman-site"
ROBOT = "https://robot.example/send?key=5ecr3t"
INFLUX = "http://influx.example:8086"
WHOLE = ("--influx", INFLUX, "--contact", "email:it@example.org", "--contact", f"wecom:{ROBOT}")
KNOWN_LIMITS = "o2=19.5,23.5 h2s=7 co=17 ch4=10 noise=55,70 temperature=37,40"
say = catalogue("en")


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    told: str


def environment(stub: StubGrafana) -> dict[str, str]:
    return {
        "BANKSMAN_GRAFANA_URL": stub.url,
        "BANKSMAN_GRAFANA_TOKEN": TOKEN,
        "BANKSMAN_INFLUX_TOKEN": INFLUX_TOKEN,
        "BANKSMAN_DISPATCH_URL": "https://site.example:8090",
        "BANKSMAN_BOARDS_LANG": "en",
    }


def run(stub: StubGrafana, *words: str, lang: str = "en", **more: str) -> Done:
    """Without a terminal."""
    result = CliRunner().invoke(app, [*words, "--lang", lang], env=environment(stub) | more)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    for secret in (TOKEN, INFLUX_TOKEN, ROBOT):
        assert secret not in result.output
    return Done(result.exit_code, result.output)


def at_a_terminal(stub: StubGrafana, *words: str, answer: str) -> Done:
    """The installed program with a terminal, at which somebody answers the question."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [BANKSMAN, "dashboards", *words, "--lang", "en"],
        stdin=side, stdout=side, stderr=side, env=os.environ | environment(stub),
    )  # fmt: skip
    os.close(side)
    told = b""
    try:
        while True:
            try:
                told += os.read(main, 65536)
            except OSError:  # the other end is closed
                break
            if told.endswith(b"[y/N] "):
                os.write(main, f"{answer}\n".encode())
                told += b"\n"
    finally:
        code = process.wait()
        os.close(main)
    return Done(code, told.decode())


def renamed(board: dict[str, Any]) -> None:
    board["panels"][0]["title"] = "My own words"


def content(stub: StubGrafana) -> dict[str, Any]:
    """What is there, without what is counted, and without the mark."""
    boards = {}
    for uid, one in stub.boards.items():
        board = {key: value for key, value in one["dashboard"].items() if key not in ("id", "version")}
        variables = [variable for variable in board["templating"]["list"] if variable["name"] != MARK]
        boards[uid] = board | {"templating": {"list": variables}, "folder": one["meta"]["folderUid"]}
    sources = {uid: source | {"version": 0} for uid, source in stub.sources.items()}
    rules = {uid: rule | {"id": 0} for uid, rule in stub.rules.items()}
    kept = {"boards": boards, "sources": sources, "rules": rules, "contacts": stub.contacts, "in": stub.folders}
    return copy.deepcopy(kept)


@pytest.fixture
def stub() -> Iterator[StubGrafana]:
    with StubGrafana() as stub:
        yield stub


@pytest.fixture
def pushed(stub: StubGrafana) -> StubGrafana:
    """Everything was pushed; what is written from now on is counted."""
    done = run(stub, "push", *WHOLE)
    assert done.code == 0, done.told
    stub.writes.clear()
    return stub


# -- twice -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["12.4.1", "13.0.1"])
@pytest.mark.parametrize("alters", [False, True])
@pytest.mark.parametrize("empty", [False, True])
def test_pushing_twice_changes_nothing(version: str, alters: bool, empty: bool) -> None:
    with StubGrafana(version, alters=alters, empty=empty) as stub:
        done = run(stub, "push", *WHOLE)
        assert done.code == 0, done.told
        assert stub.folders.keys() == {FOLDER}
        assert stub.sources.keys() == {DATASOURCE}
        assert stub.boards.keys() == BOARDS.keys()
        assert len(stub.rules) == len(QUESTIONS)
        assert {point["type"] for point in stub.contacts.values()} == {"email", "wecom"}
        assert {rule["notification_settings"]["receiver"] for rule in stub.rules.values()} == {RECEIVER}
        state = stub.state()
        stub.writes.clear()
        assert run(stub, "push", *WHOLE).code == 0
        assert run(stub, "diff", *WHOLE).code == 0
        assert stub.writes == []
        assert stub.state() == state


def test_a_new_version_takes_the_place_of_the_one_before_unasked(pushed: StubGrafana) -> None:
    assert run(pushed, "diff", "--zone", "Europe/Berlin").code == 1
    assert pushed.writes == []
    assert run(pushed, "push", "--zone", "Europe/Berlin").code == 0
    assert "Europe/Berlin" in json.dumps(pushed.boards)
    assert run(pushed, "push", "--boards", "zh-CN").code == 0
    assert pushed.boards[SITE]["dashboard"]["title"] == BOARDS[SITE]("zh-CN")["title"]
    assert run(pushed, "diff", "--boards", "zh-CN").code == 0


def test_limits_that_the_site_has_confirmed_are_drawn_instead(pushed: StubGrafana) -> None:
    assert run(pushed, "push", "--limit", "h2s=5", "--limit", "noise=45,65").code == 0
    assert pushed.writes == ["POST /dashboards/db"]
    assert run(pushed, "diff", BANKSMAN_LIMITS="noise=45,65 h2s=5").code == 0
    titles = [panel["title"] for panel in pushed.boards["banksman-sensors"]["dashboard"]["panels"]]
    assert {"Hydrogen sulphide", "Noise"} <= set(titles)
    assert sum("not confirmed" in title for title in titles) == 4


@pytest.mark.parametrize("given", ["h2s", "h2s=", "h2s=5,7", "o2=19.5", "o2=23.5,19.5", "o2=20,20", "so2=1", "h2s=nan"])
def test_a_limit_that_is_none_is_told(stub: StubGrafana, given: str) -> None:
    done = run(stub, "push", *WHOLE, "--limit", given)
    assert (done.code, stub.writes) == (2, [])
    assert done.told.strip() == say("push.limit_shape", given=given, known=KNOWN_LIMITS)


def test_without_influx_and_contacts_what_is_there_stays(pushed: StubGrafana) -> None:
    assert run(pushed, "push").code == 0
    assert pushed.writes == []


def test_the_server_holds_boards_against_the_schema_of_grafana_13(stub: StubGrafana) -> None:
    need(SCHEMA.exists(), f"{SCHEMA} is not there (make tools, with npm)")
    assert stub.faults(BOARDS[SITE]("en")) == []
    wrong = BOARDS[SITE]("en")
    wrong["panels"][0]["gridPos"] = "0,0,4,4"
    status, body = stub.respond(
        "POST", "/api/dashboards/db", TOKEN, json.dumps({"dashboard": wrong, "overwrite": True}).encode()
    )
    assert status == 400, body


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_a_board_changed_by_hand_is_shown_and_stays_where_nobody_can_be_asked(pushed: StubGrafana) -> None:
    was = BOARDS[SITE]("en")["panels"][0]["title"]
    pushed.edit(SITE, renamed)
    state = pushed.state()
    for words in (("push", *WHOLE), ("diff", *WHOLE)):
        done = run(pushed, *words)
        assert done.code == 1
        assert "- My own words" in done.told
        assert f"+ {was}" in done.told
        assert pushed.writes == []
        assert pushed.state() == state
    assert "--yes" in run(pushed, "push", *WHOLE).told
    assert run(pushed, "push", "--yes").code == 0
    assert "My own words" not in json.dumps(pushed.boards)
    assert run(pushed, "diff", *WHOLE).code == 0


@pytest.mark.parametrize(("answer", "code", "stays"), [("n", 1, True), ("", 1, True), ("y", 0, False)])
def test_at_a_terminal_it_asks(pushed: StubGrafana, answer: str, code: int, stays: bool) -> None:
    pushed.edit(SITE, renamed)
    done = at_a_terminal(pushed, "push", answer=answer)
    assert done.code == code, done.told
    assert done.told.count("[y/N]") == 1
    assert "- My own words" in done.told
    assert ("My own words" in json.dumps(pushed.boards)) is stays


def test_nothing_but_a_terminal_is_asked(pushed: StubGrafana) -> None:
    pushed.edit(SITE, renamed)
    done = subprocess.run(
        [BANKSMAN, "dashboards", "push"],
        input="y\ny\ny\n", text=True, capture_output=True, env=os.environ | environment(pushed), check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "My own words" in json.dumps(pushed.boards)


def moved(stub: StubGrafana) -> None:
    stub.boards[SITE]["meta"]["folderUid"] = ""


def of_somebody_else(stub: StubGrafana) -> None:
    stub.boards[SITE]["dashboard"]["templating"]["list"].pop()
    renamed(stub.boards[SITE]["dashboard"])


def in_the_new_layout(stub: StubGrafana) -> None:
    stub.boards[SITE]["dashboard"] |= {"elements": {}}


def source_elsewhere(stub: StubGrafana) -> None:
    stub.sources[DATASOURCE]["url"] = "http://elsewhere.example:8086"


def rule_unlocked(stub: StubGrafana) -> None:
    rule = stub.rules["banksman-disk-full"]
    rule |= {"for": "1h", "provenance": ""}


@pytest.mark.parametrize("hand", [moved, of_somebody_else, in_the_new_layout, source_elsewhere, rule_unlocked])
def test_whatever_was_changed_by_hand_stays_until_it_is_confirmed(
    pushed: StubGrafana, hand: Callable[[StubGrafana], None]
) -> None:
    good = content(pushed)
    hand(pushed)
    changed = pushed.state()
    assert run(pushed, "push", *WHOLE).code == 1
    assert pushed.state() == changed
    assert pushed.writes == []
    done = run(pushed, "push", *WHOLE, "--yes")
    assert done.code == 0, done.told
    assert content(pushed) == good


def test_somebody_who_saves_between_reading_and_saving_is_asked_about(pushed: StubGrafana) -> None:
    """What was to be replaced unasked was no hand's work when it was read, and is when it is saved: 412."""
    pushed.troubles.append(Trouble("POST", "/dashboards/db", "first", first=lambda: pushed.edit(SITE, renamed)))
    done = run(pushed, "push", "--zone", "Europe/Berlin")
    assert done.code == 1
    assert "- My own words" in done.told
    assert pushed.boards[SITE]["dashboard"]["panels"][0]["title"] == "My own words"
    others = {uid: board for uid, board in pushed.boards.items() if uid != SITE}
    assert all("Europe/Berlin" in json.dumps(board) for board in others.values())


@pytest.mark.parametrize("alters", [False, True])
def test_somebody_who_saves_before_a_push_has_read_back_is_not_overwritten_by_its_second_save(alters: bool) -> None:
    with StubGrafana(alters=alters) as stub:
        assert run(stub, "push", *WHOLE).code == 0

        def soon() -> None:
            stub.troubles.append(Trouble("GET", SITE, "first", first=lambda: stub.edit(SITE, renamed)))

        stub.troubles.append(Trouble("POST", "/dashboards/db", "first", first=soon))
        run(stub, "push", "--zone", "Europe/Berlin")
        assert stub.boards[SITE]["dashboard"]["panels"][0]["title"] == "My own words"
        assert run(stub, "push", "--zone", "Europe/Berlin").code == 1
        assert stub.boards[SITE]["dashboard"]["panels"][0]["title"] == "My own words"


# -- from files --------------------------------------------------------------------------------------------------------


def test_what_comes_from_files_is_left_alone_and_said(pushed: StubGrafana) -> None:
    pushed.boards[SITE]["meta"]["provisioned"] = True
    renamed(pushed.boards[SITE]["dashboard"])
    pushed.sources[DATASOURCE] |= {"readOnly": True}
    for rule in pushed.rules.values():
        rule["provenance"] = "file"
    state = pushed.state()
    done = run(pushed, "push", *WHOLE, "--yes")
    assert done.code == 1, done.told
    assert say("push.why.file") in done.told
    assert pushed.state() == state


def test_what_an_earlier_version_left_goes(pushed: StubGrafana) -> None:
    pushed.rules["banksman-of-old"] = next(iter(pushed.rules.values())) | {"uid": "banksman-of-old", "title": "Old"}
    pushed.rules["of-others"] = next(iter(pushed.rules.values())) | {"uid": "of-others", "ruleGroup": "other"}
    assert run(pushed, "push").code == 0
    assert "banksman-of-old" not in pushed.rules
    assert "of-others" in pushed.rules
    assert run(pushed, "push", "--contact", "email:new@example.org").code == 0
    assert [point["settings"]["addresses"] for point in pushed.contacts.values()] == ["new@example.org"]


# -- trouble -----------------------------------------------------------------------------------------------------------

WRITES = (
    "POST /folders",
    "POST /datasources",
    *("POST /dashboards/db" for _ in BOARDS),
    *("POST /v1/provisioning/contact-points" for _ in range(2)),
    *("POST /v1/provisioning/alert-rules" for _ in QUESTIONS),
)


def test_what_a_first_push_writes(stub: StubGrafana) -> None:
    run(stub, "push", *WHOLE)
    assert tuple(stub.writes) == WRITES


TWO = {uid: BOARDS[uid] for uid in ("banksman-sensors", "banksman-fleet")}
CALLS = {False: len(WRITES) - len(BOARDS) + len(TWO), True: len(WRITES) - len(BOARDS) + 2 * len(TWO)}
"""By whether boards are saved twice."""
TRIED = (0, 1, 2, 3, 4, 6, 8)
"""Of them; the full-size run tries all."""


@pytest.fixture
def two_boards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboards.render.BOARDS", TWO)


@pytest.mark.usefixtures("two_boards")
@pytest.mark.parametrize("how", ["lose", "answer"])
@pytest.mark.parametrize(
    ("alters", "nth"),
    [(a, n) for a, calls in CALLS.items() for n in (range(calls) if os.environ.get("BANKSMAN_PROOF") else TRIED)],
)
def test_broken_off_anywhere_the_next_run_finishes_it(how: Literal["lose", "answer"], alters: bool, nth: int) -> None:
    """lose: it is done, and the line goes down; answer: it is refused."""
    with StubGrafana(alters=alters) as stub:
        assert run(stub, "push", *WHOLE).code == 0
        untroubled = content(stub)
    with StubGrafana(alters=alters) as stub:
        trouble = Trouble("POST", "/api/", how, status=500, body=b'{"message": "disk I/O error"}')
        for _ in range(nth):
            trouble = Trouble("POST", "/api/", "first", first=partial(stub.troubles.append, trouble))
        stub.troubles.append(trouble)
        broken = run(stub, "push", *WHOLE)
        assert stub.troubles == []
        assert broken.code == 1, broken.told
        assert say("push.not_all", count="?").partition("?")[2] in broken.told
        assert ("disk I/O error" in broken.told) is (how == "answer")
        done = run(stub, "push", *WHOLE)
        assert done.code == 0, done.told
        assert run(stub, "diff", *WHOLE).code == 0
        assert content(stub) == untroubled


@pytest.mark.parametrize("rights", [VIEWER, EDITOR])
def test_a_token_with_too_few_rights(stub: StubGrafana, rights: frozenset[str]) -> None:
    stub.rights[TOKEN] = rights
    done = run(stub, "push", *WHOLE)
    assert done.code == 1
    assert "Permissions needed: datasources:create" in done.told
    assert (stub.boards.keys() == BOARDS.keys()) is (rights is EDITOR)


@pytest.mark.parametrize("command", ["push", "diff", "check", "pull"])
def test_a_token_that_is_not_accepted_changes_nothing(stub: StubGrafana, tmp_path: Path, command: str) -> None:
    stub.rights.clear()
    done = run(stub, command, *([str(tmp_path)] if command == "pull" else []))
    assert done.code in (1, 2)
    assert "service account" in done.told
    assert stub.writes == []


def test_the_token_comes_from_a_file_or_the_environment(stub: StubGrafana, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert run(stub, "push", *WHOLE, "--token-file", str(file), BANKSMAN_GRAFANA_TOKEN="").code == 0
    assert run(stub, "push", *WHOLE, BANKSMAN_GRAFANA_TOKEN="").code == 2
    absent = run(stub, "push", *WHOLE, "--token-file", str(tmp_path / "absent"))
    assert absent.code == 2
    assert "absent" in absent.told
    file.write_bytes(TOKEN.encode() + b"\xff")
    assert run(stub, "push", *WHOLE, "--token-file", str(file)).code == 2


@pytest.mark.parametrize("option", [("--grafana", "http://u:5ecr3t@x"), ("--contact", "pigeon:5ecr3t")])
def test_wrong_words_are_not_repeated_where_they_may_be_secret(stub: StubGrafana, option: tuple[str, str]) -> None:
    done = run(stub, "push", *option)
    assert done.code == 2
    assert "5ecr3t" not in done.told


# -- pull and render ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alters", [False, True])
def test_boards_that_are_pulled_are_those_that_are_rendered_but_for_what_was_changed(
    tmp_path: Path, alters: bool
) -> None:
    with StubGrafana(alters=alters) as stub:
        run(stub, "push", *WHOLE)
        stub.edit(SITE, renamed)
        assert run(stub, "pull", str(tmp_path / "pulled")).code == 0
        assert run(stub, "render", str(tmp_path / "rendered")).code == 0
        for uid in BOARDS:
            there = (tmp_path / f"pulled/{uid}.json").read_text("utf-8")
            ours = (tmp_path / f"rendered/dashboards/banksman/{uid}.json").read_text("utf-8")
            if not alters:
                assert (there == ours) is (uid != SITE)
            assert ("My own words" in there) is (uid == SITE)
            assert MARK not in there
        del stub.boards[SITE]
        assert run(stub, "pull", str(tmp_path / "pulled")).code == 1


# -- check -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    with Influx(tmp_path_factory.mktemp("influx")) as server:
        server.create("banksman")
        server.create("empty")
        server.write("banksman", b"node,site=a,node=n journal_depth=1i")
        yield server


def found(key: str) -> str:
    """How the text of a finding begins."""
    return say.texts[f"check.{key}.found"].partition("{")[0]


@pytest.mark.parametrize("lang", ["en", "zh-CN"])
def test_when_all_is_well_check_says_so(stub: StubGrafana, influx: Influx, lang: Language) -> None:
    assert run(stub, "push", "--influx", influx.url, "--contact", "email:it@example.org").code == 0
    done = run(stub, "check", lang=lang)
    assert done.code == 0, done.told
    assert "✗" not in done.told
    figures = catalogue(lang)("check.figures.found", sites=1, url=influx.url, database="banksman")
    assert figures in done.told
    assert stub.asked


@pytest.mark.parametrize(
    ("key", "options", "token"),
    [
        ("influx_token", (), "another"),
        ("influx_database", ("--database", "absent"), INFLUX_TOKEN),
        ("figures_none", ("--database", "empty"), INFLUX_TOKEN),
        ("influx_away", ("--influx", f"http://{HOST}:{free_port()}"), INFLUX_TOKEN),
    ],
)
def test_check_says_what_is_wrong_behind_the_data_source(
    stub: StubGrafana, influx: Influx, key: str, options: tuple[str, ...], token: str
) -> None:
    words = ("push", "--influx", influx.url, *options)
    assert run(stub, *words, BANKSMAN_INFLUX_TOKEN=token).code == 0
    done = run(stub, "check")
    assert done.code == (0 if key == "figures_none" else 1)
    about = {"url": stub.sources[DATASOURCE]["url"], "database": stub.sources[DATASOURCE]["jsonData"]["dbName"]}
    start = say(f"check.{key}.found", said="\0", **about).partition("\0")[0]
    assert start in done.told
    assert say(f"check.{key}.do", **about) in done.told
    if key == "influx_database":
        assert "influx v1 dbrp create --db absent" in done.told


@pytest.mark.parametrize(
    ("key", "trouble"),
    [
        ("boards_missing", lambda stub: stub.boards.pop(SITE)),
        ("boards_edited", lambda stub: stub.edit(SITE, renamed)),
        ("boards_edited", in_the_new_layout),
        ("rules_missing", lambda stub: stub.rules.popitem()),
        ("contacts_none", lambda stub: stub.contacts.clear()),
        ("source_missing", lambda stub: stub.sources.clear()),
        ("source_other", lambda stub: stub.sources[DATASOURCE].update(type="prometheus")),
        ("rights", lambda stub: stub.rights.update({TOKEN: EDITOR})),
        ("version_old", lambda stub: setattr(stub, "version", "9.5.2")),
        ("version_other", lambda stub: setattr(stub, "version", "14.0.0")),
        ("version_hidden", lambda stub: setattr(stub, "version", "")),
    ],
)
def test_check_says_what_is_wrong_in_grafana(
    pushed: StubGrafana, key: str, trouble: Callable[[StubGrafana], object]
) -> None:
    trouble(pushed)
    done = run(pushed, "check")
    sign = next(line for line in done.told.splitlines() if line[2:].startswith(found(key)[:20]) and line[0] in "!✗")
    assert sign
    assert pushed.writes == []


def test_check_where_nobody_answers(stub: StubGrafana, unused_port: int) -> None:
    done = run(stub, "check", BANKSMAN_GRAFANA_URL=f"http://{HOST}:{unused_port}")
    assert done.code == 1
    assert "nobody answers there" in done.told
