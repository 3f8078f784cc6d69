"""RTSP through OpenCV's FFmpeg."""

from __future__ import annotations

import cv2

from edge.capture import opencv
from edge.capture.probe import diagnose
from edge.capture.source import SourceError, Timing
from edge.capture.url import CameraUrl
from edge.site.model import RtspSource
from edge.values import CameraCause, Image

OPEN_TIMEOUT_S = 4.0
# Longer than the watchdog waits: at each expiry FFmpeg hands out one picture that it held back, which would look as if
# the camera lived. A `grab` that hangs returns after twice to three times this value.
READ_TIMEOUT_S = 4.0


class RtspStream:
    """One RTSP session."""

    timing = Timing.LIVE

    def __init__(self, config: RtspSource) -> None:
        self._config = config
        self._capture = cv2.VideoCapture()

    @property
    def _where(self) -> CameraUrl:
        return CameraUrl.parse(self._config.url.get_secret_value())

    def open(self) -> None:
        where = self._where
        opencv.prepare()
        # FFmpeg takes the transport from the URL's query and keeps it to itself.
        url = self._config.url.get_secret_value()
        url = f"{url}{'&' if '?' in url else '?'}{self._config.transport}"
        limits = {
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: round(OPEN_TIMEOUT_S * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC: round(READ_TIMEOUT_S * 1000),
            cv2.CAP_PROP_N_THREADS: 1,  # one decodes 720p several times faster than it comes, more only hold memory
        }
        if not self._capture.open(url, cv2.CAP_FFMPEG, [number for limit in limits.items() for number in limit]):
            raise diagnose(where) or SourceError(CameraCause.DECODE, f"{where} offers video that cannot be decoded")

    def advance(self) -> float:
        if not self._capture.grab():
            raise diagnose(self._where) or SourceError(CameraCause.REFUSED, f"{self._where} ended the stream")
        return 0.0

    def picture(self) -> Image | None:
        good, image = self._capture.retrieve()
        return image if good else None  # type: ignore[return-value]

    def close(self) -> None:
        self._capture.release()
