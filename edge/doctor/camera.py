"""Does the camera open, how many frames a second does it give, and is there something to see?"""

from __future__ import annotations

import threading
from pathlib import Path

from edge.capture.health import Limits
from edge.capture.kinds import source_for
from edge.capture.reader import CameraReader
from edge.capture.source import Timing
from edge.clock import Clock
from edge.doctor.result import Result, found
from edge.site.model import Camera, CsiSource, UsbSource
from edge.values import CameraCause, CameraState, CameraStatus, Frame, Image

OPEN_S = 15.0
SETTLE_S = 1.0
"""Network cameras send what they had in store first; counting begins afterwards."""
LOOK_S = 3.0
SLOW = 0.8
"""Share of the looks asked for that the camera must make possible."""
_LIMITS = Limits(dark_s=1.0, covered_s=1.5)  # so that the short look tells


def examine_camera(
    camera: Camera, clock: Clock, base: Path, *, node_runs: bool = False, keep: int = 6
) -> tuple[Result, list[Image]]:
    """Open it as the node would and watch it for `LOOK_S`; gives up to `keep` of its pictures too.

    node_runs: a node has this camera open. A device cannot be opened twice and is left alone.
    """
    if node_runs and isinstance(camera.source, UsbSource | CsiSource):
        return found("camera", "held", camera.id), []
    live = source_for(camera.source, base).timing is Timing.LIVE
    news = threading.Event()
    reader = CameraReader(camera, clock, base, wake=news.set, limits=_LIMITS)
    reader.start()
    try:
        first = _first_frame(reader, news, clock)
        if first is None:
            return _unseen(reader.status(), camera.id, node_runs=node_runs), []
        if live:
            first = _last_until(reader, first, clock, SETTLE_S, pictures=[])
        began = clock.now().mono
        pictures = [first.image]
        last = _last_until(reader, first, clock, LOOK_S, pictures=pictures, keep=keep)
        status, took = reader.status(), max(clock.now().mono - began, 1e-3)
    finally:
        reader.stop()
    if status.cause not in (CameraCause.NONE, CameraCause.ENDED):
        return _unseen(status, camera.id, node_runs=node_runs), pictures
    if status.cause is CameraCause.NONE and not status.state.sees:
        return found("camera", status.state.value, camera.id, detail=status.detail), pictures
    fps = (last.seq - first.seq) / took
    height, width = first.image.shape[:2]
    slow = live and fps < SLOW * camera.judge_fps
    numbers = {"width": width, "height": height, "fps": f"{fps:.1f}", "wanted": f"{camera.judge_fps:g}"}
    return found("camera", "slow" if slow else "ok", camera.id, **numbers), pictures


def _first_frame(reader: CameraReader, news: threading.Event, clock: Clock) -> Frame | None:
    """None once the first attempt failed: a second one with a wrong password may lock the camera."""
    end = clock.now().mono + OPEN_S
    while (left := end - clock.now().mono) > 0 and news.wait(left):
        news.clear()
        if frame := reader.take(0, 0.0):
            return frame
        if reader.status().state is CameraState.LOST:
            return None
    return None


def _last_until(
    reader: CameraReader, last: Frame, clock: Clock, seconds: float, *, pictures: list[Image], keep: int = 0
) -> Frame:
    """The last frame within so many seconds, or before the camera broke off; pictures spread over the time are kept."""
    began = clock.now().mono
    while (left := began + seconds - clock.now().mono) > 0:
        frame = reader.take(last.seq, left)
        if frame is None:
            break
        last = frame
        if len(pictures) < keep and seconds - left >= len(pictures) * seconds / keep:
            pictures.append(frame.image)
    return last


def _unseen(status: CameraStatus, camera: str, *, node_runs: bool) -> Result:
    cause = CameraCause.TIMEOUT if status.cause is CameraCause.NONE else status.cause
    if node_runs and cause in (CameraCause.REFUSED, CameraCause.TIMEOUT):
        return found("camera", "beside_node", camera, detail=status.detail)
    return found("camera", cause.value, camera, detail=status.detail)
