"""One file that holds a site server, and a server made of it again.

A tar: `site/` (the folder), `database.dump` (pg_dump -Fc), `influx/` (influx backup), `evidence/`, and last
`manifest.json` with size, mode and SHA-256 of each. Boards are code, so Grafana has nothing in it.

The database is first: a picture is on disk before its row is written, so that each row of the dump has its file, but
for what retention removes while the backup runs.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import IO, Any

from alembic.util.exc import CommandError
from sqlalchemy import inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from broker import files
from broker.dispatch import ledger
from broker.dispatch import settings as dispatch_settings
from broker.dispatch.database import migrate, open_engine, reading
from deploy.server import check
from deploy.server.layout import CARDS, Places, secret
from deploy.server.make import give
from deploy.server.services import Influx
from deploy.server.settings import FILE, ServerError, ServerSettings, load

MANIFEST, DUMP = "manifest.json", "database.dump"
_SITE, _INFLUX, _EVIDENCE = "site", "influx", "evidence"
_PART = 1 << 20
_KEPT = (FILE, "secrets", "pki", "broker", "dispatch", "proxy", "ntp", "compose.yaml", ".env")
"""Of the folder; backups may lie there, too."""
_CARDS = PurePosixPath(CARDS, "cards.toml")
"""Without it, pages whose settings name it do not start; image and release beside it can be had again."""
_PRIVATE = ("secrets", "pki", "dispatch")
_MARK = "restore.json"
"""In the folder while a restore is under way: which backup, and what of it is done."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a backup. path: in the tar. mode: permissions."""

    path: str
    bytes: int
    sha256: str
    mode: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """keys: whether the authority's keys are in it. revision: of the tables. made: ISO 8601."""

    made: str
    version: str
    name: str
    revision: str
    keys: bool
    files: tuple[Entry, ...]

    def of(self, part: str) -> list[Entry]:
        return [one for one in self.files if one.path == part or one.path.startswith(f"{part}/")]

    @property
    def size(self) -> int:
        return sum(one.bytes for one in self.files)

    def to_json(self) -> bytes:
        values = {key: getattr(self, key) for key in ("made", "version", "name", "revision", "keys")}
        rows = [{key: getattr(one, key) for key in Entry.__slots__} for one in self.files]
        return json.dumps({**values, "files": rows}, ensure_ascii=False, indent=1).encode()


# -- making ------------------------------------------------------------------------------------------------------------


def write(folder: Path, settings: ServerSettings, places: Places, file: Path, now: float, *, keys: bool) -> Manifest:
    """Make a backup, readable by its owner only. Raises ServerError, SettingsError, DatabaseError, OSError."""
    if file.exists():
        raise ServerError(f"{file} is there already; backups are not overwritten")
    dispatch = dispatch_settings.load(folder / "dispatch/dispatch.yaml")
    url = dispatch.database.get_secret_value()
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=file.parent) as name:
        temporary = Path(name)
        part = temporary / "part"
        revision = _revision(url)
        _pg("pg_dump", url, "--format=custom", "--no-owner", "--no-acl", f"--file={temporary / DUMP}")
        if settings.boards:
            _influx("backup", folder, places, temporary / _INFLUX)
        with part.open("xb") as out, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            part.chmod(files.SECRET)
            entries = [_add(tar, temporary / DUMP, DUMP)]
            for source, to in ((folder, _SITE), (temporary / _INFLUX, _INFLUX), (dispatch.evidence, _EVIDENCE)):
                entries += [
                    entry for path in _walk(source) if (entry := _keep(tar, source, path, to, keys)) is not None
                ]
            made = dt.datetime.fromtimestamp(int(now), dt.UTC).isoformat()
            manifest = Manifest(made, version("banksman"), settings.name, revision, keys, tuple(entries))
            last = tarfile.TarInfo(MANIFEST)
            body = manifest.to_json()
            last.size, last.mode = len(body), files.SECRET
            tar.addfile(last, io.BytesIO(body))
        with part.open("rb") as whole:
            os.fsync(whole.fileno())
        verify(part)
        part.rename(file)
        files.sync_folder(file.parent)
    return manifest


def _walk(top: Path) -> Iterator[Path]:
    return (path for path in sorted(top.rglob("*")) if path.is_file() and not path.is_symlink())


def _keep(tar: tarfile.TarFile, top: Path, path: Path, to: str, keys: bool) -> Entry | None:
    """None for what is not kept, or was removed meanwhile."""
    inner = PurePosixPath(path.relative_to(top))
    if to == _SITE:
        if (
            (inner.parts[0] not in _KEPT and inner != _CARDS)
            or inner.is_relative_to("broker/data")
            or inner.name == ".lock"
        ):
            return None
        if not keys and inner.match("pki/authorities/*.key"):
            return None
    elif to == _EVIDENCE and inner.parts[0] == "incoming":  # not whole yet
        return None
    try:
        return _add(tar, path, f"{to}/{inner}")
    except FileNotFoundError:
        if to != _EVIDENCE:
            raise
        return None


class _Hashing:
    """A file that is read once, by the tar."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.hash, self.bytes = file, hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        self.bytes += len(data)
        return data


def _add(tar: tarfile.TarFile, path: Path, name: str) -> Entry:
    with path.open("rb") as file:
        info = tar.gettarinfo(arcname=name, fileobj=file)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        hashing = _Hashing(file)
        tar.addfile(info, hashing)
    return Entry(name, hashing.bytes, hashing.hash.hexdigest(), stat.S_IMODE(info.mode))


# -- looking -----------------------------------------------------------------------------------------------------------


def verify(file: Path) -> Manifest:
    """Read all of a backup; it is whole. Raises ServerError: what is wrong with it."""
    try:
        found, body = _sums(file)
    except tarfile.TarError as error:
        raise ServerError(f"{file}: not a backup, or cut off ({error})") from error
    if not body:
        raise ServerError(f"{file}: it has no {MANIFEST}, so it was not finished or is something else")
    manifest = _read_manifest(file, body)
    wanted = {one.path: (one.bytes, one.sha256) for one in manifest.files}
    for path in sorted(wanted.keys() | found.keys()):
        if path not in found:
            raise ServerError(f"{file}: {path} is missing")
        if path not in wanted:
            raise ServerError(f"{file}: {path} is not of this backup")
        if found[path] != wanted[path]:
            raise ServerError(f"{file}: {path} is damaged")
    return manifest


def _sums(file: Path) -> tuple[dict[str, tuple[int, str]], bytes]:
    """Size and SHA-256 of each file, and the manifest."""
    found: dict[str, tuple[int, str]] = {}
    body = b""
    for info, data in _members(file):
        if info.name == MANIFEST:
            body = data.read()
            continue
        if info.name in found:
            raise ServerError(f"{file}: {info.name} is in it twice")
        hashing = _Hashing(data)
        while hashing.read(_PART):
            pass
        found[info.name] = hashing.bytes, hashing.hash.hexdigest()
    return found, body


def _read_manifest(file: Path, body: bytes) -> Manifest:
    try:
        values = json.loads(body)
        entries = tuple(Entry(**one) for one in values.pop("files"))
        manifest = Manifest(**values, files=entries)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ServerError(f"{file}: its {MANIFEST} cannot be read ({type(error).__name__})") from error
    for one in entries:
        path = PurePosixPath(one.path)
        if path.is_absolute() or ".." in path.parts or path.parts[0] not in (DUMP, _SITE, _INFLUX, _EVIDENCE):
            raise ServerError(f"{file}: {one.path!r} is no place in a backup")
    return manifest


def _members(file: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """Raises tarfile.TarError, also while one is read."""
    with tarfile.open(file, mode="r:") as tar:
        for info in tar:
            data = tar.extractfile(info) if info.isreg() else None
            if data is None:
                raise ServerError(f"{file}: {info.name} is not an ordinary file")
            yield info, data


# -- restoring ---------------------------------------------------------------------------------------------------------


def restore(folder: Path, file: Path, places: Places | None = None) -> Iterator[tuple[str, Mapping[str, object]]]:
    """An empty server gets what the backup holds. What is done is told: key below `server.restore`, and fields.

    The folder comes first. Where the database does not answer yet it ends there, with `start`; the same again goes on.
    places: of the services; by default those of the folder's settings. Raises ServerError and what the parts raise.
    """
    manifest = verify(file)
    mark = {"backup": hashlib.sha256(manifest.to_json()).hexdigest(), "done": []}
    if (folder / _MARK).exists():
        there: dict[str, Any] = json.loads((folder / _MARK).read_text(encoding="utf-8"))
        if there["backup"] != mark["backup"]:
            raise ServerError(
                f"{folder}: the restore of another backup is under way there; finish it, or empty the folder"
            )
        mark = there
    elif folder.exists() and any(folder.iterdir()):
        raise ServerError(f"{folder} is not empty; a backup goes into an empty server only")
    if "site" not in mark["done"]:
        folder.mkdir(parents=True, exist_ok=True)
        _set(folder, mark, None)
        for name in _PRIVATE:
            (folder / name).mkdir(exist_ok=True, mode=0o700)
        _unpack(file, manifest, _SITE, folder)
        give(folder, load(folder))
        _set(folder, mark, "site")
        yield "site", {"folder": folder, "made": manifest.made}
        if not manifest.keys:
            yield "no_keys", {"folder": folder / "pki/authorities"}
    settings = load(folder)
    places = places or Places.of(settings)
    dispatch = dispatch_settings.load(folder / "dispatch/dispatch.yaml")
    url = dispatch.database.get_secret_value()
    if why := _silent(url):
        yield "start", {"why": why}
        return
    if "database" not in mark["done"]:
        _restore_database(file, manifest, url)
        _set(folder, mark, "database")
    yield "database", {"ledger": _ledger(url)}
    if "evidence" not in mark["done"]:
        dispatch.evidence.mkdir(parents=True, exist_ok=True)
        _unpack(file, manifest, _EVIDENCE, dispatch.evidence)
        give(folder, settings, dispatch.evidence)
        _set(folder, mark, "evidence")
    yield "evidence", {"count": len(manifest.of(_EVIDENCE))}
    if settings.boards and manifest.of(_INFLUX) and "influx" not in mark["done"]:
        _restore_influx(folder, file, manifest, places)
        _set(folder, mark, "influx")
        yield "influx", {}
    (folder / _MARK).unlink()
    yield "done", {"folder": folder}


def _set(folder: Path, mark: dict[str, Any], done: str | None) -> None:
    mark["done"] += [done] if done else []
    files.write(folder / _MARK, json.dumps(mark).encode(), files.SECRET)


def _unpack(file: Path, manifest: Manifest, part: str, to: Path) -> None:
    """Files that are there already and are the same stay. Raises ServerError where one is another."""
    wanted = {one.path: one for one in manifest.of(part)}
    for info, data in _members(file):
        if (entry := wanted.get(info.name)) is None:
            continue
        path = to / PurePosixPath(info.name).relative_to(part)
        if path.exists():
            with path.open("rb") as there:
                if hashlib.file_digest(there, "sha256").hexdigest() == entry.sha256:
                    continue
            raise ServerError(f"{path} is there already, and another file than in the backup")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".restore-", dir=path.parent)
        with os.fdopen(handle, "wb") as out:
            shutil.copyfileobj(data, out, _PART)
            out.flush()
            os.fchmod(out.fileno(), entry.mode)
            os.fsync(out.fileno())
        Path(name).rename(path)


def _restore_database(file: Path, manifest: Manifest, url: str) -> None:
    try:
        check.tables().get_revision(manifest.revision)
    except CommandError as error:
        raise ServerError(
            f"{file} was made by version {manifest.version}, whose tables this one does not know "
            f"({manifest.revision}); install that version or a newer one"
        ) from error
    engine = open_engine(url)
    try:
        if tables := inspect(engine).get_table_names():
            raise ServerError(
                f"the database is not empty ({len(tables)} tables); a backup goes into an empty one only: start "
                "PostgreSQL alone, with a new volume"
            )
        with _part(file, DUMP) as dump:
            _pg(
                "pg_restore",
                url,
                "--exit-on-error",
                "--single-transaction",
                "--no-owner",
                "--no-acl",
                f"--dbname={make_url(url).database}",
                str(dump),
            )
        migrate(engine)
    finally:
        engine.dispose()


def _restore_influx(folder: Path, file: Path, manifest: Manifest, places: Places) -> None:
    with Influx(f"http://{places.influx}", secret(folder, "influx-admin")) as server:
        server.onboard(secret(folder, "influx-admin"), secret(folder, "influx-password"))
    with tempfile.TemporaryDirectory(prefix="banksman-restore-") as name:
        _unpack(file, manifest, _INFLUX, Path(name))
        _influx("restore", folder, places, Path(name), "--full")


@contextmanager
def _part(file: Path, name: str) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(prefix="banksman-restore-") as out:
        for info, data in _members(file):
            if info.name == name:
                shutil.copyfileobj(data, out, _PART)
        out.flush()
        yield Path(out.name)


def _ledger(url: str) -> str:
    """What the audit ledger is like, in figures. Raises ServerError where it is not as it was written."""
    engine = open_engine(url)
    try:
        with reading(engine) as session:
            found = ledger.verify_all(session)
    finally:
        engine.dispose()
    if found.problems:
        raise ServerError(f"the audit ledger is not as it was written: {', '.join(sorted(found.problems))}")
    return f"{found.cases}/{found.lines}"


# -- programs of others ------------------------------------------------------------------------------------------------


def _revision(url: str) -> str:
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            return check.revision(connection) or ""
    finally:
        engine.dispose()


def _silent(url: str) -> str:
    """Why the database does not let us in; empty where it does."""
    engine = open_engine(url)
    try:
        engine.connect().close()
    except DBAPIError as error:
        return str(error.orig).strip().partition("\n")[0]
    finally:
        engine.dispose()
    return ""


def _pg(program: str, url: str, *arguments: str) -> None:
    _run([_program(program), *arguments], _pg_environment(url))


def _pg_environment(url: str) -> dict[str, str]:
    """Not as arguments, which everybody on the machine can read."""
    where = make_url(url)
    if where.get_backend_name() != "postgresql":
        raise ServerError("only a database on PostgreSQL is backed up here; SQLite is one file, to be copied")
    given = {
        "PGHOST": where.host, "PGPORT": str(where.port or 5432), "PGUSER": where.username,
        "PGPASSWORD": str(where.password) if where.password else None, "PGDATABASE": where.database,
    }  # fmt: skip
    return {**os.environ, **{key: value for key, value in given.items() if value}}


def _influx(what: str, folder: Path, places: Places, to: Path, *more: str) -> None:
    environment = {
        **os.environ,
        "INFLUX_TOKEN": secret(folder, "influx-admin"),
        "INFLUX_HOST": f"http://{places.influx}",
    }
    _run([_program("influx"), what, str(to), *more], environment)


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise ServerError(
            f"{name} is not installed here; it is in Banksman's container for the server (docs/server.md)"
        )
    return path


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-500:]
        raise ServerError(f"{Path(command[0]).name} ended with {done.returncode}: {said}")
