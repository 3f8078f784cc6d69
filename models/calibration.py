"""Calibration photos for the Hailo Dataflow Compiler, see models/HAILO.md.

banksman model calibration models/weights/site-v1 var/labelled var/calibration.npy
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from models.data.labels import Photo
from models.data.labelset import read_set
from models.data.pictures import pixels_of
from models.eval.network import letterbox, read_manifest
from models.quantize import SEED, drawn

PHOTOS = 1024
"""As many as the compiler's finer optimisation levels look at."""


def write(folder: Path, photos: list[Photo], out: Path, *, count: int = PHOTOS, seed: int = SEED) -> tuple[int, ...]:
    """Write an array (n, height, width, 3), uint8, RGB, and return its shape. Raises `DataError`.

    photos: `count` of those of the `train` split are drawn. Each fills the whole input of the manifest, grey around
    it: an accelerator's network has one shape. Not scaled to 0..1: that goes into the network (`normalization`).
    """
    manifest = read_manifest(folder)
    size = manifest["input"]["width"], manifest["input"]["height"]
    how = manifest["preprocessing"] | {"free_shape": False, "scale": 1}
    chosen = drawn(photos, count, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    array = np.lib.format.open_memmap(out, "w+", np.uint8, (len(chosen), size[1], size[0], 3))
    for n, photo in enumerate(chosen):
        array[n] = letterbox(pixels_of(photo.path), size, how)[0][0].transpose(1, 2, 0).astype(np.uint8)
    array.flush()
    return array.shape


def main(
    model: Annotated[Path, typer.Argument(help="Model folder; its manifest tells the input.")],
    labelled: Annotated[Path, typer.Argument(help="Labelled set; of its training photos.", metavar="SET")],
    out: Annotated[Path, typer.Argument(help="The .npy to write.")],
    *,
    count: Annotated[int, typer.Option(min=1, help="Photos.")] = PHOTOS,
    seed: Annotated[int, typer.Option(help="Of their draw.")] = SEED,
) -> None:
    """Write calibration photos for the Hailo compiler: one array (n, height, width, 3), uint8, RGB."""
    typer.echo(f"wrote {out}, {write(model, read_set(labelled), out, count=count, seed=seed)}")
