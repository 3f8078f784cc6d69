"""`banksman model eval MODEL SET --out REPORT`: eval.json and report.html."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, track

from models.data.labels import DataError, Photo
from models.data.labelset import in_split, read_set
from models.eval.events import PANS, play, scenes_of, table
from models.eval.misses import worst
from models.eval.network import Runtime, open_network, read_manifest, resized
from models.eval.page import page
from models.eval.scores import RESAMPLES, look_at, scores

JSON, HTML = "eval.json", "report.html"


def evaluate(
    model: Path,
    labelled: Path,
    out: Path,
    *,
    runtime: Runtime = "onnx",
    image_size: int | None = None,
    split: str = "test",
    every: int = 1,
    clips: Path | None = None,
    pans: int = PANS,
    before: Sequence[Path] = (),
    threads: int = 2,
    resamples: int = RESAMPLES,
) -> Path:
    """Measure a model on photos and, with `clips` or `pans`, as a whole node; returns the report's path.

    model: a model folder or a `.pt`. labelled: folder of a labelled set. image_size: of the input, as the model says
    unless given. every: only each so many-th photo, to try it out. before: other models, whose alarms stand beside.
    Raises `DataError`.
    """
    photos = in_split(read_set(labelled), split)[::every]
    if not photos:
        raise DataError(f"{labelled}: no photo is in the {split} split")
    names = [path.resolve().name for path in (*before, model)]
    if len(set(names)) != len(names):
        raise DataError(f"models to compare must differ in name: {', '.join(names)}")
    with tempfile.TemporaryDirectory(prefix="banksman-eval-") as scratch:
        if image_size and model.suffix == ".pt" and (clips or pans):
            raise DataError(
                f"{model}: a node runs a .pt at its own size; export it first, or ask for no alarms (--pans 0)"
            )
        if image_size and model.suffix != ".pt":
            model = resized(model, image_size, Path(scratch) / f"{model.resolve().name}@{image_size}")
        network = open_network(model, runtime, threads, image_size)
        looked = look_at(track(photos, f"{network.name} looks at photos"), network)
        told: dict[str, Any] = {
            "model": network.name,
            "runtime": "ultralytics" if model.suffix == ".pt" else runtime,
            "image_size": network.image_size,
            "version": None if model.suffix == ".pt" else read_manifest(model)["version"],
            "weights": network.weights,
            "split": split,
            "about": (
                f"Measured on the {split} split with every {_nth(every)} photo. A class counts only on photos that are "
                "completely labelled for it. Helmet means the hat alone, no_helmet the bare head down to the chin; "
                "labels drawn otherwise were converted (models/data/heads.py)."
            ),
            "photos": scores(looked, network.knows, resamples=resamples),
        }
        if clips or pans:
            told["events"] = _events([*before, model], photos, clips, pans, runtime, threads)
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

            found[model.resolve().name] = table(play(scenes, model, runtime=runtime, threads=threads, progress=done))
    return found


def _nth(every: int) -> str:
    return "single" if every == 1 else f"{every}th"


def main(
    model: Annotated[Path, typer.Argument(help="Model folder, or a .pt.")],
    labelled: Annotated[Path, typer.Argument(help="Folder of a labelled set.", metavar="SET")],
    *,
    out: Annotated[Path, typer.Option(help=f"Folder for {JSON} and {HTML}.")],
    runtime: Annotated[Runtime, typer.Option(help="What runs the network.")] = "onnx",
    image_size: Annotated[int | None, typer.Option(help="Longer side of the input; as the model says.")] = None,
    split: Annotated[str, typer.Option(help="Of the photos.")] = "test",
    every: Annotated[int, typer.Option(min=1, help="Only each so many-th photo.")] = 1,
    clips: Annotated[Path | None, typer.Option(help="Folder of the clips with known truth.")] = None,
    pans: Annotated[int, typer.Option(min=0, help="Pans over photos for the alarms; 0 for none.")] = PANS,
    before: Annotated[list[Path] | None, typer.Option(help="Another model whose alarms stand beside.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of the network.")] = 2,
) -> None:
    """Measure a model on held-out photos and as a whole node; write JSON and a report."""
    report = evaluate(
        model, labelled, out, runtime=runtime, image_size=image_size, split=split, every=every,
        clips=clips, pans=pans, before=before or (), threads=threads,
    )  # fmt: skip
    typer.echo(f"wrote {report}")
