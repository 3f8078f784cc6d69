"""`banksman model data`: build, report, review, import, join, export, pseudo-label."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import track

from models.data import interchange
from models.data.labels import CLASSES, DataError
from models.data.labelset import TABLE, joined, read_set, write_set
from models.data.merge import SEED, VAL_SHARE, merge
from models.data.pseudo import HALF_SURE, SURE, add_pseudo_labels, load_teacher
from models.data.report import count, table
from models.data.review import review

_WIDTH = 175  # of the report; where the terminal is narrower, it wraps lines instead of cutting every number

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Labelled photos for training and evaluation.",
)

Set = Annotated[Path, typer.Argument(help="Folder of a labelled set.")]


@app.command()
def build(
    sources: Annotated[Path, typer.Argument(help="Folder with images.tsv and a folder a source.")],
    out: Annotated[Path, typer.Argument(help="Where the labelled set is written.")],
    *,
    val_share: Annotated[float, typer.Option(help="Share of the training photos for tuning.")] = VAL_SHARE,
    seed: Annotated[int, typer.Option(help="Of the draw for tuning.")] = SEED,
    copy: Annotated[bool, typer.Option(help="Put the photos themselves there, not links.")] = False,
) -> None:
    """Merge all sources into one labelled set and report what is in it.

    Labelled frames of the clips are written to OUT-frames, which the set links to.
    """
    frames = out.with_name(f"{out.name}-frames")
    write_set(merge(sources, frames, val_share=val_share, seed=seed), out, copy=copy)
    show(out)


@app.command("report")
def show(
    folder: Set, *, as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False
) -> None:
    """Boxes by source, split and class."""
    counts = count(read_set(folder))
    if as_json:
        told = {source: {split: asdict(one) for split, one in splits.items()} for source, splits in counts.items()}
        typer.echo(json.dumps(told, indent=2))
    else:
        Console(width=max(Console().width, _WIDTH)).print(table(counts))


@app.command("review")
def look(
    folder: Set,
    out: Annotated[Path, typer.Argument(help="The JPEG.")],
    *,
    photos: Annotated[int, typer.Option("--count", help="How many photos.")] = 25,
    seed: Annotated[int, typer.Option(help="Another seed, other photos.")] = 0,
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    split: Annotated[str | None, typer.Option(help="Only of this split.")] = None,
    kind: Annotated[str | None, typer.Option("--class", help="Only with this class.")] = None,
) -> None:
    """A contact sheet of labels."""
    typer.echo(review(read_set(folder), out, count=photos, seed=seed, source=source, split=split, kind=kind))


@app.command("import")
def bring(
    what: Annotated[Path, typer.Argument(help="Folder of a YOLO data set, or a COCO JSON.")],
    out: Annotated[Path, typer.Argument(help="Where the labelled set is written.")],
    *,
    source: Annotated[str, typer.Option(help="Name for where the photos come from.")],
    complete: Annotated[str, typer.Option(help="Classes with every object labelled, by commas; or `all`.")],
    rename: Annotated[list[str] | None, typer.Option(help="theirs=ours; theirs=- drops the class.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="For COCO: folder of the photos; the JSON's own if not.")
    ] = None,
) -> None:
    """Bring labelled photos of another tool into a labelled set."""
    named = frozenset(CLASSES if complete == "all" else filter(None, complete.split(",")))
    if not named <= set(CLASSES):
        raise DataError(f"--complete: {sorted(named - set(CLASSES))} are none of {', '.join(CLASSES)}")
    pairs = [item.split("=", 1) for item in rename or []]
    if any(len(pair) != 2 for pair in pairs):
        raise DataError(f"--rename: {rename}: each must be theirs=ours")
    renames = dict(pairs)
    if (what / TABLE).is_file():
        typer.echo(f"{what} is a labelled set and says all this itself: --source, --complete, --rename are not used")
    if what.is_dir():
        photos = interchange.import_yolo(what, source=source, complete=named, renames=renames)
    else:
        photos = interchange.import_coco(what, pictures or what.parent, source=source, complete=named, renames=renames)
    write_set(photos, out, copy=True)
    show(out)


@app.command()
def join(
    out: Annotated[Path, typer.Argument(help="Where the joined set is written.")],
    folders: Annotated[list[Path], typer.Argument(help="Folders of labelled sets.", metavar="SET...")],
    *,
    copy: Annotated[bool, typer.Option(help="Put the photos themselves there, not links.")] = False,
) -> None:
    """Make one set out of several, for the next training."""
    write_set(joined(*map(read_set, folders)), out, copy=copy)
    show(out)


@app.command("export")
def hand_on(
    folder: Set,
    out: Annotated[Path, typer.Argument(help="Folder for YOLO, a .json for COCO.")],
    *,
    form: Annotated[Literal["yolo", "coco"], typer.Option("--as", help="The form.")] = "yolo",
) -> None:
    """Write a labelled set in a form that other tools read."""
    photos = read_set(folder)
    typer.echo(interchange.export_yolo(photos, out) if form == "yolo" else interchange.export_coco(photos, out))


@app.command()
def pseudo(
    folder: Set,
    weights: Annotated[Path, typer.Argument(help="The teacher, a .pt.")],
    out: Annotated[Path, typer.Argument(help="Where the labelled set with its labels is written.")],
    *,
    sure: Annotated[float, typer.Option(help="From this confidence a detection becomes a label.")] = SURE,
    half_sure: Annotated[float, typer.Option(help="From this one, a place to learn nothing from.")] = HALF_SURE,
    skip: Annotated[str, typer.Option(help="Classes that the teacher knows badly, by commas.")] = "",
) -> None:
    """Have a teacher label the training photos for classes that their sources do not label."""
    photos = read_set(folder)
    teacher, knows = load_teacher(weights)
    knows -= set(skip.split(","))
    labelled = add_pseudo_labels(photos, teacher, knows, sure=sure, half_sure=half_sure)
    write_set(list(track(labelled, "The teacher looks", total=len(photos))), out)
    show(out)
