"""USB cameras through Video4Linux."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import cv2

from edge.capture import opencv
from edge.capture.source import SourceError, Timing
from edge.site.model import UsbSource
from edge.values import CameraCause, Image


class UsbCamera:
    """One device, asked for MJPEG: uncompressed 720p does not fit through USB 2."""

    timing = Timing.LIVE

    def __init__(self, config: UsbSource, devices: Path = Path("/dev")) -> None:
        self._config = config
        self._device = devices / f"video{config.index}"
        self._capture = cv2.VideoCapture()

    def open(self) -> None:
        self._check_device()
        opencv.prepare()
        wanted = {
            cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"),
            cv2.CAP_PROP_FRAME_WIDTH: self._config.width,
            cv2.CAP_PROP_FRAME_HEIGHT: self._config.height,
        }
        if not self._capture.open(str(self._device), cv2.CAP_V4L2):
            raise SourceError(CameraCause.REFUSED, f"{self._device} cannot be opened; does another program use it?")
        for what, value in wanted.items():
            self._capture.set(what, value)  # a camera that cannot do it gives what it has

    def _check_device(self) -> None:
        """What OpenCV would keep to itself."""
        try:
            kind = self._device.stat().st_mode
        except FileNotFoundError:
            raise SourceError(
                CameraCause.NOT_FOUND, f"{self._device} does not exist; is the camera plugged in?"
            ) from None
        if not stat.S_ISCHR(kind):
            raise SourceError(CameraCause.FORMAT, f"{self._device} is not a video device")
        if not os.access(self._device, os.R_OK | os.W_OK):
            raise SourceError(CameraCause.AUTH, f"no right to use {self._device}; the service must be in group video")

    def advance(self) -> float:
        if not self._capture.grab():
            self._check_device()
            raise SourceError(CameraCause.REFUSED, f"{self._device} gives no picture; does another program use it?")
        return 0.0

    def picture(self) -> Image | None:
        good, image = self._capture.retrieve()
        return image if good else None  # type: ignore[return-value]

    def close(self) -> None:
        self._capture.release()
