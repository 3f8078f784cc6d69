"""`banksman release …`: make, sign and check releases of the node, and roll them out. Ends with 2 for bad input."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from broker import files
from broker.messages import UpdateOrder
from deploy.release import build as releases
from deploy.release.build import ReleaseError
from deploy.terminal import failed
from edge.update import guard

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)

KEY, PUBLIC_KEY = "release.key", "release.pub"
UNSIGNED = ".unsigned"

File = Annotated[Path, typer.Argument(metavar="FILE", help="The release file.")]


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (ReleaseError, guard.Refused, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A file that is there only when all of it could be written."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as out:
            yield out
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@app.command()
def keygen(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the two keys go; not on a server.")],
    password: Annotated[
        str, typer.Option(prompt="Password of the key (empty: none)", hide_input=True, confirmation_prompt=True)
    ] = "",
) -> None:
    """Make the pair of keys once. Who has release.key can make every node run anything."""
    with _told():
        if (folder / KEY).exists():
            raise ReleaseError(f"{folder / KEY} is there already; nodes trust that one")
        folder.mkdir(parents=True, exist_ok=True)
        private, public = releases.new_key(password)
        files.write(folder / PUBLIC_KEY, public)
        files.write(folder / KEY, private, files.SECRET)
    typer.echo(f"{folder / KEY}  secret: keep it, with a copy, away from every server")
    typer.echo(f"{folder / PUBLIC_KEY}  goes onto the cards")


@app.command()
def build(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the release file goes.")],
    target: Annotated[str, typer.Option(help="Machine and Python of the nodes.")] = "aarch64-cp313",
    wheels: Annotated[
        Path | None, typer.Option(help="A folder with the wheels of the target; by default they are downloaded.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A model folder: make a release of this detector instead of one of the program.")
    ] = None,
    sequence: Annotated[
        int, typer.Option(min=0, help="Of two releases the newer has the higher; 0: year, month, day, hour, minute.")
    ] = 0,
) -> None:
    """Make a release file; it is not signed yet."""
    now = dt.datetime.now(dt.UTC)
    with _told(), tempfile.TemporaryDirectory(prefix="banksman-release-") as work:
        if model is not None:
            contents = releases.model(model)
        else:
            contents = releases.app(wheels or _fetched(Path(work) / "wheels", target), target)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{contents.name}-{contents.version}-{contents.target}{UNSIGNED}.tar"
        with _whole(path) as out:
            release = releases.write(contents, sequence or int(f"{now:%Y%m%d%H%M}"), now, out)
    typer.echo(f"{path}  {len(release.files)} files, {release.size / 1e6:.0f} MB, sequence {release.sequence}")


def _fetched(folder: Path, target: str) -> Path:
    from deploy.release import wheels  # noqa: PLC0415 who has the wheels needs no uv

    try:
        wheels.fetch(folder, target)
    except wheels.WheelError as error:
        raise ReleaseError(str(error)) from error
    return folder


@app.command()
def sign(
    file: File,
    key: Annotated[Path, typer.Option(help="The private key.")] = Path(KEY),
    password: Annotated[str, typer.Option(prompt="Password of the key (empty: none)", hide_input=True)] = "",
) -> None:
    """Check an unsigned release file and put a signed one beside it."""
    with _told():
        if not file.name.endswith(f"{UNSIGNED}.tar"):
            raise ReleaseError(f"{file}: not what `banksman release build` makes, …{UNSIGNED}.tar")
        path = file.with_name(file.name.removesuffix(f"{UNSIGNED}.tar") + ".tar")
        private = releases.read_key(key.read_bytes(), password)
        with file.open("rb") as unsigned, _whole(path) as out:
            releases.sign(unsigned, private, out)
    typer.echo(path)


@app.command()
def verify(file: File, key: Annotated[Path, typer.Option(help="The public key.")] = Path(PUBLIC_KEY)) -> None:
    """Check signature and every file, as a node does."""
    with _told():
        release = guard.verify(file, key)
    typer.echo(f"{release.name} {release.version}, sequence {release.sequence}, for {release.target}: good")


@app.command(name="roll-out")
def roll_out(  # noqa: PLR0917 Typer's: each is an option
    file: File,
    settings: Annotated[Path, typer.Argument(metavar="DISPATCH.yaml", help="Dispatch's settings on this server.")],
    cert: Annotated[Path, typer.Option(help="Certificate of the service `roll-out` (role dispatch) of broker.toml.")],
    key: Annotated[Path, typer.Option(help="Its key.")],
    public_key: Annotated[Path, typer.Option("--public-key", help="What nodes trust.")] = Path(PUBLIC_KEY),
    node: Annotated[
        list[str] | None, typer.Option("--node", metavar="SITE/NODE", help="This node; may be given several times.")
    ] = None,
    site: Annotated[str, typer.Option(help="All nodes of this site.")] = "",
    everywhere: Annotated[bool, typer.Option("--all", help="All nodes.")] = False,
) -> None:
    """Bring nodes to a signed release: one first, then the rest of its site, then all others; again goes on.

    Runs on the site server. Ends with 1 at the first node that fails, with 3 where nodes were offline.
    """
    from broker.dispatch.settings import SettingsError, load  # noqa: PLC0415 who builds releases has no server
    from deploy.release import rollout  # noqa: PLC0415

    if sum((bool(node), bool(site), everywhere)) != 1:
        raise failed("say which nodes: --node SITE/NODE, --site SITE or --all")
    with _told():
        release = guard.verify(file, public_key)
    try:
        there = load(settings)
        order = _offered(file, release, there.releases)
        with rollout.connected(there.mqtt.model_copy(update={"cert": cert, "key": key})) as line:
            nodes = rollout.known(line)
            wanted = node or [name for name in sorted(nodes) if everywhere or name.startswith(f"{site}/")]
            going = rollout.RollOut(line, order, lambda who, what: typer.echo(f"{who}: {what}"), time.monotonic)
            ended = going.run(nodes, wanted)
    except (SettingsError, rollout.RollOutError, OSError) as error:
        raise failed(str(error)) from error
    good, away = sum(one.good for one in ended), [one.node for one in ended if one.code == "offline"]
    typer.echo(f"{good} of {len(wanted)} nodes have {release.name} {release.version}")
    if away:
        typer.echo(f"offline, not asked: {', '.join(away)}")
    if good + len(away) < len(wanted):
        raise typer.Exit(1)
    if away or not wanted:
        raise typer.Exit(3)


def _offered(file: Path, release: guard.Release, folder: Path) -> UpdateOrder:
    """Put the file where nodes fetch it. Raises OSError."""
    with file.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / digest).exists():
        with _whole(folder / digest) as out, file.open("rb") as source:
            shutil.copyfileobj(source, out)
    return UpdateOrder(
        sha256=digest, bytes=file.stat().st_size, name=release.name, version=release.version, sequence=release.sequence
    )
