"""Video files, through PyAV: exact media times, and errors that say what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import av.error
import cv2
import numpy as np

from edge.capture.source import SourceError, Timing
from edge.site.model import FileSource
from edge.values import CameraCause, Image

_DEFAULT_FPS = 25.0  # of a file that states neither times nor a rate
_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, -90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, -180: cv2.ROTATE_180}


class VideoFile:
    """One file, once or in a loop; damaged pieces are left out."""

    def __init__(self, config: FileSource, base: Path) -> None:
        self._path = base / config.path
        self._loop = config.loop
        self.timing = Timing.PACED if config.realtime else Timing.FREE
        self._container: av.container.InputContainer | None = None
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._frame: av.VideoFrame | None = None
        self._period = 1 / _DEFAULT_FPS
        self._first: float | None = None  # the file's own time of this round's first frame
        self._round = 0.0  # media time at which this round began
        self._now = 0.0

    def open(self) -> None:
        if not self._path.is_file():
            raise SourceError(CameraCause.NOT_FOUND, f"there is no file {self._path}")
        try:
            self._container = av.open(str(self._path))
        except av.error.FFmpegError as error:
            raise SourceError(CameraCause.DECODE, f"{self._path} is not a video: {error.strerror}") from None
        if not self._container.streams.video:
            raise SourceError(CameraCause.FORMAT, f"{self._path} holds no video")
        rate = self._container.streams.video[0].average_rate
        self._period = 1 / float(rate) if rate else self._period
        self._frames = _decoded(self._container)

    def advance(self) -> float:
        frame = next(self._frames, None)
        if frame is None:
            frame = self._again()
        time = frame.time
        if self._first is None:
            self._first = time or 0.0
            now = self._round
        else:
            now = self._round + time - self._first if time is not None else self._now + self._period
        self._frame = frame
        self._now = max(self._now, now)
        return self._now

    def _again(self) -> av.VideoFrame:
        """The first frame of the next round. Raises SourceError where there is none."""
        if self._frame is None or self._container is None:
            raise SourceError(CameraCause.DECODE, f"{self._path}: no picture in it can be decoded")
        if not self._loop:
            raise SourceError(CameraCause.ENDED, f"{self._path} is over")
        self._container.seek(0)
        self._frames = _decoded(self._container)
        self._round, self._first = self._now + self._period, None
        frame = next(self._frames, None)
        if frame is None:
            raise SourceError(CameraCause.DECODE, f"{self._path} cannot be played again from its start")
        return frame

    def picture(self) -> Image | None:
        if self._frame is None:
            raise RuntimeError("picture() before advance()")
        image = self._frame.to_ndarray(format="bgr24")
        turn = _TURNS.get(self._frame.rotation)
        # Rows of an odd width come with padding; a picture lies in one piece.
        return np.ascontiguousarray(image if turn is None else cv2.rotate(image, turn), np.uint8)

    def close(self) -> None:
        self._frames, self._frame = iter(()), None
        if self._container is not None:
            self._container.close()


def _decoded(container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
    """All frames that can be decoded; a file that breaks off ends there."""
    packets = container.demux(video=0)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.InvalidDataError):
            return
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            continue
