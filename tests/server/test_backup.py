"""`banksman server backup` and `restore`: what was there is there again, and nothing that is damaged is taken."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, text

from broker.dispatch import desk
from broker.dispatch.cases import Note, on_event
from broker.dispatch.database import migrate, open_engine, transaction
from broker.dispatch.evidence import Store
from broker.pki import names
from broker.pki.authority import Pki
from broker.pki.names import PkiError
from deploy.server import backup
from deploy.server.layout import Places, secret
from deploy.server.settings import ServerError, load
from tests.dispatch.core.builders import NOW, event
from tests.server.builders import edit, server, snapshot
from tests.server.stubs import InfluxStub
from tests.servers import HOST, Postgres

INFLUX = """#!/bin/sh
# A STUB of InfluxDB's own program, which cannot be had here: what it is told to keep, it gives back.
set -eu
[ "$INFLUX_HOST" = "{host}" ] || { echo "connect: $INFLUX_HOST" >&2; exit 1; }
case "$1" in
    backup) mkdir -p "$2"; cp "{store}" "$2/20261127T080000Z.1.tar.gz"; echo "$INFLUX_TOKEN" > "{store}.token" ;;
    restore) [ "$3" = --full ]; cp "$2/20261127T080000Z.1.tar.gz" "{store}" ;;
    *) exit 2 ;;
esac
"""


class World:
    """A server with cases, pictures and points, and what is left of it when it is gone."""

    def __init__(self, folder: Path, postgres: Postgres, template: str, influx: InfluxStub) -> None:
        self.folder, self.postgres, self.influx = folder, postgres, influx
        self.home = folder.parent
        self.file, self.evidence, self.points = (self.home / name for name in ("backup.tar", "evidence", "points"))
        self.url = postgres.database(template)
        edit(
            folder / "dispatch/dispatch.yaml",
            (r"(?m)^database: .*", f"database: {self.url}"),
            (r'"/var/lib/banksman/evidence"', f'"{self.evidence}"'),
        )
        self.places = replace(Places.of(load(folder)), influx=influx.url.removeprefix("http://"))
        self.engine = open_engine(self.url)
        store = Store(self.evidence)
        for n in range(3):
            content = b"\xff\xd8\xff" + bytes(range(256)) * (n + 1)
            store.write("a1", sha256(content).hexdigest(), "snapshot", content)
        (self.evidence / "incoming/half").write_bytes(b"half a picture")
        self.points.write_bytes(b"a month of points")
        program = self.home / "bin/influx"
        program.parent.mkdir()
        program.write_text(INFLUX.replace("{host}", influx.url).replace("{store}", str(self.points)))
        program.chmod(0o755)

    def back_up(self, *, keys: bool = False) -> backup.Manifest:
        return backup.write(self.folder, load(self.folder), self.places, self.file, NOW, keys=keys)

    def restore(self) -> list[str]:
        return [key for key, _ in backup.restore(self.folder, self.file, self.places)]

    def burn(self) -> None:
        """Nothing is left but the backup."""
        shutil.rmtree(self.folder)
        shutil.rmtree(self.evidence)
        self.points.write_bytes(b"")
        with self.engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def pictures(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.evidence / "files").rglob("*") if path.is_file()}


def rows(engine: Engine) -> dict[str, list[Any]]:
    """All there is in a database."""
    found = {}
    with engine.connect() as connection:
        for table in sorted(inspect(engine).get_table_names()):
            found[table] = sorted(map(str, connection.execute(text(f'SELECT * FROM "{table}"'))))  # noqa: S608
    return found


def contents(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    return {name: kept[:3] for name, kept in snapshot(folder).items()}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres(durable=False) as running:
        yield running


@pytest.fixture(scope="module")
def template(postgres: Postgres) -> str:
    """A database with cases, to be copied."""
    engine = open_engine(url := postgres.database())
    migrate(engine)
    with transaction(engine) as session:
        desk.write(session, [on_event(None, event(), NOW, "c1"), on_event(None, event(place="b"), NOW, "c2")], NOW)
        desk.do(session, "c1", Note("rain 雨"), "ann", NOW)
    engine.dispose()
    return url


@pytest.fixture
def world(folder: Path, postgres: Postgres, template: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with InfluxStub() as influx:
        world = World(folder, postgres, template, influx)
        monkeypatch.setenv("PATH", f"{world.home}/bin:{os.environ['PATH']}")
        yield world
        world.engine.dispose()


ALL = ["site", "database", "evidence", "influx", "done"]


@pytest.mark.parametrize("keys", [True, False])
def test_everything_is_there_again(world: World, keys: bool) -> None:
    (world.folder / "an-older-backup.tar").write_bytes(b"not to be kept")
    (world.folder / "broker/data/mosquitto.db").write_bytes(b"not to be kept")
    (world.folder / "cards/raspios.img.xz").write_bytes(b"not to be kept")
    (world.folder / "cards/cards.toml").write_text("# the pages do not start without it\n")
    manifest = world.back_up(keys=keys)
    assert manifest.keys == keys
    assert stat.S_IMODE(world.file.stat().st_mode) == 0o600
    before = rows(world.engine), world.pictures(), contents(world.folder), world.points.read_bytes()
    world.burn()
    assert world.restore() == (ALL if keys else ["site", "no_keys", *ALL[1:]])
    (was, pictures, site, points), now = before, contents(world.folder)
    assert len(was["ledger"]) >= 3
    assert rows(world.engine) == was
    assert world.pictures() == pictures
    assert len(pictures) == 3
    assert world.points.read_bytes() == points
    for name in ("an-older-backup.tar", "broker/data/mosquitto.db", "pki/.lock", "cards/raspios.img.xz"):
        site.pop(name)
    key = site.pop("pki/authorities/1.key")
    assert now.pop("pki/authorities/1.key", None) == (key if keys else None)
    assert now == site  # owners and modes, too
    assert stat.S_IMODE((world.folder / "secrets").stat().st_mode) == 0o700
    assert not (world.evidence / "incoming/half").exists()


def test_without_keys_certificates_are_read_but_none_is_issued(world: World) -> None:
    world.back_up()
    world.burn()
    world.restore()
    pki = Pki(world.folder / "pki")
    with pytest.raises(PkiError, match=r"1\.key"):
        pki.issue(names.node("north-yard/gate-04"), time.time())
    assert "nothing has changed" not in server("init", world.folder)  # dispatch.yaml is the test's own


def test_what_the_commands_say(world: World) -> None:
    for options, told in (
        ((), "holds passwords and keys"),
        (("--with-keys",), "ATTENTION: the private authority's keys"),
    ):
        world.file.unlink(missing_ok=True)
        edit(world.home / "bin/influx", (r"\[ \"\$INFLUX_HOST\" .*", ":")) if not options else None
        said = server("backup", world.folder, str(world.file), *options)
        assert told in said
        assert secret(world.folder, "postgres") not in said
    assert "whole" in server("backup", world.folder, str(world.file), "--verify")
    assert "is there already" in server("backup", world.folder, str(world.file), code=2)
    assert "is not empty" in server("restore", world.folder, str(world.file), code=2)


def test_influxdbs_program_gets_its_token_where_nobody_sees_it(world: World) -> None:
    world.back_up()
    token = Path(f"{world.points}.token").read_text().strip()
    assert token == secret(world.folder, "influx-admin")


# -- what is wrong with a backup ---------------------------------------------------------------------------------------


def _members(file: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(file) as tar:
        return [(one, tar.extractfile(one).read()) for one in tar]  # type: ignore[union-attr]


def _rewrite(file: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with tarfile.open(file, "w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[data.index(b"PGDMP") + 100] ^= 1
    file.write_bytes(data)


def _cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _without(name: str) -> Callable[[Path], None]:
    return lambda file: _rewrite(file, [one for one in _members(file) if one[0].name != name])


def _more(name: str, data: bytes = b"x") -> Callable[[Path], None]:
    return lambda file: _rewrite(file, [(tarfile.TarInfo(name), data), *_members(file)])


def _link(file: Path) -> None:
    link = tarfile.TarInfo("site/secrets/web2")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
    _rewrite(file, [(link, b""), *_members(file)])


def _outside(file: Path) -> None:
    members = _members(file)
    manifest = json.loads(members[-1][1])
    manifest["files"][0]["path"] = "site/../../etc/passwd"
    _rewrite(file, [*members[:-1], (members[-1][0], json.dumps(manifest).encode())])


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_flip, "database.dump is damaged"),
        (_cut, "cut off"),
        (lambda file: file.write_bytes(b"not a tar at all" * 100), "not a backup, or cut off"),
        (lambda file: file.write_bytes(b""), "not a backup"),
        (_without("manifest.json"), "it has no manifest.json"),
        (_without("site/server.toml"), "site/server.toml is missing"),
        (_more("site/secrets/more"), "site/secrets/more is not of this backup"),
        (_more("site/server.toml"), "site/server.toml is in it twice"),
        (_more("../../etc/cron.d/x"), "../../etc/cron.d/x is not of this backup"),
        (_link, "site/secrets/web2 is not an ordinary file"),
        (_outside, "'site/../../etc/passwd' is no place in a backup"),
    ],
)
def test_a_damaged_backup_is_not_taken(world: World, harm: Callable[[Path], None], told: str) -> None:
    world.back_up()
    backup.verify(world.file)
    harm(world.file)
    with pytest.raises(ServerError, match=r"(?s)" + told.replace("/", r"/").replace(".", r"\.")):
        backup.verify(world.file)
    world.burn()
    with pytest.raises(ServerError):
        world.restore()
    assert not world.folder.exists()
    assert rows(world.engine) == {}


# -- where a backup does not go, and what goes wrong ------------------------------------------------------------------


def test_a_database_with_something_in_it_stays(world: World) -> None:
    world.back_up()
    shutil.rmtree(world.folder)
    before = rows(world.engine)
    with pytest.raises(ServerError, match="the database is not empty"):
        world.restore()
    assert rows(world.engine) == before


def test_pictures_that_are_there_stay(world: World) -> None:
    world.back_up()
    world.burn()
    first = next(one for one in backup.verify(world.file).of("evidence"))
    there = world.evidence / first.path.removeprefix("evidence/")
    there.parent.mkdir(parents=True)
    there.write_bytes(b"another")
    with pytest.raises(ServerError, match="another file than in the backup"):
        world.restore()
    there.unlink()
    assert world.restore() == ALL[1:]  # goes on


def test_it_waits_for_the_database_and_goes_on(world: World) -> None:
    world.back_up()
    world.burn()
    world.postgres.kill()
    try:
        assert world.restore() == ["site", "no_keys", "start"]
        assert "does not answer yet" in server("restore", world.folder, str(world.file), code=1)
    finally:
        world.postgres.start()
    world.engine.dispose()
    other = world.home / "other.tar"
    members = _members(world.file)
    manifest = json.loads(members[-1][1])
    _rewrite(other, [*members[:-1], (members[-1][0], json.dumps(manifest | {"made": "later"}).encode())])
    with pytest.raises(ServerError, match="restore of another backup is under way"):
        list(backup.restore(world.folder, other, world.places))
    assert world.restore() == ALL[1:]
    assert not (world.folder / "restore.json").exists()


def test_tables_of_a_newer_version_are_refused(world: World) -> None:
    world.back_up()
    world.burn()
    members = _members(world.file)
    manifest = json.loads(members[-1][1]) | {"version": "9.0.0", "revision": "v9999"}
    _rewrite(world.file, [*members[:-1], (members[-1][0], json.dumps(manifest).encode())])
    with pytest.raises(ServerError, match=r"version 9\.0\.0, whose tables this one does not know"):
        world.restore()
    assert rows(world.engine) == {}


@pytest.mark.parametrize("fault", ["database", "influx", "evidence"])
def test_a_backup_that_fails_leaves_nothing(world: World, fault: str) -> None:
    if fault == "database":
        url = f"postgresql://banksman:a-secret-password@{HOST}:{world.postgres.port}/not_there"
        edit(world.folder / "dispatch/dispatch.yaml", (r"(?m)^database: .*", f"database: {url}"))
    elif fault == "influx":
        world.places = replace(world.places, influx="other:8086")
    else:
        shutil.rmtree(world.evidence)
        os.mkfifo(world.folder / "secrets/pipe")
    before = set(world.home.iterdir())
    if fault == "evidence":  # neither a pipe nor a folder that is not there yet is a fault
        assert "site/secrets/pipe" not in {one.path for one in world.back_up().files}
        return
    with pytest.raises(Exception) as error:  # noqa: PT011 of the database's own kind, or ours
        world.back_up()
    assert "a-secret-password" not in str(error.value)
    assert secret(world.folder, "influx-admin") not in str(error.value)
    assert set(world.home.iterdir()) == before


def test_a_picture_that_retention_takes_meanwhile_is_left_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = backup._walk

    def taking(top: Path) -> Iterator[Path]:
        found = list(walk(top))
        if top == world.evidence:
            next(path for path in found if "files" in path.parts).unlink()
        yield from found

    monkeypatch.setattr(backup, "_walk", taking)
    assert len(world.back_up().of("evidence")) == 2
    assert len(backup.verify(world.file).of("evidence")) == 2
