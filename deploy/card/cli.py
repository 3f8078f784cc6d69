"""`banksman card …`: SD cards of nodes. Ends with 1 where nobody agreed to erase a card, 2 for bad input.

A card is made of a node file (NODE.zip: from the Cards page, or from `pack`) and the official image of Raspberry Pi OS
Lite (64-bit). Without Raspberry Pi Imager: `flash`. After it: `apply`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import httpx
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.card import download, drives, flash
from deploy.card.errors import CardError
from deploy.card.label import SIZES, WRITERS, of_node
from deploy.card.node import Node
from deploy.card.payload import Key, Token, inject, pack, unpack
from deploy.card.tree import Folder
from deploy.card.unpack import Step, Told
from deploy.card.wifi import Wifi
from deploy.terminal import failed, language_of
from deploy.text import Catalogue, catalogue

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)

Lang = Annotated[str, typer.Option("--lang", help="zh-CN or en; by default that of this terminal.")]
NodeFile = Annotated[Path, typer.Option("--node", metavar="NODE.zip", help="The node file.")]
Image = Annotated[
    str, typer.Option("--image", metavar="FILE|URL", help=".img.xz, .img, or an https address; by default the newest.")
]
Sha256 = Annotated[
    str, typer.Option("--sha256", help="Of that file; by default not compared, or as its publisher says by https.")
]


@contextmanager
def _told(language: str) -> Iterator[Catalogue]:
    try:
        yield catalogue(language)
    except CardError as error:
        raise failed(error.told(language)) from error
    except OSError as error:
        raise failed(f"{error.filename or ''}: {error.strerror}") from error


@contextmanager
def _progress(say: Catalogue) -> Iterator[Told]:
    """Bars on a terminal, one a step; nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def told(step: Step, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(say(f"card.step.{step}"), total=total or None)
            bars.update(tasks[step], completed=done, total=total or None)

        yield told


def _image(given: str, sha256: str, told: Told) -> tuple[Path, str]:
    """The file, and the checksum that is still to be compared."""
    if not given.startswith(("http:", "https:")) and given:
        return Path(given), sha256
    with httpx.Client(timeout=60) as client:
        return download.download(given or download.LATEST, flash.WORK, told, client=client, sha256=sha256), ""


@app.command("flash")
def flash_command(
    node: NodeFile,
    image: Image = "",
    sha256: Sha256 = "",
    drive: Annotated[str, typer.Option(help="The card's drive; by default you choose from a list.")] = "",
    lang: Lang = "",
) -> None:
    """Write a card: image and node file; then read it back and compare. Only removable drives are offered."""
    language = language_of(lang)
    with _told(language) as say:
        payload = unpack(node)
        chosen = drives.find(drive) if drive else _choose(say)
        drives.check(replace(chosen, mounted=()))  # what is mounted is so until somebody has agreed
        word, gb = payload.node.node.node, round(chosen.size / drives.GB)
        asked = say("card_cli.erase", path=chosen.path, name=chosen.name, gb=gb, word=word)
        if typer.prompt(asked, default="", show_default=False) != word:
            raise failed(say("card_cli.not_erased"), 1)
        drives.unmount(chosen)
        chosen = drives.find(chosen.path)
        with _progress(say) as told:
            file, expected = _image(image, sha256, told)
            flash.flash(file, chosen, lambda tree: inject(tree, payload), told, sha256=expected)
        typer.echo(say("card_cli.done", path=chosen.path, node=payload.node.node.id))


def _choose(say: Catalogue) -> drives.Drive:
    found = drives.cards()
    if not found:
        raise failed(say("card_cli.none"), 1)
    typer.echo(say("card_cli.drives"))
    for number, one in enumerate(found, 1):
        gb = round(one.size / drives.GB)
        typer.echo(say("card_cli.drive", number=number, path=one.path, name=one.name, gb=gb))
    which = 0
    while not 1 <= which <= len(found):  # Typer brings a click of its own, whose types are not to be had
        which = typer.prompt(say("card_cli.which"), type=int)
    return found[which - 1]


@app.command()
def apply(
    drive: Annotated[Path, typer.Argument(metavar="DRIVE", help="The drive bootfs of a flashed card, as E:\\ .")],
    node: NodeFile,
    lang: Lang = "",
) -> None:
    """Put a node file onto a card that Raspberry Pi Imager has written with Raspberry Pi OS Lite (64-bit)."""
    language = language_of(lang)
    with _told(language) as say:
        if not drive.is_dir():
            raise CardError("apply.no_folder", path=drive)
        payload = unpack(node)
        inject(Folder(drive), payload)
        typer.echo(say("card_cli.applied", path=drive, node=payload.node.node.id))


@app.command("image")
def image_command(
    nodes: Annotated[list[Path], typer.Argument(metavar="NODE.zip…", help="Node files.")],
    image: Annotated[Path, typer.Option(metavar="FILE", help="The official image, .img.xz or .img.")],
    sha256: Annotated[str, typer.Option("--sha256", help="Of that file, from the page it comes from.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where SITE-NODE.img.xz go.")] = Path(),
    lang: Lang = "",
) -> None:
    """Make a whole image for each node, and a manifest of them all for Raspberry Pi Imager."""
    from deploy.card import joined  # noqa: PLC0415 for servers

    with _told(language_of(lang)):
        out.mkdir(parents=True, exist_ok=True)
        of = joined.base(image, sha256.lower(), flash.WORK)
        for file in nodes:
            typer.echo(joined.write(of, unpack(file), out, time.time()))
        typer.echo(joined.collect(out, out.absolute().as_uri()))


@app.command()
def manifest(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where `image` has put the images.")],
    url: Annotated[str, typer.Option(help="Address of that folder; by default where it lies on this computer.")] = "",
    lang: Lang = "",
) -> None:
    """Make the manifest of all images in a folder again, for another address. Raspberry Pi Imager opens it."""
    from deploy.card import joined  # noqa: PLC0415 for servers

    with _told(language_of(lang)):
        typer.echo(joined.collect(folder, url or folder.absolute().as_uri()))


@app.command("label")
def label_command(
    *,
    node: NodeFile,
    out: Annotated[Path, typer.Option(metavar="FILE", help="An .svg, .pdf or .png.")],
    size: Annotated[str, typer.Option(help=f"{', '.join(SIZES)} (mm).")] = "a6",
    opens: Annotated[
        str, typer.Option(help="What the code opens: node or server, the page of one of the two.")
    ] = "node",
    password: Annotated[
        str, typer.Option(help="Of the node's page, to be printed too; anybody can read it then.")
    ] = "",
    lang: Annotated[str, typer.Option("--lang", help="zh-CN or en; by default the node's.")] = "",
) -> None:
    """Make the label for a node's box: its name, and a code that opens its page."""
    payload = unpack(node)
    language = lang or payload.node.node.language
    with _told(language_of(language)):
        if out.suffix not in WRITERS:
            raise CardError("label.kind", path=out)
        of = of_node(payload.node.node, payload.node.server.page_url if opens == "server" else None, password)
        out.write_bytes(WRITERS[out.suffix](of, size, language))
        typer.echo(out)


@app.command("pack")
def pack_command(
    settings: Annotated[Path, typer.Argument(metavar="CARDS.toml", help="What all cards have in common.")],
    name: Annotated[str, typer.Argument(metavar="SITE/NODE", help="As in north-yard/gate-03.")],
    *,
    out: Annotated[Path, typer.Option(metavar="NODE.zip", help="The file to make.")],
    token_file: Annotated[Path | None, typer.Option(help="Holds a token of `banksman enrol new`.")] = None,
    identity: Annotated[Path | None, typer.Option(metavar="DIR", help="A folder of `banksman enrol offline`.")] = None,
    called: Annotated[str, typer.Option(help="The node's name for people.")] = "",
    language: Annotated[str, typer.Option(help="Of the node: zh-CN or en.")] = "zh-CN",
    time_zone: Annotated[str, typer.Option(help="Of the site.")] = "Asia/Shanghai",
    latitude: Annotated[
        float | None, typer.Option(help="Of the site, degrees; by default the time zone's city.")
    ] = None,
    longitude: Annotated[float | None, typer.Option(help="Likewise.")] = None,
    camera: Annotated[str, typer.Option(help="usb, csi, or rtsp://…")] = "usb",
    wifi: Annotated[str, typer.Option(metavar="SSID", help="Name of the Wi-Fi; its password is asked for.")] = "",
    country: Annotated[str, typer.Option(help="Of the Wi-Fi.")] = "CN",
    lang: Lang = "",
) -> None:
    """Make a node file on the server's computer. The password of the node's page is told once, here."""
    from deploy.card import cards  # noqa: PLC0415 for servers

    with _told(language_of(lang)) as say:
        of_all = cards.load(settings)
        cards.check(of_all)
        site, _, node = name.partition("/")
        try:
            who = Node.model_validate(
                {
                    "site": site, "node": node, "name": called, "language": language, "time_zone": time_zone,
                    "latitude": latitude, "longitude": longitude,
                }
            )  # fmt: skip
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise CardError("file.wrong", where=name, problem=problems) from error
        given = _identity(token_file, identity, of_all.hours)
        secret = typer.prompt("Wi-Fi", hide_input=True, default="", show_default=False, err=True) if wifi else ""
        network = Wifi(wifi, secret, country) if wifi else None
        wanted = cards.Wanted(who, cards.new_password(), camera, network)
        with out.open("wb") as file:
            out.chmod(0o600)
            pack(cards.payload(of_all, wanted, given), file)
        typer.echo(say("card_cli.packed", path=out, node=who.id))
        typer.echo(say("card_cli.password", password=wanted.password), err=True)
        typer.echo(say("card_cli.password_then", path=out), err=True)


def _identity(token_file: Path | None, identity: Path | None, hours: float) -> Token | Key:
    if token_file is not None and identity is None:
        return Token(token_file.read_text(encoding="ascii").strip(), time.time() + 3600 * hours)
    if identity is not None and token_file is None:
        influx = identity / "influx.token"
        return Key(
            (identity / "node.pem").read_bytes(),
            (identity / "node.key").read_bytes(),
            influx.read_bytes() if influx.exists() else None,
        )
    raise CardError("pack.identity")
