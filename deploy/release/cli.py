"""`banksman release …`: make, sign and check releases of the node, and roll them out. Ends with 2 for bad input."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from broker import files
from deploy.release import build as releases
from deploy.release.build import ReleaseError
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
