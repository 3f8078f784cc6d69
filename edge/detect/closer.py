"""A closer look: a small network that sees one cut-out of a frame and says whether something is worn there, or whether
anybody is there at all.

The detector sees the whole frame at once, a helmet of a distant worker as a few pixels. Before anybody is blamed, the
place that the detector means is cut out of the frame as the camera gave it, and judged by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from edge.detect.errors import LookError, ModelError
from edge.detect.manifest import FILE, Closer, RuntimeName, read_manifest, verified
from edge.detect.runtimes import Session, import_runtime
from edge.values import Box, Floats, Image, WearState

ANSWERS = (WearState.OFF, WearState.ON, WearState.UNSEEN)
"""What the network's logits stand for, in this order; the last: neither is to be seen here. A network that only tells
whether something is there has the first two."""

GREY = 114
"""Around the frame, as the detector has it."""


def cut(image: Image, box: Box, side: int, reach: float) -> Image:
    """What lies around a box, (side, side, 3): a square of `reach` times the box's longer side about its middle.

    image: (height, width, 3). box: pixels of it; may go beyond it, what is outside the image is grey. The square is of
    two pixels at least.
    """
    x1, y1, x2, y2 = box
    half = max(reach * max(x2 - x1, y2 - y1), 2.0) / 2
    left, top = round((x1 + x2) / 2 - half), round((y1 + y2) / 2 - half)
    size = max(round(2 * half), 2)
    height, width = image.shape[:2]
    seen = image[max(top, 0) : max(min(top + size, height), 0), max(left, 0) : max(min(left + size, width), 0)]
    if seen.shape[:2] != (size, size):
        y, x = max(-top, 0), max(-left, 0)
        square = np.full((size, size, 3), GREY, np.uint8)
        if seen.size:
            square[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
        seen = square
    how = cv2.INTER_AREA if size > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(seen, (side, side), interpolation=how), np.uint8)


def blob_of(square: Image) -> Floats:
    """The network's input (1, 3, side, side) of a cut-out: RGB, 0..1."""
    return np.asarray(cv2.dnn.blobFromImage(square, 1 / 255, swapRB=True), np.float32)


class CloserLook:
    """Not for two threads at once."""

    def __init__(self, closer: Closer, session: Session) -> None:
        self._closer = closer
        self._session = session
        self._answers = ANSWERS if closer.off is not None else ANSWERS[:2]

    def __call__(self, image: Image, box: Box) -> WearState:
        """Whether it is worn, or there, where the box is; UNSEEN below the manifest's `least`. Raises `LookError`."""
        chance = self.chances(image, box)
        answer = int(np.argmax(chance))
        return self._answers[answer] if chance[answer] >= self._closer.least else WearState.UNSEEN

    def chances(self, image: Image, box: Box) -> Floats:
        """Probabilities of `ANSWERS`, or of two of them. Raises `LookError`: the runtime fails, or gives something
        else."""
        try:
            raw = self._session.run(blob_of(cut(image, box, self._closer.side, self._closer.reach)))
        except RuntimeError as error:
            raise LookError(f"the closer look at {self._closer.on!r} fails: {error}") from error
        logits = raw.reshape(-1)
        wanted = len(self._answers)
        if len(logits) != wanted or not np.isfinite(logits).all():
            gives = logits.tolist() if len(logits) == wanted else f"{len(logits)} numbers"
            raise LookError(f"the closer look at {self._closer.on!r} gives {gives}, not {wanted} finite numbers")
        power = np.exp(logits - logits.max())
        return np.asarray(power / power.sum(), np.float32)

    def close(self) -> None:
        self._session.close()


def load_closer(folder: Path, runtime: RuntimeName) -> Mapping[str, CloserLook]:
    """The closer looks of a model folder, by the class that says that something is worn; none for a `.pt`.

    Raises `ModelError` as `load_detector` does.
    """
    if runtime == "ultralytics":
        return {}
    manifest = read_manifest(folder)
    looks = {}
    for closer in manifest.closer:
        # One thread: a cut-out is done sooner than several threads have been woken.
        session = import_runtime(runtime).open_session(verified(folder, closer.files, runtime), 1)
        look = looks[closer.on] = CloserLook(closer, session)
        try:
            look.chances(np.full((closer.side, closer.side, 3), GREY, np.uint8), (0.0, 0.0, closer.side, closer.side))
        except LookError as error:
            raise ModelError(f"{folder}: runtime {runtime!r}: {error}; does {FILE} name the right files?") from error
    return looks
