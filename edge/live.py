"""The newest judged frame of each camera, for whoever looks: encoded only when somebody does, faces already hidden."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Condition, Lock

import cv2

from edge.clock import Stamp
from edge.evidence.jpeg import encode
from edge.evidence.mosaic import pixelate
from edge.line import Looked
from edge.page.view import LiveBox
from edge.values import Box

_QUALITY = 80
_MAX_WIDTH = 1280


class LiveFrame:
    """One judged frame. Holds the raw picture only until the next one; gives out a JPEG without what is `hidden`."""

    def __init__(self, looked: Looked, hidden: Sequence[Box]) -> None:
        self._looked = looked
        self._hidden = hidden
        self._jpeg: bytes | None = None
        self._lock = Lock()

    @property
    def camera(self) -> str:
        return self._looked.frame.camera

    @property
    def seq(self) -> int:
        return self._looked.frame.seq

    @property
    def width(self) -> int:
        return self._looked.frame.width

    @property
    def height(self) -> int:
        return self._looked.frame.height

    @property
    def stamp(self) -> Stamp:
        return self._looked.frame.stamp

    @property
    def boxes(self) -> Sequence[LiveBox]:
        return tuple(
            LiveBox(j.box, finding.instance.rule, j.verdict, j.reason)
            for finding in self._looked.findings
            for j in finding.judgements
            if j.box is not None
        )

    def jpeg(self) -> bytes:
        with self._lock:
            if self._jpeg is None:
                picture = pixelate(self._looked.frame.image, self._hidden)
                if self.width > _MAX_WIDTH:
                    size = (_MAX_WIDTH, round(self.height * _MAX_WIDTH / self.width))
                    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
                self._jpeg = encode(picture, _QUALITY)
            return self._jpeg


class LiveBoard:
    """Where the judging thread puts the newest frame, and pages wait for one."""

    def __init__(self) -> None:
        self._frames: dict[str, LiveFrame] = {}
        self._changed = Condition()

    def put(self, looked: Looked, hidden: Sequence[Box]) -> None:
        """hidden: boxes to pixelate, pixels of the frame."""
        with self._changed:
            self._frames[looked.frame.camera] = LiveFrame(looked, hidden)
            self._changed.notify_all()

    def wait(self, camera: str, after: int, timeout: float) -> LiveFrame | None:
        """The newest frame unless its seq is `after`, waiting up to `timeout` seconds for another.

        Not "a higher seq": a camera that was opened anew counts from 1 again.
        """

        def other() -> bool:
            frame = self._frames.get(camera)
            return frame is not None and frame.seq != after

        with self._changed:
            return self._frames[camera] if self._changed.wait_for(other, timeout) else None

    def forget(self, camera: str) -> None:
        """A camera that is gone or blind shows no old picture."""
        with self._changed:
            self._frames.pop(camera, None)
