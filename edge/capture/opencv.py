"""Settings of OpenCV's video backends that can only be made for the whole process."""

from __future__ import annotations

import os

import cv2

# Without these options FFmpeg studies a stream for two seconds and then hands out pictures that are two seconds old.
# OpenCV reads them from the environment, at each open; there is no other way to give them. They cost a file its first
# pictures, which is one reason why files are read with PyAV.
_ENVIRONMENT = {
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": "fflags;nobuffer|flags;low_delay|analyzeduration;200000|probesize;200000",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
}


def prepare() -> None:
    """Before a capture is opened: low delay, and nothing (no URL) written to standard error by OpenCV or FFmpeg."""
    os.environ.update(_ENVIRONMENT)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
