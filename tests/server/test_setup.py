"""`banksman server setup`: services that run are brought to what is needed, whatever they lack; twice is as once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.dispatch import settings as dispatch
from broker.dispatch.database import open_engine, reading
from broker.dispatch.tables import Membership, Person, Site
from deploy.server import layout, setup
from deploy.server.layout import Places, secret
from deploy.server.settings import ServerError, load
from deploy.server.setup import Step
from tests.server import builders
from tests.server.builders import edit, server
from tests.server.stubs import GrafanaStub, InfluxStub


@dataclass
class World:
    """A server's folder, and services that stand for those of its containers."""

    folder: Path
    influx: InfluxStub
    grafana: GrafanaStub

    @property
    def places(self) -> Places:
        return replace(
            Places.of(load(self.folder)),
            influx=self.influx.url.removeprefix("http://"),
            grafana=self.grafana.url.removeprefix("http://").removesuffix("/grafana"),
        )

    def set_up_influx(self) -> list[Step]:
        return list(setup.influx(self.folder, load(self.folder), self.places, time.time()))

    def set_up_grafana(self, *, secrets: bool = False, overwrite: bool = False) -> list[Step]:
        settings = load(self.folder)
        return list(setup.grafana(self.folder, settings, self.places, lambda _: overwrite, secrets=secrets))


@pytest.fixture
def world(folder: Path) -> Iterator[World]:
    with InfluxStub() as influx, GrafanaStub(secret(folder, "grafana-admin")) as grafana:
        yield World(folder, influx, grafana)


def keys(steps: list[Step]) -> list[str]:
    return [step.key for step in steps]


ALL = ["influx_new", "influx_mapped", "influx_token", "influx_token", "dispatch", "influx"]


def test_an_empty_influxdb_gets_all_that_is_needed(world: World) -> None:
    assert keys(world.set_up_influx()) == ALL
    assert world.influx.admin == secret(world.folder, "influx-admin")
    assert world.influx.kept_s == 0  # for ever: dispatch deletes minutes itself
    (mapping,) = world.influx.mappings
    assert mapping["bucketID"] == world.influx.buckets["banksman"]
    assert (mapping["database"], mapping["default"]) == ("banksman", True)
    assert world.influx.rights(secret(world.folder, "influx-dispatch")) == {"read", "write"}
    assert world.influx.rights(secret(world.folder, "influx-grafana")) == {"read"}


def test_dispatch_gets_its_token_and_enrolment_the_operators(world: World) -> None:
    world.set_up_influx()
    settings = dispatch.load(world.folder / "dispatch/dispatch.yaml")
    assert settings.influx is not None
    assert settings.influx.token.get_secret_value() == secret(world.folder, "influx-dispatch")
    assert settings.influx.url == "http://influxdb:8086"
    assert settings.enrol is not None
    assert settings.enrol.influx_admin_token_file is not None
    assert settings.enrol.influx_admin_token_file.read_text().strip() == world.influx.admin
    assert settings.enrol.influx_url == f"https://{builders.HOST}:8086"  # as nodes reach it: through the proxy


def test_a_second_time_writes_nothing(world: World) -> None:
    world.set_up_influx()
    world.set_up_grafana()
    before = builders.snapshot(world.folder), len(world.influx.writes), len(world.grafana.writes)
    assert keys(world.set_up_influx()) == ["influx"]
    assert keys(world.set_up_grafana()) == ["boards_same"]
    assert (builders.snapshot(world.folder), len(world.influx.writes), len(world.grafana.writes)) == before
    assert "nothing has changed" in server("init", world.folder)


def _no_bucket(world: World) -> None:
    world.influx.buckets.clear()
    world.influx.mappings.clear()


def _kept_for_a_month(world: World) -> None:
    world.influx.kept_s = 30 * 86_400


def _no_mapping(world: World) -> None:
    world.influx.mappings.clear()


def _a_token_is_gone(world: World) -> None:
    for one in list(world.influx.authorizations.values()):
        if one["token"] == secret(world.folder, "influx-grafana"):
            del world.influx.authorizations[one["id"]]


def _a_file_is_gone(world: World) -> None:
    (world.folder / "secrets/influx-dispatch").unlink()


@pytest.mark.parametrize(
    ("lacking", "done"),
    [
        (_no_bucket, ["influx_bucket", "influx_mapped", "influx"]),
        (_kept_for_a_month, ["influx_kept", "influx"]),
        (_no_mapping, ["influx_mapped", "influx"]),
        (_a_token_is_gone, ["influx_token", "influx"]),
        (_a_file_is_gone, ["influx_token", "dispatch", "influx"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_missing_is_made(world: World, lacking: object, done: list[str]) -> None:
    world.set_up_influx()
    assert callable(lacking)
    lacking(world)
    assert keys(world.set_up_influx()) == done
    assert keys(world.set_up_influx()) == ["influx"]
    assert world.influx.kept_s == 0
    # What was replaced is good for nothing any more.
    assert len(world.influx.authorizations) == 2


def test_it_goes_on_where_it_broke_off(world: World) -> None:
    world.influx.trouble["POST"] = 503  # the first token
    with pytest.raises(ServerError, match="POST /api/v2/authorizations: 503"):
        world.set_up_influx()
    assert keys(world.set_up_influx()) == ["influx_token", "influx_token", "dispatch", "influx"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda world: setattr(world.influx, "admin", "of somebody else"), "was set up by somebody else"),
        (lambda world: setattr(world.influx, "version", "1.6.7"), "is not version 2; 2.9 is needed"),
        (lambda world: world.influx.stop(), "does not answer (ConnectError)"),
        (lambda world: (world.folder / "secrets/influx-admin").unlink(), "banksman server init"),
    ],
)
def test_what_cannot_be_done_is_told(world: World, wrong: object, told: str) -> None:
    assert callable(wrong)
    url = world.places
    wrong(world)
    with pytest.raises(ServerError) as error:
        list(setup.influx(world.folder, load(world.folder), url, time.time()))
    assert told in str(error.value)
    for name in layout.SECRETS:
        if (world.folder / "secrets" / name).exists():
            assert secret(world.folder, name) not in str(error.value)


def test_grafana_gets_account_source_boards_and_rules(world: World) -> None:
    world.set_up_influx()
    assert keys(world.set_up_grafana()) == ["grafana_account", "boards_written"]
    (account,) = world.grafana.accounts.values()
    assert (account["name"], account["role"]) == ("banksman", "Admin")
    (source,) = world.grafana.sources.values()
    assert source["url"] == f"http://{world.places.influx}"
    assert secret(world.folder, "influx-grafana") in str(source)
    assert {"banksman-site", "banksman-sites", "banksman-cases", "banksman-sensors", "banksman-fleet"} == set(
        world.grafana.boards
    )
    assert f"https://{builders.NAME}" in str(world.grafana.boards["banksman-site"])
    assert world.grafana.rules


def test_a_new_token_takes_the_place_of_one_that_is_lost(world: World) -> None:
    world.set_up_influx()
    world.set_up_grafana()
    (world.folder / "secrets/grafana").unlink()
    assert keys(world.set_up_grafana()) == ["grafana_account", "boards_same"]
    assert set(world.grafana.rights) == {secret(world.folder, "grafana")}
    assert len(world.grafana.accounts) == 1


def test_boards_that_somebody_changed_stay_unless_told(world: World) -> None:
    world.set_up_influx()
    world.set_up_grafana()
    world.grafana.edit("banksman-site", lambda board: board.update(title="Mine"))
    with pytest.raises(ServerError, match=r"not done: .+ \(kept\)"):
        world.set_up_grafana()
    assert keys(world.set_up_grafana(overwrite=True)) == ["boards_written"]


def test_another_password_is_told(world: World) -> None:
    world.set_up_influx()
    layout.keep_secret(world.folder, "grafana-admin", "another")
    with pytest.raises(ServerError, match="does not take the password of secrets/grafana-admin"):
        world.set_up_grafana()


def test_tables_sites_and_the_first_administrator(folder: Path, tmp_path: Path) -> None:
    edit(folder / "server.toml", (r"(?m)^boards = true", "boards = false"))
    server("init", folder)
    database = f"sqlite:///{tmp_path}/dispatch.db"
    edit(folder / "dispatch/dispatch.yaml", (r"(?m)^database: .*", f"database: {database}"))
    assert "There is no administrator yet" in server("setup", folder)
    said = server("setup", folder, "--admin", "li", asked="short\nshort\n", code=2)
    assert "password" in said.lower()
    server("setup", folder, "--admin", "li", asked="a long password\na long password\n")
    assert "administrator" not in server("setup", folder)
    engine = open_engine(database)
    with reading(engine) as session:
        assert session.scalars(select(Site.id)).all() == ["north-yard"]
        assert session.scalars(select(Person.login)).all() == ["li"]
        assert [(one.site, one.role) for one in session.scalars(select(Membership))] == [("*", "admin")]
    engine.dispose()
