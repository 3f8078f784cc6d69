"""Does each runtime find what the `.pt` finds, and how fast is it?

    banksman model runtimes models/weights/site-v1 var/labelled --pt best.pt --int8 models/weights/site-v1-int8

mAP50 of each on the same held-out photos, as difference to the `.pt`; speed as ratio to fp32 ONNX, from rounds in which
each takes its turn on the same picture, so that whatever else the machine does hits all of them alike.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import track

from models.data.labels import CLASSES, DataError, Floats, Photo
from models.data.labelset import in_split, read_set
from models.data.pictures import Pixels, pixels_of
from models.eval.ap import Pool
from models.eval.network import Network, Runtime, open_network, read_manifest
from models.eval.scores import Looked, look_at, matched

ROUNDS = 40
REFERENCE = "onnx"
"""What speed is a ratio to."""


def means(looked: Sequence[Looked], knows: frozenset[str]) -> dict[str, float]:
    """mAP50 of each class that the model knows and the photos have, and `mean` over them. Raises `DataError`."""
    found = {}
    for name in (c for c in CLASSES if c in knows):
        pool = Pool([matched(one, name) for one in looked if name in one.photo.complete])
        precision = pool.precision(levels=(0,))
        if precision is not None:
            found[name] = float(precision[0])
    if not found:
        raise DataError("the photos have no label of a class that the model knows")
    return found | {"mean": float(np.mean(list(found.values())))}


def speeds(
    networks: Mapping[str, Network],
    pictures: Sequence[Pixels],
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[str, float]]:
    """Of the bare network, without letterbox and decoding, which are the same for all.

    ms: median of a picture. times_as_fast: as `REFERENCE`, median of the rounds' ratios. Only of networks that have
    their parts (`Network.eye`), which is all but ultralytics.
    """
    eyes = {title: network.eye for title, network in networks.items() if network.eye is not None}
    blobs = [eyes[REFERENCE].blob(picture) for picture in pictures]
    took: dict[str, list[float]] = {title: [] for title in eyes}
    for eye in eyes.values():
        for blob in blobs:  # each shape once: runtimes plan by shape
            eye.run(blob)
    for n in range(rounds):
        for title, eye in eyes.items():
            start = clock()
            eye.run(blobs[n % len(blobs)])
            took[title].append(clock() - start)
    times: dict[str, Floats] = {title: np.array(some) for title, some in took.items()}
    return {
        title: {
            "ms": round(float(np.median(some)) * 1000, 2),
            "times_as_fast": round(float(np.median(times[REFERENCE] / some)), 3),
        }
        for title, some in times.items()
    }


def compared(
    model: Path,
    photos: Sequence[Photo],
    *,
    pt: Path | None = None,
    int8: Path | None = None,
    runtimes: Sequence[Runtime] = ("onnx", "openvino", "ncnn"),
    threads: int = 2,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """mAP50, speed and size of each. model, int8: model folders. pt: what the model was exported from."""
    networks = {str(runtime): open_network(model, runtime, threads) for runtime in runtimes}
    if REFERENCE not in networks:
        raise DataError(f"speed is a ratio to {REFERENCE}; have it among the runtimes")
    if int8:
        networks["onnx int8"] = open_network(int8, "onnx", threads)
    pictures = [pixels_of(photo.path) for photo in photos[:: max(1, len(photos) // 10)]]
    told: dict[str, Any] = {title: dict(one) for title, one in speeds(networks, pictures, rounds).items()}
    if pt:  # only now: torch's threads would spin against the others' while these are measured
        networks["pt"] = open_network(pt, "ultralytics", threads)
        told["pt"] = {}
    sizes = {str(runtime): _megabytes(model, runtime) for runtime in runtimes}
    if int8:
        sizes["onnx int8"] = _megabytes(int8, "onnx")
    if pt:
        sizes["pt"] = round(pt.stat().st_size / 1e6, 2)
    for title, network in networks.items():
        told[title]["mb"] = sizes[title]
        told[title]["weights"] = network.weights
        looked = look_at(track(photos, f"{title} looks at photos"), network)
        told[title]["map50"] = {name: round(v, 4) for name, v in means(looked, network.knows).items()}
    base = told["pt" if pt else REFERENCE]["map50"]["mean"]
    for one in told.values():
        one["points"] = round(100 * (one["map50"]["mean"] - base), 2)
    return {
        "photos": len(photos),
        "threads": threads,
        "processor": processor(),
        "against": "pt" if pt else REFERENCE,
        "runtimes": told,
    }


def _megabytes(folder: Path, runtime: str) -> float:
    """Of the weights on disk."""
    files: dict[str, str] = read_manifest(folder)["files"][runtime]
    return round(sum((folder / name).stat().st_size for name in files) / 1e6, 2)


def processor() -> str:
    """What the speed was measured on, and whether it has instructions that are made for int8."""
    listing = Path("/proc/cpuinfo")
    if not listing.is_file():
        return platform.processor() or platform.machine()
    pairs = (line.split(":", 1) for line in listing.read_text(encoding="utf-8").splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in pairs}
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    name = facts.get("model name") or platform.machine()
    made_for_it = sorted({"avx512_vnni", "avx_vnni", "asimddp", "i8mm"} & set(flags))
    return f"{name} ({', '.join(made_for_it) or 'no instructions for int8 dot products'})"


def main(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    labelled: Annotated[Path, typer.Argument(help="Folder of a labelled set.")],
    *,
    pt: Annotated[Path | None, typer.Option(help="What the model was exported from.")] = None,
    int8: Annotated[Path | None, typer.Option(help="Its int8 folder, see models.quantize.")] = None,
    split: Annotated[str, typer.Option(help="Of the photos.")] = "test",
    every: Annotated[int, typer.Option(min=1, help="Only each so many-th photo.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Of each runtime.")] = 2,
    rounds: Annotated[int, typer.Option(min=3, help="For speed.")] = ROUNDS,
    out: Annotated[Path | None, typer.Option(help="JSON file; printed unless given.")] = None,
) -> None:
    """Compare the runtimes of a model: mAP50, speed."""
    photos = in_split(read_set(labelled), split)[::every]
    told = compared(model, photos, pt=pt, int8=int8, threads=threads, rounds=rounds)
    text = json.dumps(told, indent=1)
    if out:
        out.write_text(f"{text}\n", encoding="utf-8")
    else:
        typer.echo(text)
