"""Each channel against a server that speaks its protocol: what arrives there, and what is made of its answer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from apprise.plugins.telegram import NotifyTelegram
from apprise.plugins.twilio import NotifyTwilio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.dispatch.notify import channels
from broker.dispatch.notify.channels import robot
from broker.dispatch.notify.channels.base import Channel, Failed, Sent, Why
from broker.dispatch.notify.channels.dingtalk import DingTalk
from broker.dispatch.notify.channels.feishu import Feishu
from broker.dispatch.notify.channels.wecom import WeCom
from broker.dispatch.notify.message import Block
from broker.dispatch.text import LANGUAGES, catalogue
from broker.embedded import free_port
from tests.dispatch.notify.builders import LINK, LINK_OF_SEVERAL, NOW, item, sheet
from tests.dispatch.notify.stubs import Answer, Mailbox, Service, mailbox, service

TOKEN = "5f8a0c2b9e7d4416aa01"  # noqa: S105
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40 + b"\xff\xd9"


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    with service() as stub:
        yield stub


@pytest.fixture
def far(running: Service) -> Service:
    running.requests.clear()
    running.answer(Answer())
    return running


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "snapshot.jpg"
    path.write_bytes(JPEG)
    return path


def robots(origin: str) -> dict[str, tuple[Channel, str]]:
    """Each robot with an address at this origin."""
    at = frozenset({origin})
    return {
        "dingtalk": (DingTalk(at), f"{origin}/robot/send?access_token={TOKEN}#SECabc123def456"),
        "wecom": (WeCom(at), f"{origin}/cgi-bin/webhook/send?key={TOKEN}"),
        "feishu": (Feishu(at), f"{origin}/open-apis/bot/v2/hook/{TOKEN}#fs-secret-77"),
    }


OK: dict[str, dict[str, Any]] = {
    "dingtalk": {"errcode": 0, "errmsg": "ok"},
    "wecom": {"errcode": 0, "errmsg": "ok"},
    "feishu": {"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"},
}


# -- the robots --------------------------------------------------------------------------------------------------------


def test_dingtalk_gets_signed_markdown(far: Service) -> None:
    far.answer(Answer.of(OK["dingtalk"]))
    channel, address = robots(far.origin)["dingtalk"]
    assert channel.send(sheet(), address, NOW) == Sent()
    [request] = far.requests
    stamp = str(round(NOW * 1000))
    expected = hmac.new(b"SECabc123def456", f"{stamp}\nSECabc123def456".encode(), hashlib.sha256).digest()
    assert request.path == "/robot/send"
    assert request.query == {
        "access_token": TOKEN,
        "timestamp": stamp,
        "sign": base64.b64encode(expected).decode(),
    }
    assert request.json["msgtype"] == "markdown"
    assert request.json["at"] == {"isAtAll": False}
    assert request.json["markdown"]["title"] == "【危急】未戴安全帽 1人｜东门工地 pit-1"
    assert f"]({LINK})" in request.json["markdown"]["text"]
    assert "Banksman" in request.json["markdown"]["text"], "a keyword rule needs a word that is always there"


def test_an_unsigned_dingtalk_robot_gets_no_signature(far: Service) -> None:
    far.answer(Answer.of(OK["dingtalk"]))
    channel, address = robots(far.origin)["dingtalk"]
    assert channel.send(sheet(), address.partition("#")[0], NOW) == Sent()
    assert set(far.requests[0].query) == {"access_token"}


def test_feishu_gets_a_signed_card_coloured_by_severity(far: Service) -> None:
    far.answer(Answer.of(OK["feishu"]))
    channel, address = robots(far.origin)["feishu"]
    assert channel.send(sheet(), address, NOW) == Sent()
    body = far.requests[0].json
    expected = hmac.new(f"{int(NOW)}\nfs-secret-77".encode(), b"", hashlib.sha256).digest()
    assert (body["timestamp"], body["sign"]) == (str(int(NOW)), base64.b64encode(expected).decode())
    assert body["card"]["header"]["template"] == "red"
    assert body["card"]["elements"][1]["actions"][0]["url"] == LINK
    markup = [e for e in body["card"]["elements"] if e.get("text", {}).get("tag") not in {None, "plain_text"}]
    assert not markup, "only plain text: nothing in it can be a mention or a link"


def test_wecom_gets_markdown_and_then_the_picture(far: Service, picture: Path) -> None:
    far.answer(Answer.of(OK["wecom"]))
    channel, address = robots(far.origin)["wecom"]
    assert channel.send(sheet(picture=picture), address, NOW) == Sent(picture=True)
    words, image = (request.json for request in far.requests)
    assert words["msgtype"] == "markdown"
    assert image["msgtype"] == "image"
    assert base64.b64decode(image["image"]["base64"]) == JPEG
    assert image["image"]["md5"] == hashlib.md5(JPEG).hexdigest()  # noqa: S324


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda p: p.unlink(), "it is gone"),
        (lambda p: p.write_bytes(b"\xff\xd8\xff" + bytes(3 << 20)), "it is too large"),
    ],
)
def test_wecom_tells_the_words_though_the_picture_cannot_go(far: Service, picture: Path, make: Any, why: str) -> None:
    far.answer(Answer.of(OK["wecom"]))
    make(picture)
    channel, address = robots(far.origin)["wecom"]
    assert channel.send(sheet(picture=picture), address, NOW) == Sent(picture=False), why
    assert len(far.requests) == 1


def test_wecom_does_not_send_the_words_twice_when_it_refuses_the_picture(far: Service, picture: Path) -> None:
    far.answer(Answer.of(OK["wecom"]), Answer.of({"errcode": 301019, "errmsg": "media MD5 not match"}))
    channel, address = robots(far.origin)["wecom"]
    assert channel.send(sheet(picture=picture), address, NOW) == Sent(picture=False)
    assert len(far.requests) == 2


def test_a_digest_too_long_for_wecom_keeps_title_and_link(far: Service) -> None:
    far.answer(Answer.of(OK["wecom"]))
    channel, address = robots(far.origin)["wecom"]
    many = [item(case=f"c{n}", place=f"pit-{n}", site_name="很长的工地名称" * 8) for n in range(10)]
    assert channel.send(sheet(*many), address, NOW) == Sent()
    text = far.requests[0].json["markdown"]["content"]
    assert len(text.encode()) <= 4096
    assert text.startswith("### 【危急】")
    assert f"]({LINK_OF_SEVERAL})" in text


REFUSALS: list[tuple[str, dict[str, Any], Failed]] = [
    ("dingtalk", {"errcode": 310000, "errmsg": "keywords not in content, more: [..]"}, Failed(Why.KEYWORD, 310000)),
    ("dingtalk", {"errcode": 310000, "errmsg": "错误描述:关键词不匹配"}, Failed(Why.KEYWORD, 310000)),
    ("dingtalk", {"errcode": 310000, "errmsg": "sign not match"}, Failed(Why.SIGN, 310000)),
    ("dingtalk", {"errcode": 310000, "errmsg": "ip 1.2.3.4 not in whitelist"}, Failed(Why.IP, 310000)),
    ("dingtalk", {"errcode": 300001, "errmsg": "token is not exist"}, Failed(Why.BAD_TOKEN, 300001)),
    ("dingtalk", {"errcode": 130101, "errmsg": "send too fast"}, Failed(Why.RATE_LIMIT, 130101, 600.0)),
    ("dingtalk", {"status": 1111, "wait": 5, "punish": "deny"}, Failed(Why.RATE_LIMIT, None, 5.0)),
    ("dingtalk", {"errcode": -1, "errmsg": "系统繁忙"}, Failed(Why.BUSY, -1)),
    ("dingtalk", {"errcode": 400013, "errmsg": "chat is disbanded"}, Failed(Why.ROBOT_OFF, 400013)),
    ("dingtalk", {"errcode": 987654}, Failed(Why.REFUSED, 987654)),
    ("wecom", {"errcode": 93000, "errmsg": "invalid webhook url, hint: [..]"}, Failed(Why.BAD_TOKEN, 93000)),
    ("wecom", {"errcode": 45009, "errmsg": "api freq out of limit"}, Failed(Why.RATE_LIMIT, 45009, 60.0)),
    ("wecom", {"errcode": 40058, "errmsg": "content exceed max length"}, Failed(Why.CONTENT, 40058)),
    ("wecom", {"errcode": 12345, "errmsg": "?"}, Failed(Why.REFUSED, 12345)),
    ("feishu", {"code": 19001, "msg": "param invalid"}, Failed(Why.BAD_TOKEN, 19001)),
    ("feishu", {"code": 19021, "msg": "sign match fail or timestamp is not within one hour"}, Failed(Why.SIGN, 19021)),
    ("feishu", {"code": 19022, "msg": "Ip Not Allowed"}, Failed(Why.IP, 19022)),
    ("feishu", {"code": 19024, "msg": "Key Words Not Found"}, Failed(Why.KEYWORD, 19024)),
    ("feishu", {"code": 11232, "msg": "frequency limited psm"}, Failed(Why.RATE_LIMIT, 11232, 60.0)),
    ("feishu", {"code": 9499, "msg": "frequency limited"}, Failed(Why.RATE_LIMIT, 9499, 60.0)),
    ("feishu", {"code": 9499, "msg": "Bad Request"}, Failed(Why.CONTENT, 9499)),
    ("feishu", {"code": 4242, "msg": "?"}, Failed(Why.REFUSED, 4242)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answer", "expected"), REFUSALS)
def test_a_refusal_in_an_http_200_is_a_failure(
    far: Service, name: str, answer: dict[str, Any], expected: Failed
) -> None:
    far.answer(Answer.of(answer))
    channel, address = robots(far.origin)[name]
    assert channel.send(sheet(), address, NOW) == expected


@pytest.mark.parametrize("name", OK)
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(b"upstream", 500), Failed(Why.BUSY, 500)),
        (Answer(b"", 502), Failed(Why.BUSY, 502)),
        (Answer(b"", 404), Failed(Why.BAD_TOKEN, 404)),
        (Answer(b"", 429, {"Retry-After": "17"}), Failed(Why.RATE_LIMIT, 429, 17.0)),
        (Answer(b"", 429, {"Retry-After": "soon"}), Failed(Why.RATE_LIMIT, 429)),
        (Answer(b"", 302, {"Location": "http://127.0.0.1:1/"}), Failed(Why.REFUSED, 302)),
        (Answer(b"<html>captive portal</html>"), Failed(Why.GARBAGE)),
        (Answer(b""), Failed(Why.GARBAGE)),
        (Answer(b"[]"), Failed(Why.GARBAGE)),
        (Answer(b"{}"), Failed(Why.GARBAGE)),
        (Answer(b'{"errcode": "0", "code": "0"}'), Failed(Why.GARBAGE)),
        (Answer(b'{"errcode": false, "code": false}'), Failed(Why.GARBAGE)),
        (Answer(b'{"errcode": null, "code": null}'), Failed(Why.GARBAGE)),
        (Answer(b"[" * 60_000), Failed(Why.GARBAGE)),
        (Answer(b"\xff\xfe\x00" * 99), Failed(Why.GARBAGE)),
        (Answer(b'{"errcode": 0, "code": 0, "x": "' + b"x" * 500_000 + b'"}'), Failed(Why.GARBAGE)),
    ],
    ids=lambda v: v.code if isinstance(v, Failed) else v.body[:12].hex(),
)
def test_no_answer_but_the_right_one_is_success(far: Service, name: str, answer: Answer, expected: Failed) -> None:
    far.answer(answer)
    channel, address = robots(far.origin)[name]
    assert channel.send(sheet(), address, NOW) == expected


@pytest.mark.parametrize("name", OK)
@pytest.mark.parametrize("answer", [Answer(hang=True), Answer(trickle=True)], ids=["says nothing", "a byte at a time"])
def test_a_service_that_takes_too_long_is_left(name: str, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robot, "DEADLINE_S", 0.3)
    with service() as far:
        far.answer(answer)
        channel, address = robots(far.origin)[name]
        start = time.monotonic()
        assert channel.send(sheet(), address, NOW) == Failed(Why.TIMEOUT)
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("name", OK)
def test_nobody_listens(name: str) -> None:
    channel, address = robots(f"http://127.0.0.1:{free_port()}")[name]
    assert channel.send(sheet(), address, NOW) == Failed(Why.UNREACHABLE)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("dingtalk", ""),
        ("dingtalk", "not an address"),
        ("dingtalk", "https://oapi.dingtalk.com/robot/send"),
        ("dingtalk", f"http://oapi.dingtalk.com/robot/send?access_token={TOKEN}"),
        ("dingtalk", f"https://oapi.dingtalk.com.evil.example/robot/send?access_token={TOKEN}"),
        ("dingtalk", f"https://oapi.dingtalk.com@evil.example/robot/send?access_token={TOKEN}"),
        ("dingtalk", f"https://oapi.dingtalk.com/robot/send?access_token={TOKEN}\r\nX: y"),
        ("dingtalk", "https://[::1"),
        ("wecom", "https://169.254.169.254/latest/meta-data?key=x"),
        ("wecom", "file:///etc/passwd?key=x"),
        ("feishu", f"https://open.feishu.cn/open-apis/other/{TOKEN}"),
        ("email", f"json://127.0.0.1/{TOKEN}"),
        ("email", "mailto://"),
        ("ntfy", "file:///tmp/x"),
        ("telegram", "tgram://"),
        ("sms", f"dingtalk://{TOKEN}"),
        ("sms", ""),
    ],
)
def test_an_address_of_another_kind_is_refused_before_anything_is_sent(name: str, address: str) -> None:
    assert channels.standard()[name].send(sheet(), address, NOW) == Failed(Why.BAD_ADDRESS)


# -- through apprise ---------------------------------------------------------------------------------------------------


@pytest.fixture
def box() -> Iterator[tuple[Mailbox, int]]:
    with mailbox() as found:
        yield found


def parts(mail: EmailMessage) -> dict[str, str]:
    return {p.get_content_type(): p.get_content() for p in mail.walk() if p.get_content_maintype() == "text"}


def test_email_has_html_text_and_picture(box: tuple[Mailbox, int], picture: Path) -> None:
    mails, port = box
    address = f"mailto://127.0.0.1:{port}?from=bm@example.org&to=foreman@example.org&smtp=127.0.0.1"
    outcome = channels.standard()["email"].send(sheet(picture=picture), address, NOW)
    assert outcome == Sent(picture=True)
    [mail] = mails.mails
    assert mail["Subject"] == "【危急】未戴安全帽 1人｜东门工地 pit-1"
    texts = parts(mail)
    assert "须佩戴安全帽" in texts["text/plain"]
    assert f'href="{LINK}"'.replace('"', "'") in texts["text/html"]
    pictures = [p for p in mail.walk() if p.get_content_type() == "image/jpeg"]
    assert [p.get_payload(decode=True) for p in pictures] == [JPEG]


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        ("554 5.7.1 no thanks", Failed(Why.REFUSED, 554)),
        ("451 4.7.1 try later", Failed(Why.BUSY, 451)),
    ],
)
def test_email_refused(box: tuple[Mailbox, int], refusal: str, expected: Failed) -> None:
    mails, port = box
    mails.refusal = refusal
    address = f"mailto://127.0.0.1:{port}?from=bm@example.org&to=foreman@example.org&smtp=127.0.0.1"
    assert channels.standard()["email"].send(sheet(), address, NOW) == expected


def test_no_mail_server() -> None:
    address = f"mailto://127.0.0.1:{free_port()}?from=bm@example.org&to=f@example.org&smtp=127.0.0.1"
    assert channels.standard()["email"].send(sheet(), address, NOW) == Failed(Why.UNREACHABLE)


def ntfy(far: Service) -> str:
    return far.origin.replace("http://", "ntfy://") + "/site-topic"


def telegram(far: Service, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(NotifyTelegram, "notify_url", f"{far.origin}/bot")
    return "tgram://123456789:AAbbccddeeffgghhiijjkkllmmnnooppqqr/-1009876543210"


def sms(far: Service, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(NotifyTwilio, "notify_sms_url", far.origin + "/{sid}/Messages.json")
    return f"twilio://AC{'0' * 32}:{'1' * 32}@15551230000/15551231111"


def test_ntfy_gets_title_text_and_picture(far: Service, picture: Path) -> None:
    far.answer(Answer.of({"id": "x"}))
    assert channels.standard()["ntfy"].send(sheet(), ntfy(far), NOW) == Sent()
    assert far.requests[0].json["title"] == "【危急】未戴安全帽 1人｜东门工地 pit-1"
    assert LINK in far.requests[0].json["message"]
    assert channels.standard()["ntfy"].send(sheet(picture=picture), ntfy(far), NOW) == Sent(picture=True)
    assert any(request.body == JPEG for request in far.requests[1:])


def test_telegram_gets_text_and_picture(far: Service, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far.answer(Answer.of({"ok": True, "result": {}}))
    channel, address = channels.standard()["telegram"], telegram(far, monkeypatch)
    assert channel.send(sheet(), address, NOW) == Sent()
    text = far.requests[0].json["text"]
    assert "未戴安全帽" in text
    assert LINK in text
    assert channel.send(sheet(picture=picture), address, NOW) == Sent(picture=True)
    assert any(JPEG in request.body for request in far.requests[1:])


def test_sms_is_one_line_with_the_link(far: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    far.answer(Answer.of({"sid": "x"}, 201))
    assert channels.standard()["sms"].send(sheet(), sms(far, monkeypatch), NOW) == Sent()
    body = parse_qs(far.requests[0].body.decode())["Body"][0]
    assert body == f"【危急】未戴安全帽 1人｜东门工地 pit-1 {LINK}"


@pytest.mark.parametrize("name", ["ntfy", "telegram", "sms"])
@pytest.mark.parametrize(
    ("status", "why"),
    [
        (400, Why.REFUSED),
        (401, Why.BAD_TOKEN),
        (403, Why.BAD_TOKEN),
        (429, Why.RATE_LIMIT),
        (500, Why.BUSY),
        (503, Why.BUSY),
    ],
)
def test_an_http_error_through_apprise(
    far: Service, name: str, status: int, why: Why, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = {"ntfy": ntfy(far), "telegram": telegram(far, monkeypatch), "sms": sms(far, monkeypatch)}[name]
    far.answer(Answer(b"no", status))
    assert channels.standard()[name].send(sheet(), address, NOW) == Failed(why, status)


def test_apprise_gives_up_on_a_service_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with service() as far:
        far.answer(Answer(hang=True))
        address = ntfy(far) + "?rto=0.3"
        outcome = channels.standard()["ntfy"].send(sheet(), address, NOW)
    assert isinstance(outcome, Failed)
    assert outcome.why.passing


# -- secrets -----------------------------------------------------------------------------------------------------------

SECRET = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=20, max_size=40)
ECHO = st.sampled_from(["json", "html", "500", "none", "302"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SECRET, ECHO, st.sampled_from(["dingtalk", "wecom", "feishu", "ntfy", "telegram", "email"]))
def test_no_secret_in_what_comes_of_it_or_in_any_log(  # noqa: PLR0917
    running: Service,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    secret: str,
    echo: str,
    name: str,
) -> None:
    """Also where the service repeats it, and with every log of every library at its most talkative."""
    port = running.server.server_address[1]
    addresses = {
        "dingtalk": f"{running.origin}/robot/send?access_token={secret}#SEC{secret}",
        "wecom": f"{running.origin}/cgi-bin/webhook/send?key={secret}",
        "feishu": f"{running.origin}/open-apis/bot/v2/hook/{secret}#{secret}",
        "ntfy": f"ntfy://user:{secret}@127.0.0.1:{port}/{secret}?rto=1",
        "telegram": f"tgram://123456789:{secret}/-1009876543210?rto=1&cto=1",
        "email": f"mailto://user:{secret}@127.0.0.1:1?from=a@example.org&to=b@example.org&smtp=127.0.0.1",
    }
    running.answer(
        {
            "json": Answer.of({"errcode": 1, "code": 1, "errmsg": secret, "msg": secret, "description": secret}),
            "html": Answer(f"<p>{secret}</p>".encode()),
            "500": Answer(secret.encode(), 500),
            "302": Answer(b"", 302, {"Location": f"http://127.0.0.1:1/{secret}"}),
            "none": Answer(b"", 404),
        }[echo]
    )
    known = robots(running.origin)
    channel = known[name][0] if name in known else channels.standard()[name]
    caplog.clear()
    with caplog.at_level(logging.DEBUG), pytest.MonkeyPatch.context() as patch:
        patch.setattr(NotifyTelegram, "notify_url", f"{running.origin}/bot")
        outcome = channel.send(sheet(), addresses[name], NOW)
    printed = capfd.readouterr()
    for text in (repr(outcome), outcome.code, caplog.text, printed.out, printed.err):
        assert secret not in text
    if isinstance(outcome, Failed):
        for language in LANGUAGES:
            assert f"notify.why.{outcome.why}" in catalogue(language)


@pytest.mark.parametrize("why", Why)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_failure_says_what_to_do(why: Why, language: str) -> None:
    assert catalogue(language)(f"notify.why.{why}")


CALLS = '@all <@all> <@wang> @13800000000 <at id=all></at> <at user_id="ou_1">x</at>'


@pytest.mark.parametrize("name", OK)
def test_no_text_of_a_message_calls_anybody(far: Service, name: str) -> None:
    """Though it came into the sheet by a way that makes nothing harmless."""
    channel, address = robots(far.origin)[name]
    far.answer(Answer.of(OK[name]))
    mine = replace(sheet(), title=CALLS, blocks=(Block(CALLS, (CALLS, "plain")), Block(CALLS, (CALLS,), bullets=True)))
    assert isinstance(channel.send(mine, address, NOW), Sent)
    (request,) = far.requests
    sent = request.json
    texts = json.dumps(sent, ensure_ascii=False)
    assert "plain" in texts
    assert "@" not in texts
    assert "<at" not in texts
    assert sent.get("at", {"isAtAll": False}) == {"isAtAll": False}
    assert not {"mentioned_list", "mentioned_mobile_list"} & sent.get("markdown", {}).keys()
    assert "lark_md" not in texts
