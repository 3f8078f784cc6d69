"""Which runtime is the fastest here that sees the same as ONNX Runtime?

Each runtime is tried in a process of its own: its memory is then its own, and one that crashes (an instruction that
this processor lacks) is a finding, not the end of the examination.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edge.detect import ModelError, find_model, load_detector, read_manifest
from edge.detect.manifest import RuntimeName
from edge.detect.parity import Parity, compare, total
from edge.detect.speed import measure
from edge.doctor.result import Grade, Result
from edge.site.model import Detector as DetectorSettings
from edge.values import Detections, Image

REFERENCE: RuntimeName = "onnx"
"""What the parity tests hold against ultralytics for every release."""
MEASURE_S = 3.0
_TRIAL_S = 120.0
_FLOOR = 0.1
_LEAN: tuple[RuntimeName, ...] = ("onnx", "ncnn", "openvino")


@dataclass(frozen=True, slots=True)
class Trial:
    """One runtime, tried: milliseconds a picture, memory of its process, what it saw; or `error`."""

    runtime: RuntimeName
    ms_p50: float = 0.0
    ms_p95: float = 0.0
    rss_mb: float = 0.0
    seen: tuple[Detections, ...] = ()
    error: str = ""


def examine_detector(settings: DetectorSettings, base: Path, pictures: Sequence[Image]) -> list[Result]:
    """A finding a runtime, and which one to choose. Without pictures of a camera, speed alone, on grey noise."""
    try:
        folder = find_model(settings.model, base)
        if folder.suffix == ".pt":
            return [Result("detector", Grade.SKIP, "weights", str(settings.model))]
        manifest = read_manifest(folder)
    except ModelError as error:
        return [Result("detector", Grade.BAD, "model", str(settings.model), {"error": error})]
    shown = list(pictures) or [_noise()]
    trials = [try_runtime(folder, r, settings.threads, shown) for r in _LEAN if r in manifest.files]
    reference = next((t for t in trials if t.runtime == REFERENCE and not t.error), None)
    results, fit = [], []
    for trial in trials:
        result, passed = _judge(trial, reference, proven=bool(pictures))
        results.append(result)
        if passed:
            fit.append(trial)
    if fit:
        best = min(fit, key=lambda t: t.ms_p50)
        fps = 1000 / best.ms_p50
        results.append(
            Result("detector", Grade.OK, "choose", best.runtime, {"fps": f"{fps:.0f}", "runtime": best.runtime})
        )
    else:
        results.append(Result("detector", Grade.BAD, "none"))
    return results


def _judge(trial: Trial, reference: Trial | None, *, proven: bool) -> tuple[Result, bool]:
    if trial.error:
        # A runtime that is not installed is no fault; one that cannot run is.
        grade = Grade.SKIP if "needs the package" in trial.error else Grade.BAD
        code = "absent" if grade is Grade.SKIP else "broken"
        return Result("detector", grade, code, trial.runtime, {"error": trial.error}), False
    numbers: dict[str, object] = {
        "p50": f"{trial.ms_p50:.1f}", "p95": f"{trial.ms_p95:.1f}", "rss": f"{trial.rss_mb:.0f}",
    }  # fmt: skip
    if reference is None or not proven:
        return Result("detector", Grade.WARN, "unproven", trial.runtime, numbers), trial.runtime == REFERENCE
    parity: Parity = total(compare(a, b) for a, b in zip(reference.seen, trial.seen, strict=True))
    numbers |= {"iou": f"{parity.worst_iou:.3f}", "gap": f"{parity.worst_gap:.3f}", "missing": parity.missing}
    if not parity.holds:
        return Result("detector", Grade.BAD, "differs", trial.runtime, numbers), False
    return Result("detector", Grade.OK, "same", trial.runtime, numbers | {"pairs": parity.pairs}), True


def _noise() -> Image:
    return np.random.default_rng(0).integers(96, 160, (720, 1280, 3), dtype=np.uint8)


def try_runtime(folder: Path, runtime: RuntimeName, threads: int, pictures: Sequence[Image]) -> Trial:
    """Measure a runtime in a process of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "pictures.npz"
        np.savez(path, *pictures)
        command = [sys.executable, "-m", "edge.doctor.detector", str(folder), runtime, str(threads), str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TRIAL_S, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            return Trial(runtime, error=f"no answer within {_TRIAL_S:g} s")
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        return Trial(runtime, error=f"ended with {done.returncode}: {said[-1] if said else 'nothing said'}")
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        return Trial(runtime, error=answer["error"])
    names = tuple(answer["names"])
    seen = tuple(Detections.build(boxes, confidence, ids, names) for boxes, confidence, ids in answer["seen"])
    return Trial(runtime, seen=seen, **answer["speed"])


def _trial(folder: str, runtime: str, threads: str, path: str) -> dict[str, object]:
    with np.load(path) as stored:
        pictures: list[Image] = [stored[name] for name in stored.files]
    try:
        detector = load_detector(Path(folder), runtime, int(threads))
    except ModelError as error:
        return {"error": str(error)}
    seen = [detector.detect(p, _FLOOR) for p in pictures]
    speed = asdict(measure(detector, pictures, MEASURE_S))
    del speed["frames"]
    return {
        "names": detector.names,
        "seen": [(d.xyxy.tolist(), d.confidence.tolist(), d.class_id.tolist()) for d in seen],
        "speed": speed,
    }


if __name__ == "__main__":
    print(json.dumps(_trial(*sys.argv[1:])))  # noqa: T201 (the answer to the parent process)
