"""From a training run to the shipped weights, with all that is said of them measured anew.

    banksman model release var/runs/a/weights/best.pt var/labelled site-v1 --version 2 --source "YOLO26n, …" \\
        --about models/weights/site-v1 --run var/runs/a --clips ../shared/data/clips --closer helmet --closer person

In `models/`: `checkpoints/NAME.pt`, `weights/NAME`, `weights/NAME-int8`, `results/NAME`, `CARD.md`. In half an hour.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import models
from models.card import RECIPE, card_of, recipe_of
from models.data.labels import CLASSES, DataError
from models.data.labelset import in_split, read_set
from models.eval.command import JSON, evaluate
from models.eval.network import read_manifest
from models.eval.runtimes import compared
from models.export import export
from models.quantize import quantise

HOME = Path(models.__path__[0])
LEAST_RECALL = 0.5
_TASK = "detect"


def checkpoint(trained: Path, out: Path) -> Path:
    """The averaged weights of a training run in half precision, without its optimizer or any path; returns `out`."""
    import torch  # noqa: PLC0415 - the help of the command is shown without it

    found = torch.load(trained, map_location="cpu", weights_only=False)
    network = (found.get("ema") or found["model"]).half().eval().requires_grad_(requires_grad=False)
    size = int(found["train_args"]["imgsz"])
    network.criterion = None  # the loss, which is not needed any more and holds classes of this project
    network.args = {"task": _TASK, "imgsz": size}
    network.yaml["yaml_file"] = Path(str(network.yaml.get("yaml_file", ""))).name
    vars(network).pop("pt_path", None)
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = {key: found.get(key) for key in ("version", "license")}
    torch.save({"model": network, "ema": None, "epoch": -1, "train_args": {"task": _TASK, "imgsz": size}} | kept, out)
    return out


def release(
    trained: Path,
    labelled: Path,
    name: str,
    *,
    about: dict[str, Any],
    home: Path = HOME,
    clips: Path | None = None,
    before: Sequence[Path] = (),
    runs: Sequence[Path] = (),
    threads: int = 2,
    every: int = 1,
    closer: Sequence[str] = (),
) -> Path:
    """Write everything under `home`; returns the card's path.

    about: see `models.export.ABOUT`; its metrics are made here. before, runs, clips: see `models.eval`, `models.card`.
    every: only each so many-th test photo, to try it out. closer: the parts that a network of its own looks at once
    more, trained here (`models.closer`). Raises `DataError` and `ExportError`.
    """
    from models.closer import known, train  # noqa: PLC0415 - brings torch

    for part in closer:
        known(part)
    weights, small, results = home / "weights" / name, home / "weights" / f"{name}-int8", home / "results" / name
    photos = read_set(labelled)
    if not in_split(photos, "test"):
        raise DataError(f"{labelled}: no photo is in the test split, so nothing can be said of the weights")
    if forgotten := sorted({one["on"] for one in about.get("closer", ())} - set(closer)):
        raise DataError(f"the model before looks closer at {', '.join(forgotten)}; train that too (--closer)")
    recipe = "\n\n".join(recipe_of(run) for run in runs)
    shipped = checkpoint(trained, home / "checkpoints" / f"{name}.pt")
    export(shipped, weights, about=about)
    looks = {part: train(labelled, shipped, weights, part) for part in closer}
    quantise(weights, photos, small)
    report = evaluate(
        weights, labelled, labelled.parent / "report", clips=clips, before=before, threads=threads, every=every
    )
    told = json.loads(report.with_name(JSON).read_text(encoding="utf-8"))
    runtimes = compared(weights, in_split(photos, "test")[::every], pt=shipped, int8=small, threads=threads)
    manifest = read_manifest(weights)
    manifest |= {"metrics": metrics(told), "overlooked": overlooked(told, manifest["classes"])}
    _write(weights / "manifest.json", manifest, indent=2)
    _write(small / "manifest.json", read_manifest(small) | {"overlooked": manifest["overlooked"]}, indent=2)
    results.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(report.with_name(JSON), results / JSON)
    _write(results / "runtimes.json", runtimes, indent=1)
    _write(results / "closer.json", looks, indent=1)
    if recipe:
        (results / RECIPE).write_text(f"{recipe}\n", encoding="utf-8")
    else:  # else the card would tell that of the weights before
        (results / RECIPE).unlink(missing_ok=True)
    out = home / "CARD.md"
    out.write_text(card_of(weights, results), encoding="utf-8")
    return out


def metrics(told: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says of the weights, out of `eval.json`."""
    classes = told["photos"]["classes"]
    return {
        "measured_on": f"the {told['photos']['photos']} photos of the {told['split']} split, "
        f"ONNX at {told['image_size']} px",
        "map50": {kind: round(one["ap50"], 3) for kind, one in classes.items() if one["ap50"] is not None},
        "caveat": "Photos of a few public sets; single classes have few boxes, see the intervals in the model card.",
    }


def overlooked(told: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    """Of these classes those of which more than half are missed at the confidence that a node judges by, or of which no
    held-out photo tells, out of `eval.json`.

    That such a model sees none of them says nothing: it would call most barriers missing that stand there.
    """
    recalls = {name: told["photos"]["classes"].get(name, {}).get("recall") for name in classes}
    return [name for name, recall in recalls.items() if recall is None or recall < LEAST_RECALL]


def _write(path: Path, told: Any, *, indent: int) -> None:
    path.write_text(json.dumps(told, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


def _least(words: Sequence[str]) -> dict[str, float]:
    """Raises `DataError` naming the word that is wrong."""
    found = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise DataError(f"--least {word}: class=confidence, for example no_vest=0.4") from None
        if name not in CLASSES or not 0 < found[name] < 1:
            raise DataError(f"--least {word}: one of {', '.join(CLASSES)}, and a confidence between 0 and 1")
    return found


def main(
    trained: Annotated[Path, typer.Argument(help="What training wrote: weights/best.pt of a run.")],
    labelled: Annotated[Path, typer.Argument(help="Folder of the labelled set.", metavar="SET")],
    name: Annotated[str, typer.Argument(help="Of the model.")],
    *,
    source: Annotated[str, typer.Option(help="One line for the manifest: how it was trained.")],
    about: Annotated[Path, typer.Option(help="Model folder whose licence and data these weights share.")],
    version: Annotated[str, typer.Option(help="Of the weights; never an earlier one.")],
    clips: Annotated[Path | None, typer.Option(help="Folder of the clips with known truth.")] = None,
    before: Annotated[list[Path] | None, typer.Option(help="Another model whose alarms stand beside.")] = None,
    run: Annotated[list[Path] | None, typer.Option(help="Folder of a training run, the first one first.")] = None,
    closer: Annotated[list[str] | None, typer.Option(help="What is looked at once more: helmet, person.")] = None,
    least: Annotated[list[str] | None, typer.Option(help="class=confidence below which it decides nothing.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of the network.")] = 2,
) -> None:
    """Ship what was trained: checkpoint, export, int8, evaluation, comparison of runtimes, card."""
    # Not that of the model before: it was chosen for other weights.
    told = read_manifest(about) | {"source": source, "version": version, "least_confidence": _least(least or ())}
    out = release(
        trained, labelled, name, about=told, clips=clips, before=before or (), runs=run or (), threads=threads,
        closer=closer or (),
    )  # fmt: skip
    typer.echo(f"wrote {out}")
