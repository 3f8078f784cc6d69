"""The kinds of sources: one file each, chosen by the `type` in the site file."""

from __future__ import annotations

from pathlib import Path

from edge.capture.csi import CsiCamera
from edge.capture.file import VideoFile
from edge.capture.folder import PictureFolder
from edge.capture.mjpeg import MjpegStream
from edge.capture.pan import PhotoPan
from edge.capture.rtsp import RtspStream
from edge.capture.source import Source
from edge.capture.usb import UsbCamera
from edge.site import model


def source_for(config: model.Source, base: Path) -> Source:
    """A new source, not opened yet. base: what relative paths start from (the site file's folder)."""
    source: Source
    match config:
        case model.RtspSource():
            source = RtspStream(config)
        case model.MjpegSource():
            source = MjpegStream(config)
        case model.UsbSource():
            source = UsbCamera(config)
        case model.CsiSource():
            source = CsiCamera(config)
        case model.FileSource():
            source = VideoFile(config, base)
        case model.FolderSource():
            source = PictureFolder(config, base)
        case model.PanSource():
            source = PhotoPan(config, base)
    return source
