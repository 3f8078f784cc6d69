"""Cameras, pictures and videos for the capture tests, all made here."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from edge.capture.reader import CameraReader
from edge.site.model import Camera
from edge.values import CameraCause, CameraState, CameraStatus, Image

WIDTH, HEIGHT = 320, 240
_BITS = 16
_random = np.random.default_rng(7)


def camera(source: dict[str, Any], **more: Any) -> Camera:
    return Camera.model_validate({"id": "gate", "source": source, **more})


def numbered(number: int, width: int = WIDTH, height: int = HEIGHT) -> Image:
    """A picture that carries a number in sixteen stripes, black or white; survives any video encoder."""
    bits = [(number >> bit) & 1 for bit in range(_BITS)]
    stripes = np.repeat(np.array(bits, np.uint8) * 200 + 28, width // _BITS)
    return np.ascontiguousarray(np.broadcast_to(stripes[None, :, None], (height, len(stripes), 3)))


def number_of(image: Image) -> int:
    width = image.shape[1] // _BITS
    middle = image[image.shape[0] // 2, width // 2 :: width, 1][:_BITS]
    return sum(1 << bit for bit, level in enumerate(middle) if level > 128)


def scene(noise: float = 3.0, width: int = WIDTH, height: int = HEIGHT) -> Image:
    """A picture with structure, and a sensor's noise that is never the same."""
    board = np.indices((height, width)).sum(axis=0) // 20 % 2 * 120 + 60
    return noisy(np.repeat(board[..., None], 3, axis=2), noise)


def flat(level: float, noise: float = 3.0, width: int = WIDTH, height: int = HEIGHT) -> Image:
    return noisy(np.full((height, width, 3), level), noise)


def noisy(picture: npt.NDArray[Any], noise: float) -> Image:
    grain = _random.standard_normal(picture.shape, np.float32) * noise
    return np.asarray(np.clip(picture + grain, 0, 255), np.uint8)


def write_video(path: Path, pictures: Iterable[Image], fps: int = 10, rotation: int = 0) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = None
        for picture in pictures:
            if stream is None:
                stream = container.add_stream("libx264", rate=fps)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.gop_size = 10
                if rotation:
                    stream.set_display_rotation(rotation)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def until(
    reader: CameraReader, state: CameraState, cause: CameraCause | None = None, within: float = 15.0
) -> CameraStatus:
    """The reader's status once it is so; outside processes take their time, so this asks until a deadline."""
    deadline = time.monotonic() + within
    while True:
        status = reader.status()
        if status.state is state and cause in (None, status.cause):
            return status
        assert time.monotonic() < deadline, f"not {state} within {within} s but {status}"
        time.sleep(0.02)
