"""Does the camera open, and how many frames a second does it give?"""

from __future__ import annotations

import threading
from pathlib import Path

from edge.capture.reader import CameraReader
from edge.clock import Clock
from edge.doctor.result import Grade, Result
from edge.site.model import Camera
from edge.values import CameraCause, Image

OPEN_S = 15.0
LOOK_S = 3.0
KEPT = 6
"""Pictures kept for the detector's examination, spread over the look."""
SLOW = 0.8
"""Share of the looks asked for that the camera must make possible."""


def examine_camera(camera: Camera, clock: Clock, base: Path) -> tuple[Result, list[Image]]:
    """Open it as the node would, watch it for `LOOK_S`; gives some of its pictures too."""
    news = threading.Event()
    reader = CameraReader(camera, clock, base, wake=news.set)
    reader.start()
    try:
        first = reader.take(0, OPEN_S)
        status = reader.status()
        if first is None:
            code = status.cause.value if status.cause is not CameraCause.NONE else status.state.value
            return Result("camera", Grade.BAD, code, camera.id, {"detail": status.detail}), []
        pictures, seq, frames = [first.image], first.seq, 0
        end = clock.now().mono + LOOK_S
        while (left := end - clock.now().mono) > 0:
            frame = reader.take(seq, left)
            if frame is None:
                break
            frames += frame.seq - seq
            seq = frame.seq
            if len(pictures) < KEPT and clock.now().mono >= end - LOOK_S + len(pictures) * LOOK_S / KEPT:
                pictures.append(frame.image)
        status = reader.status()
    finally:
        reader.stop()
    fps = frames / LOOK_S
    numbers = {"fps": f"{fps:.1f}", "width": first.width, "height": first.height, "wanted": f"{camera.judge_fps:g}"}
    if not status.state.sees:
        return Result("camera", Grade.WARN, status.state.value, camera.id, numbers), pictures
    slow = fps < SLOW * camera.judge_fps
    return Result("camera", Grade.WARN if slow else Grade.OK, "slow" if slow else "ok", camera.id, numbers), pictures
