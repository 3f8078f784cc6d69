"""One runtime, tried in a process of its own.

Its memory is then its own, and one that crashes (an instruction that this processor lacks) or hangs is a finding, not
the end of the examination.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edge.detect import ModelError, load_closer, load_detector
from edge.detect.manifest import RuntimeName
from edge.detect.speed import measure
from edge.values import Detections, Image

MEASURE_S = 3.0
TRIAL_S = 60.0
"""Loading takes a few seconds on a Raspberry Pi 4."""
_FLOOR = 0.1


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it: milliseconds a picture, memory of the process, what it saw in each picture.

    trouble: empty, or a code of `doctor.detector` (absent, broken, crashed, hung); error: in words.
    """

    runtime: RuntimeName
    ms_p50: float = 0.0
    ms_p95: float = 0.0
    rss_mb: float = 0.0
    seen: tuple[Detections, ...] = ()
    trouble: str = ""
    error: str = ""


def store(pictures: Sequence[Image], path: Path) -> None:
    """Lay pictures down for `attempt`. Raises OSError."""
    with path.open("wb") as file:
        np.savez(file, *pictures)


def attempt(
    folder: Path,
    runtime: RuntimeName,
    threads: int,
    pictures: Path,
    *,
    measure_s: float = MEASURE_S,
    patience_s: float = TRIAL_S,
) -> Trial:
    """Try a runtime on stored pictures; speed is measured for `measure_s`."""
    # -P: nothing in the current folder may stand in for a module.
    command = [sys.executable, "-P", "-m", __name__, str(folder), runtime, str(threads), str(pictures), str(measure_s)]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command, capture_output=True, text=True, errors="replace", timeout=patience_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Trial(runtime, trouble="hung")
    if done.returncode < 0:
        return Trial(runtime, trouble="crashed", error=signal.Signals(-done.returncode).name)
    if done.returncode > 0:
        said = done.stderr.strip().splitlines()
        return Trial(runtime, trouble="broken", error=said[-1] if said else f"exit code {done.returncode}")
    answer = json.loads(done.stdout.splitlines()[-1])  # runtimes may greet on the lines before
    if "trouble" in answer:
        return Trial(runtime, **answer)
    names = tuple(answer["names"])
    seen = tuple(Detections.build(boxes, confidence, ids, names) for boxes, confidence, ids in answer["seen"])
    return Trial(runtime, seen=seen, **answer["speed"])


def _attempt(folder: str, runtime: str, threads: str, pictures: str, measure_s: str) -> dict[str, object]:
    """In the process of its own."""
    with np.load(pictures) as stored:
        images: list[Image] = [stored[name] for name in stored.files]
    try:
        detector = load_detector(Path(folder), runtime, int(threads))
        load_closer(Path(folder), detector.runtime)
    except ModelError as error:
        return {
            "trouble": "absent" if isinstance(error.__cause__, ModuleNotFoundError) else "broken",
            "error": str(error),
        }
    try:
        seen = [detector.detect(image, _FLOOR) for image in images]
        speed = asdict(measure(detector, images, float(measure_s)))
    except RuntimeError as error:
        return {"trouble": "broken", "error": str(error)}
    del speed["frames"]
    return {
        "names": detector.names,
        "seen": [(d.xyxy.tolist(), d.confidence.tolist(), d.class_id.tolist()) for d in seen],
        "speed": speed,
    }


if __name__ == "__main__":
    print(json.dumps(_attempt(*sys.argv[1:])))  # noqa: T201 - the answer to the parent process
