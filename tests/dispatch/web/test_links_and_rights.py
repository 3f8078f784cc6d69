"""Signed links, roles, audit of texts: without a server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.dispatch.tables import Role
from broker.dispatch.text import LANGUAGES, catalogue
from broker.dispatch.web.guard import local_path
from broker.dispatch.web.links import LINK_S, Link, LinkError, Links, Opens
from broker.dispatch.web.pages import FormError, cleaned
from broker.dispatch.web.rights import Right, Visitor
from tests.dispatch.web.builders import KEY, START

LINKS = Links(KEY, "https://dispatch.example.org/")


@pytest.mark.parametrize("opens", Opens)
def test_a_link_opens_its_case_or_message_for_its_person_until_it_expires(opens: Opens) -> None:
    token = LINKS.sign("id-1", "person-1", START, opens)
    address = LINKS.case if opens is Opens.CASE else LINKS.message
    assert address("id-1", "person-1", START) == f"https://dispatch.example.org/{opens}/{token}"
    for at in (START, START + LINK_S - 1):
        assert LINKS.read(token, at, opens) == Link(opens, "id-1", "person-1", START + LINK_S)
    with pytest.raises(LinkError, match="expired"):
        LINKS.read(token, START + LINK_S, opens)


def test_a_link_of_a_case_is_none_of_a_message_nor_the_other_way_round() -> None:
    for signed, read in ((Opens.CASE, Opens.MESSAGE), (Opens.MESSAGE, Opens.CASE)):
        with pytest.raises(LinkError, match="invalid"):
            LINKS.read(LINKS.sign("id-1", "person-1", START, signed), START, read)
    assert len({LINKS.cookie(Link(opens, "id-1", "person-1", START)) for opens in Opens}) == 2


@pytest.mark.parametrize("opens", Opens)
def test_a_link_is_short_enough_for_an_sms_however_many_cases_it_opens(opens: Opens) -> None:
    """With its text (`formats.MAX_SHORT`) five parts at most. Ids are as long as they are here."""
    key, person = "019a3b5e-7c41-7d0e-9f62-c5b8e14a2d73", "019a3b5e-8f1d-7a94-b3e6-70d2c9a5184f"
    address = LINKS.case if opens is Opens.CASE else LINKS.message
    assert len(address(key, person, START)) < 190


@given(st.data())
def test_a_link_that_was_touched_opens_nothing(data: st.DataObject) -> None:
    token = LINKS.sign("case-1", "person-1", START)
    at = data.draw(st.integers(0, len(token) - 2))  # the last letter of base64 has bits that do not count
    other = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPabcdefghijklmnop0123456789-_.").filter(lambda c: c != token[at]))
    with pytest.raises(LinkError, match="invalid"):
        LINKS.read(token[:at] + other + token[at + 1 :], START)


@given(st.text(max_size=200))
def test_nonsense_opens_nothing(token: str) -> None:
    with pytest.raises(LinkError, match="invalid"):
        LINKS.read(token, START)


def test_a_link_of_another_installation_opens_nothing() -> None:
    with pytest.raises(LinkError, match="invalid"):
        LINKS.read(Links("another key of another installation", "https://x").sign("case-1", "person-1", START), START)


def visitor(*roles: tuple[str, Role], cases: frozenset[str] | None = None) -> Visitor:
    by_site = {site: frozenset(r for s, r in roles if s == site) for site, _ in roles}
    return Visitor("p", "P", "en", by_site, cases, "csrf", "key")


@pytest.mark.parametrize(
    ("role", "rights"),
    [
        (Role.FOREMAN, {Right.SEE, Right.ACT}),
        (Role.OFFICER, {Right.SEE, Right.ACT, Right.LEAD}),
        (Role.INSTALLER, {Right.SEE, Right.INSTALL}),
        (Role.ADMIN, {Right.SEE, Right.MANAGE, Right.INSTALL}),
    ],
)
def test_what_a_role_may_do_on_its_site_and_nowhere_else(role: Role, rights: set[Right]) -> None:
    known = visitor(("north", role))
    assert {r for r in Right if known.may(r, "north")} == rights
    assert not any(known.may(r, "south") for r in Right)
    assert {r for r in Right if visitor(("*", role)).may(r, "south")} == rights


def test_a_link_sees_its_cases_alone_and_leads_nowhere() -> None:
    known = visitor(("north", Role.OFFICER), ("*", Role.ADMIN), cases=frozenset({"case-1", "case-2"}))
    assert known.linked
    assert [known.sees("north", f"case-{n}") for n in (1, 2, 3)] == [True, True, False]
    assert not visitor(("south", Role.OFFICER), cases=frozenset({"case-1"})).sees("north", "case-1")
    assert not visitor(("north", Role.OFFICER), cases=frozenset()).sees("north", "case-1")
    assert {r for r in Right if known.anywhere(r)} == {Right.SEE, Right.ACT}


@pytest.mark.parametrize(
    "path",
    ["https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil", "javascript:alert(1)", "", None, "a",
     "/a b", "/\t/evil", "/\r\nSet-Cookie: x", "/ä"],
)  # fmt: skip
def test_nobody_is_sent_elsewhere_after_the_log_in(path: str | None) -> None:
    assert local_path(path) == "/"


def test_own_paths_are_kept() -> None:
    assert local_path("/cases/1?verify=1") == "/cases/1?verify=1"


@given(st.text(max_size=300))
def test_what_people_write_has_no_control_or_direction_characters(text: str) -> None:
    try:
        kept = cleaned(text)
    except FormError as error:
        assert error.key == "web.error.empty"  # noqa: PT017 of Hypothesis' many
        return
    assert kept
    assert not set(kept) & {"\0", "\r", "\x1b", "\u202e", "\u2066"}


def test_too_long_a_text_is_refused() -> None:
    with pytest.raises(FormError):
        cleaned("x" * 2001)


def test_both_languages_have_the_same_texts_with_the_same_fields() -> None:
    def fields(text: str) -> set[str]:
        return {part.split("}")[0] for part in text.split("{")[1:]}

    chinese, english = (catalogue(language).texts for language in LANGUAGES)
    assert chinese.keys() == english.keys()
    assert {k for k in english if fields(chinese[k]) != fields(english[k])} == set()
