"""`banksman model eval MODEL SET --out REPORT`: eval.json and report.html."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, track

from models.data.labels import DataError, Photo
from models.data.labelset import in_split, read_set
from models.eval.events import PANS, play, scenes_of, table
from models.eval.misses import worst
from models.eval.network import Runtime, open_network
from models.eval.page import page
from models.eval.scores import RESAMPLES, look_at, scores

JSON, HTML = "eval.json", "report.html"


def evaluate(
    model: Path,
    labelled: Path,
    out: Path,
    *,
    runtime: Runtime = "onnx",
    split: str = "test",
    every: int = 1,
    clips: Path | None = None,
    pans: int = PANS,
    before: Path | None = None,
    threads: int = 2,
    resamples: int = RESAMPLES,
) -> Path:
    """Measure a model on photos and, with `clips` or `pans`, as a whole node; returns the report's path.

    model: a model folder or a `.pt`. labelled: folder of a labelled set. every: only each so many-th photo, to try it
    out. before: another model, whose alarms stand beside. Raises `DataError`.
    """
    photos = in_split(read_set(labelled), split)[::every]
    if not photos:
        raise DataError(f"{labelled}: no photo is in the {split} split")
    network = open_network(model, runtime, threads)
    looked = look_at(track(photos, f"{network.name} looks at photos"), network)
    told: dict[str, Any] = {
        "model": network.name,
        "runtime": "ultralytics" if model.suffix == ".pt" else runtime,
        "split": split,
        "about": (
            f"Measured on the {split} split with every {_nth(every)} photo. A class counts only on photos that are "
            "completely labelled for it. Helmet means the hat alone, no_helmet the bare head down to the chin; labels "
            "drawn otherwise were converted (models/data/heads.py)."
        ),
        "photos": scores(looked, network.knows, resamples=resamples),
    }
    if clips or pans:
        told["events"] = _events([before, model] if before else [model], photos, clips, pans, runtime, threads)
    out.mkdir(parents=True, exist_ok=True)
    (out / JSON).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    report = out / HTML
    report.write_text(page(told, worst(looked, network.knows)), encoding="utf-8")
    return report


def _events(  # noqa: PLR0917 - its caller's options
    models: Sequence[Path], photos: Sequence[Photo], clips: Path | None, pans: int, runtime: str, threads: int
) -> dict[str, Any]:
    scenes = scenes_of(photos, clips, pans)
    found = {}
    with Progress() as progress:
        for model in models:
            task = progress.add_task(f"a node with {model.name}", total=len(scenes))

            def done(count: int, task: Any = task) -> None:
                progress.advance(task, count)

            found[model.name] = table(play(scenes, model, runtime=runtime, threads=threads, progress=done))
    return found


def _nth(every: int) -> str:
    return "single" if every == 1 else f"{every}th"


def main(
    model: Annotated[Path, typer.Argument(help="Model folder, or a .pt.")],
    labelled: Annotated[Path, typer.Argument(help="Folder of a labelled set.", metavar="SET")],
    *,
    out: Annotated[Path, typer.Option(help=f"Folder for {JSON} and {HTML}.")],
    runtime: Annotated[Runtime, typer.Option(help="What runs the network.")] = "onnx",
    split: Annotated[str, typer.Option(help="Of the photos.")] = "test",
    every: Annotated[int, typer.Option(min=1, help="Only each so many-th photo.")] = 1,
    clips: Annotated[Path | None, typer.Option(help="Folder of the clips with known truth.")] = None,
    pans: Annotated[int, typer.Option(min=0, help="Pans over photos for the alarms; 0 for none.")] = PANS,
    before: Annotated[Path | None, typer.Option(help="Another model whose alarms stand beside.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of the network.")] = 2,
) -> None:
    """Measure a model on held-out photos and as a whole node; write JSON and a report."""
    try:
        report = evaluate(
            model, labelled, out, runtime=runtime, split=split, every=every,
            clips=clips, pans=pans, before=before, threads=threads,
        )  # fmt: skip
    except DataError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"wrote {report}")
