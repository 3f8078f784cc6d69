"""Settings of the broker, what is made of them, and the check that tries it."""

from __future__ import annotations

import re
import stat
import time
from pathlib import Path

import pytest

from broker.messages import MAX_PACKET
from broker.mosquitto.check import check_version, problems
from broker.mosquitto.config import Effect, acl_text
from broker.mosquitto.settings import BrokerError, Service, create, load
from broker.pki import names
from tests.broker.builders import SITE, Installation
from tests.servers import HOST


@pytest.fixture
def place(tmp_path: Path) -> Installation:
    """Made, but not started."""
    return Installation(tmp_path)


def config(place: Installation) -> dict[str, list[str]]:
    lines = (line.partition(" ") for line in (place.folder / "mosquitto.conf").read_text().splitlines())
    found: dict[str, list[str]] = {}
    for word, _, rest in lines:
        if word and word != "#":
            found.setdefault(word, []).append(rest)
    return found


MUST = {
    "allow_anonymous": "false",
    "require_certificate": "true",
    "use_identity_as_username": "true",
    "use_username_as_clientid": "true",
    "tls_version": "tlsv1.3",
    "per_listener_settings": "false",
    "persistence": "true",
    "set_tcp_nodelay": "true",
    "max_packet_size": str(MAX_PACKET),
}


def test_there_is_one_way_in_and_it_is_narrow(place: Installation) -> None:
    made = config(place)
    assert {word: made[word] for word in MUST} == {word: [value] for word, value in MUST.items()}
    assert made["listener"] == [str(place.port)]
    assert "password_file" not in made


def test_nodes_have_one_line_and_services_no_more_than_they_need() -> None:
    services = (
        Service(name="dispatch", role="dispatch"),
        Service(name="grafana", role="viewer"),
        Service(name="siren", role="siren", site="north-yard"),
    )
    assert acl_text(services).splitlines()[1:] == [
        "pattern readwrite banksman/1/%u/#",
        "",
        "user -/dispatch",
        "topic read banksman/1/#",
        "topic write banksman/1/+/+/ack",
        "topic write banksman/1/+/+/command/+",
        "topic write banksman/1/+/-/case/+",
        "",
        "user -/grafana",
        "topic read banksman/1/#",
        "topic read $SYS/#",
        "",
        "user -/siren",
        "topic read banksman/1/north-yard/-/case/+",
    ]


def test_what_is_secret_can_be_read_by_its_owner_only(place: Installation) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.folder.iterdir()}
    assert modes == {
        **dict.fromkeys(("broker.toml", "mosquitto.conf", "acl", "server.key"), 0o600),
        **dict.fromkeys(("ca.pem", "crl.pem", "server.pem"), 0o644),
        "data": 0o700,
    }


def test_each_installation_has_a_group_of_its_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        create(tmp_path / name, ("localhost",), (), 8883)
    groups = [load(tmp_path / name).share_group for name in ("one", "two")]
    assert groups[0] != groups[1]
    assert all(re.fullmatch(r"dispatch-[0-9a-f]{32}", group) for group in groups)


def test_settings_are_not_overwritten(place: Installation) -> None:
    with pytest.raises(BrokerError, match="broker update"):
        create(place.folder, ("localhost",), (), 8883)


@pytest.mark.parametrize(
    ("hosts", "sirens"), [((), ()), (("*.local",), ()), (("localhost",), ("+",)), (("localhost",), ("a", "a"))]
)
def test_a_bad_beginning_leaves_nothing_behind(tmp_path: Path, hosts: tuple[str, ...], sirens: tuple[str, ...]) -> None:
    with pytest.raises(BrokerError):
        create(tmp_path / "broker", hosts, sirens, 8883)
    assert not (tmp_path / "broker/broker.toml").exists()


WRONG = [
    (("port = ", "prot = "), "prot: Extra inputs"),
    (("port = ", "[limits]\nport = "), "limits.port"),
    (('hosts = ["localhost", "127.0.0.1"]', "hosts = []"), "hosts"),
    (('"localhost"', '"#"'), "'#' is neither"),
    (('name = "grafana"', 'name = "dispatch"'), "dispatch twice"),
    (('name = "grafana"', 'name = "a/b"'), "services.1.name"),
    (('role = "viewer"', 'role = "admin"'), "services.1.role"),
    (('site = "north-yard"\n', ""), "a siren needs `site`"),
    (('role = "viewer"', 'role = "viewer"\nsite = "north-yard"'), "a siren needs `site`"),
    (('share_group = "dispatch-', 'share_group = "a/#'), "share_group"),
    (('share_group = "', 'share_group = "short"\n#'), "share_group"),
    (('user = "root"', 'user = "root\\nallow_anonymous true"'), "user"),
    (('user = "root"', 'data = "/x\\nallow_anonymous true"'), "absolute path"),
    (('user = "root"', 'folder = "relative"'), "absolute path"),
    (('user = "root"', 'address = "0.0.0.0\\nallow_anonymous true"'), "neither a host name"),
    (('user = "root"', "user = "), "Invalid value"),
]


@pytest.mark.parametrize(("change", "says"), WRONG, ids=lambda v: v if isinstance(v, str) else "")
def test_settings_that_are_wrong_say_where(place: Installation, change: tuple[str, str], says: str) -> None:
    place.change(change)
    with pytest.raises(BrokerError, match=re.escape(says)) as told:
        place.update()
    assert "broker.toml" in str(told.value)


def test_an_update_changes_what_has_to_change_and_says_what_the_broker_needs(place: Installation) -> None:
    assert (place.update().changed, place.update().effect) == ((), Effect.NOTHING)
    place.change(("[[services]]", "[limits]\nqueued_messages = 500\n\n[[services]]"))
    done = place.update()
    assert (done.changed, done.effect) == (("mosquitto.conf",), Effect.RESTART)
    assert config(place)["max_queued_messages"] == ["500"]


def test_another_name_of_the_broker_gets_another_certificate(place: Installation) -> None:
    place.change(('"127.0.0.1"', '"127.0.0.1", "broker.lan"'))
    done = place.update()
    assert {"server.pem", "server.key", "crl.pem"} <= set(done.changed)
    assert list(problems(place.folder, time.time())) == []


def test_a_broker_in_a_container_sees_its_own_paths(place: Installation) -> None:
    place.change(('user = "root"', 'folder = "/mosquitto/config"\ndata = "/mosquitto/data"'))
    place.update()
    made = config(place)
    assert made["cafile"] == ["/mosquitto/config/ca.pem"]
    assert made["persistence_location"] == ["/mosquitto/data/"]
    assert list(problems(place.folder, time.time())) == []


# -- the check ---------------------------------------------------------------------------------------------------------


def test_what_init_makes_is_in_order(place: Installation) -> None:
    assert list(problems(place.folder, time.time())) == []


def spoil(place: Installation, what: str) -> None:
    path = place.folder / what
    if what == "acl":
        path.write_text(path.read_text() + "topic readwrite #\n")
    elif what == "server.key":
        path.write_bytes(place.pki.files_of(names.service("dispatch"))[1].read_bytes())
    elif what == "crl.pem":
        path.write_text("")
    elif what == "mosquitto.conf":
        path.chmod(0o644)
    else:
        path.unlink()


SPOILT = [
    ("acl", "acl is not what broker.toml says"),
    ("server.key", "does not start"),
    ("crl.pem", "crl.pem has no list of CN=Test 1"),
    ("mosquitto.conf", "others may read it"),
    ("server.pem", "server.pem is missing"),
]


@pytest.mark.parametrize(("what", "says"), SPOILT)
def test_what_is_wrong_in_the_folder_is_said(place: Installation, what: str, says: str) -> None:
    spoil(place, what)
    (line,) = problems(place.folder, time.time())
    assert says in line


def test_a_server_certificate_for_another_name_is_noticed_by_trying(place: Installation) -> None:
    place.pki.issue(names.server("other.local"), time.time())
    for suffix, file in zip(("pem", "key"), place.pki.files_of(names.server("other.local")), strict=True):
        (place.folder / f"server.{suffix}").write_bytes(file.read_bytes())
    (line,) = problems(place.folder, time.time())
    assert "would not trust it" in line


@pytest.mark.parametrize(("days", "says"), [(397, "ends in 1 days"), (399, "has expired")])
def test_a_server_certificate_that_ends_is_said(place: Installation, days: int, says: str) -> None:
    (line,) = problems(place.folder, time.time() + days * 86400 - 60)
    assert says in line


@pytest.mark.parametrize("version", ["2.0.11", "2.0.20", "1.6.12"])
def test_an_old_mosquitto_is_refused_with_the_reason(version: str) -> None:
    with pytest.raises(BrokerError, match=rf"{version} is too old, 2\.0\.21.*bookworm-backports"):
        check_version(f"mosquitto version {version}\n\nmosquitto is an MQTT broker.\n")


@pytest.mark.parametrize("said", ["", "nonsense"])
def test_a_program_that_does_not_say_its_version_is_refused(said: str) -> None:
    with pytest.raises(BrokerError, match="does not say"):
        check_version(said)


@pytest.mark.parametrize("version", ["2.1.0", "2.1.2", "3.0.0"])
def test_a_mosquitto_whose_access_list_matches_no_node_is_refused(version: str) -> None:
    with pytest.raises(BrokerError, match=rf"{version} cannot be used: .*slash"):
        check_version(f"mosquitto version {version}\n")


@pytest.mark.parametrize("version", ["2.0.21", "2.0.22"])
def test_the_newest_2_0_is_taken(version: str) -> None:
    check_version(f"mosquitto version {version}\n")


def test_the_folder_of_an_installation_names_this_host(place: Installation) -> None:
    assert load(place.folder).hosts == ("localhost", HOST)
    assert [s.site for s in load(place.folder).services if s.role == "siren"] == [SITE]
