"""A clip out of small frames: faces hidden first, then H.264 in MP4."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from edge.evidence.between import Look, regions_at
from edge.evidence.mosaic import pixelate, scaled
from edge.evidence.ring import FPS, Small
from edge.values import Image

_MS = Fraction(1, 1000)
_CRF = 26
_INDEX_BYTES = 2048
_INDEX_BYTES_A_FRAME = 40
"""Room for the index before the pictures, so that a clip plays before it is all there. A frame takes some 20 bytes."""


def make_clip(frames: Sequence[Small], looks: Sequence[Look], at: float) -> bytes:
    """An MP4 of the frames whose heads are known; empty where there are none.

    frames, looks: oldest first. at: monotonic time of the alarm; where a camera changed its size, the frames of the
    size that it had then are taken. Made in memory, some 100 kB a second at 480 lines: FFmpeg does not close a file
    that it cannot write to the end, and a full disk must not use up the node's file handles.
    """
    shown = [(f, regions) for f in frames if (regions := regions_at(looks, f.mono)) is not None]
    if not shown:
        return b""
    nearest = min((f for f, _ in shown), key=lambda f: abs(f.mono - at))
    shown = [(f, regions) for f, regions in shown if (f.width, f.height) == (nearest.width, nearest.height)]
    content = BytesIO()
    index = {"moov_size": str(_INDEX_BYTES + _INDEX_BYTES_A_FRAME * len(shown))}
    with av.open(content, "w", format="mp4", container_options=index) as file:
        stream = file.add_stream("libx264", rate=round(FPS), options={"preset": "veryfast", "crf": str(_CRF)})
        stream.width, stream.height, stream.pix_fmt = nearest.width, nearest.height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = _MS
        stream.codec_context.thread_count = 1  # the other cores are for judging
        for small, regions in shown:
            image = pixelate(small.image(), [scaled(box, small.scale) for box in regions])
            _write(file, stream, image, round((small.mono - shown[0][0].mono) * 1000))
        file.mux(stream.encode(None))
    return content.getvalue()


def _write(file: OutputContainer, stream: VideoStream, image: Image, at_ms: int) -> None:
    frame = av.VideoFrame.from_ndarray(image, format="bgr24")
    frame.pts, frame.time_base = at_ms, _MS
    file.mux(stream.encode(frame))
