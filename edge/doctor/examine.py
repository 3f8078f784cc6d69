"""The order of the examination: what the rest depends on first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge.clock import SystemClock
from edge.doctor.broker import examine_broker, examine_evidence
from edge.doctor.camera import examine_camera
from edge.doctor.detector import examine_detector
from edge.doctor.machine import examine_clock, examine_disk, examine_heat, examine_memory
from edge.doctor.result import Grade, Result
from edge.rules import RULES
from edge.site.load import SiteFileError, load
from edge.site.model import Detector, SiteFile
from edge.values import Image


def examine(path: Path | None) -> Iterator[Result]:
    """Each finding as soon as it is there. Without a site file only the machine and the shipped model."""
    site: SiteFile | None = None
    if path is not None:
        try:
            site = load(path, RULES)
        except SiteFileError as error:
            yield Result("site_file", Grade.BAD, "wrong", str(path), {"error": error})
        else:
            yield Result("site_file", Grade.OK, "ok", str(path))
    base = Path.cwd() if path is None else path.resolve().parent
    trusted = site is not None and site.node.clock_trusted
    clock = SystemClock(trusted=trusted)
    yield examine_clock(clock, trusted=trusted)
    yield examine_disk(base if site is None else base / site.node.data_dir)
    yield examine_memory()
    yield examine_heat()
    pictures: list[Image] = []
    for camera in site.cameras if site else ():
        result, seen = examine_camera(camera, clock, base)
        pictures += seen
        yield result
    yield from examine_detector(site.detector if site else Detector(), base, pictures)
    if site is not None and site.uplinks.mqtt is not None:
        yield examine_broker(site.uplinks.mqtt, base)
    if site is not None and site.uplinks.evidence is not None:
        yield examine_evidence(site.uplinks.evidence, base)
