"""Is the model whole, and which runtime is the fastest here that sees the same as ONNX Runtime?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.detect import RUNTIMES, ModelError, find_model, read_manifest
from edge.detect.manifest import Manifest, RuntimeName, verified, verified_files
from edge.detect.parity import compare, total
from edge.detect.runtimes import default_runtime
from edge.doctor.result import Result, fields_of, found
from edge.doctor.trial import MEASURE_S, TRIAL_S, Trial, attempt, store
from edge.site.model import BarrierFixture, SiteFile
from edge.site.model import Detector as DetectorSettings
from edge.values import Image

REFERENCE: RuntimeName = "onnx"
"""What the parity tests hold against ultralytics for every release."""
WORTH_IT = 1.15
"""Another runtime is recommended when it is so many times as fast; less is the noise of a short look."""
_PROVEN = ("reference", "same")
_USABLE = (*_PROVEN, "unproven")


@dataclass(frozen=True, slots=True)
class _Tried:
    code: str
    trial: Trial

    @property
    def runtime(self) -> RuntimeName:
        return self.trial.runtime

    @property
    def fps(self) -> float:
        return 1000 / self.trial.ms_p50


def examine_model(settings: DetectorSettings, base: Path) -> tuple[list[Result], Path | None]:
    """Whether its files are what its manifest says; gives the folder, None where there is nothing to be tried."""
    about = str(settings.model)
    try:
        folder = find_model(settings.model, base)
        if folder.suffix == ".pt":  # for a developer's computer: neither manifest nor other runtimes
            return [found("model", "weights", about)], None
        manifest = read_manifest(folder)
    except ModelError as error:
        return [found("model", "unusable", about, error=error)], None
    except OSError as error:
        return [found("model", "unusable", about, error=error.strerror or error)], None
    damaged = []
    for runtime in manifest.files:
        try:
            verified_files(folder, manifest, runtime)
            for closer in manifest.closer if runtime != "ultralytics" else ():  # which looks closer at nothing
                verified(folder, closer.files, runtime)
        except ModelError as error:
            damaged.append(found("model", "damaged", runtime, error=error))
    sound = found("model", "ok", manifest.name, version=manifest.version, classes=len(manifest.classes))
    return damaged or [sound], folder


def examine_fixtures(folder: Path, site: SiteFile) -> Iterator[Result]:
    """A finding for each declared barrier of which this model can never say that it is missing."""
    manifest = read_manifest(folder)
    for camera in site.cameras:
        for fixture in camera.fixtures:
            if not isinstance(fixture, BarrierFixture):
                continue
            about = f"{camera.id}/{fixture.id}"
            if lacking := [name for name in fixture.classes if name not in manifest.classes]:
                yield found("model", "lacks", about, classes=", ".join(lacking))
            elif missed := [name for name in fixture.classes if name in manifest.overlooks]:
                yield found("model", "overlooks", about, classes=", ".join(missed))


def examine_detector(
    settings: DetectorSettings,
    folder: Path,
    pictures: Sequence[Image],
    looks: float = 0.0,
    measure_s: float = MEASURE_S,
) -> Iterator[Result]:
    """A finding a runtime, then which one to choose, then whether it is fast enough.

    pictures: of the node's cameras; without any, speed alone is measured, on noise.
    looks: how many looks a second the site file asks for, all cameras together.
    """
    manifest = read_manifest(folder)
    configured = default_runtime() if settings.runtime == "auto" else settings.runtime
    try:
        with tempfile.TemporaryDirectory() as temporary:
            stored = Path(temporary) / "pictures.npz"
            store(list(pictures) or [_noise()], stored)
            tried = []
            reference: Trial | None = None
            for runtime in _to_try(manifest, configured):
                trial = attempt(folder, runtime, settings.threads, stored, measure_s=measure_s)
                if runtime == REFERENCE and not trial.trouble:
                    reference = trial
                result = _judge(trial, reference if pictures else None)
                tried.append(_Tried(result.code, trial))
                yield result
    except OSError as error:
        yield found("detector", "no_room", error=error.strerror or error)
        return
    yield from _choose(tried, configured, looks)


def _to_try(manifest: Manifest, configured: str) -> list[RuntimeName]:
    """The reference first. `ultralytics` is for developers: only where it is asked for."""
    fit = [r for r in RUNTIMES if r in manifest.files and (r != "ultralytics" or r == configured)]
    return sorted(fit, key=lambda r: r != REFERENCE)


def _judge(trial: Trial, reference: Trial | None) -> Result:
    about: str = trial.runtime
    if trial.trouble:
        known = {"error": trial.error, "seconds": f"{TRIAL_S:g}"}
        return found(
            "detector", trial.trouble, about, **{name: known[name] for name in fields_of("detector", trial.trouble)}
        )
    speed = {"p50": f"{trial.ms_p50:.1f}", "p95": f"{trial.ms_p95:.1f}", "rss": f"{trial.rss_mb:.0f}"}
    if reference is None:
        return found("detector", "unproven", about, **speed)
    parity = total(compare(a, b) for a, b in zip(reference.seen, trial.seen, strict=True))
    apart = {"iou": f"{parity.worst_iou:.3f}", "gap": f"{parity.worst_gap:.3f}"}
    if not parity.holds:
        return found("detector", "differs", about, **speed, **apart, missing=parity.missing)
    if not parity.pairs:  # nothing was seen by either: that proves nothing
        return found("detector", "unproven", about, **speed)
    if trial is reference:
        return found("detector", "reference", about, **speed, pairs=parity.pairs)
    return found("detector", "same", about, **speed, **apart, pairs=parity.pairs)


def _choose(tried: Sequence[_Tried], configured: str, looks: float) -> Iterator[Result]:
    fit = [t for t in tried if t.code in _USABLE]
    if not fit:
        yield found("detector", "none")
        return
    best = max(fit, key=lambda t: t.fps)
    mine = next((t for t in fit if t.runtime == configured), None)
    better = {"best": best.runtime, "best_fps": f"{best.fps:.0f}"}
    if mine is None:
        yield found("detector", "unfit", configured, **better)
        return
    speed = f"{mine.fps:.0f}"
    if best.fps <= WORTH_IT * mine.fps:
        yield found("detector", "chosen", configured, fps=speed)
    elif best.code in _PROVEN and mine.code in _PROVEN:
        yield found("detector", "faster", configured, fps=speed, **better)
    else:
        yield found("detector", "uncertain", configured, fps=speed)
    if mine.fps < looks:
        yield found("detector", "too_few", configured, fps=speed, wanted=f"{looks:g}")


def _noise() -> Image:
    return np.random.default_rng(0).integers(96, 160, (720, 1280, 3), dtype=np.uint8)
