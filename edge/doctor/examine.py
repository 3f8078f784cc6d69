"""The order of the examination: what the rest depends on first, what takes long last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.clock import SystemClock
from edge.doctor.bounded import within
from edge.doctor.broker import examine_broker
from edge.doctor.camera import examine_camera
from edge.doctor.certificate import examine_certificates
from edge.doctor.detector import examine_detector, examine_fixtures, examine_model
from edge.doctor.evidence import examine_evidence
from edge.doctor.influx import examine_influx
from edge.doctor.machine import examine_clock, examine_disk, examine_heat, examine_memory, examine_power
from edge.doctor.node import examine_node, examine_page
from edge.doctor.result import Result, found
from edge.health import Board
from edge.rules import RULES
from edge.site.load import SiteFileError, load, missing_files
from edge.site.model import Camera, Detector, Mqtt, SiteFile
from edge.values import Image

ORGAN_S = 45.0
"""Longest for an organ, whatever hangs: more than a camera that opens late, or a name server that is asked thrice."""
PICTURES = 12
"""Kept for the detector, of all cameras together: 75 MB at 1080p."""


def examine(
    path: Path | None,
    language: str = "en",
    begins: Callable[[str, str], None] | None = None,
    organ_s: float = ORGAN_S,
) -> Iterator[Result]:
    """Each finding as soon as it is there. Without a site file only the machine and the shipped model.

    language: of what is wrong in the site file. begins: told organ and which one before each is examined.
    """
    for step in _Examination(path, language).steps():
        if begins is not None:
            begins(step.organ, step.about)
        yield from step.look() if step.ends_by_itself else _bounded(step, organ_s)


@dataclass(frozen=True, slots=True)
class _Step:
    organ: str
    about: str
    look: Callable[[], Iterable[Result]]
    ends_by_itself: bool = False


def _bounded(step: _Step, seconds: float) -> Iterable[Result]:
    try:
        return within(seconds, lambda: tuple(step.look()))
    except TimeoutError:
        return (found(step.organ, "endless", step.about, seconds=f"{seconds:g}"),)


class _Examination:
    """Later steps need what earlier ones found; `steps` is therefore asked for each only when the last is done."""

    def __init__(self, path: Path | None, language: str) -> None:
        self._path = None if path is None else path.absolute()
        self._language = language
        self._base = Path.cwd() if path is None else path.absolute().parent
        self._site: SiteFile | None = None
        self._node_runs = False
        self._pictures: list[Image] = []
        self._model: Path | None = None

    def steps(self) -> Iterator[_Step]:
        if self._path is not None:
            yield _Step("site_file", str(self._path), self._site_file)
        site = self._site
        clock = SystemClock(trusted=site is not None and site.node.clock_trusted)
        if site is not None:
            yield _Step("node", str(site.node.data_dir), self._node)
        yield _Step(
            "clock", "", lambda: [examine_clock(clock.now(), trusted=site is not None and site.node.clock_trusted)]
        )
        yield self._disk()
        yield _Step("memory", "", lambda: [examine_memory()])
        yield _Step("heat", "", lambda: [examine_heat(Board.read())])
        yield _Step("power", "", lambda: [examine_power(Board.read())])
        if site is not None and (page := site.page) is not None:
            about = f"{page.host}:{page.port}"
            yield _Step("page", about, lambda: [examine_page(page, node_runs=self._node_runs)])
        if site is not None:
            yield from self._servers(site, clock)
            for camera in site.cameras:
                yield self._camera(camera, len(site.cameras), clock)
        settings = Detector() if site is None else site.detector
        yield _Step("model", str(settings.model), lambda: self._examine_model(settings))
        if (folder := self._model) is not None:
            looks = 0.0 if site is None else sum(c.judge_fps for c in site.cameras)
            yield _Step(
                "detector", "", lambda: examine_detector(settings, folder, self._pictures, looks), ends_by_itself=True
            )

    def _site_file(self) -> Iterator[Result]:
        path = self._path
        if path is None:
            return
        try:
            site = load(path, RULES, self._language)
            missing = missing_files(site, path, self._language)
        except SiteFileError as error:
            yield found(
                "site_file", "wrong", str(path), problems=_lines(p.text(self._language) for p in error.problems)
            )
            return
        self._site = site
        if missing:
            yield found("site_file", "missing", str(path), problems=_lines(p.text(self._language) for p in missing))
        else:
            yield found("site_file", "ok", str(path))

    def _node(self) -> Iterator[Result]:
        if self._site is not None:
            result = examine_node(self._site.node.data_dir)
            self._node_runs = result.code == "running"
            yield result

    def _disk(self) -> _Step:
        if self._site is None:
            return _Step("disk", str(self._base), lambda: [examine_disk(self._base)])
        folder, allowed = self._site.node.data_dir, self._site.evidence.max_mb + self._site.journal.max_mb
        return _Step("disk", str(folder), lambda: [examine_disk(folder, allowed)])

    def _servers(self, site: SiteFile, clock: SystemClock) -> Iterator[_Step]:
        mqtt, evidence, influx = site.uplinks.mqtt, site.uplinks.evidence, site.uplinks.influx
        yield _Step("certificate", "", lambda: examine_certificates(site, clock.now().wall))
        if mqtt is not None:
            about = f"{mqtt.host}:{mqtt.port}"
            yield _Step("broker", about, lambda: [self._broker(mqtt, site, clock)])
        if evidence is not None:
            yield _Step("evidence", evidence.url, lambda: [examine_evidence(evidence, clock.now().wall)])
        if influx is not None:
            yield _Step("influx", influx.url, lambda: [examine_influx(influx, site.site.id, clock.now().wall)])

    def _broker(self, mqtt: Mqtt, site: SiteFile, clock: SystemClock) -> Result:
        return examine_broker(mqtt, site.site.id, site.node.id, clock.now().wall, node_runs=self._node_runs)

    def _camera(self, camera: Camera, cameras: int, clock: SystemClock) -> _Step:
        def look() -> Iterator[Result]:
            keep = max(1, PICTURES // cameras)
            result, pictures = examine_camera(camera, clock, self._base, node_runs=self._node_runs, keep=keep)
            self._pictures += pictures
            yield result

        return _Step("camera", camera.id, look)

    def _examine_model(self, settings: Detector) -> list[Result]:
        results, self._model = examine_model(settings, self._base)
        if self._model is not None and self._site is not None:
            results += examine_fixtures(self._model, self._site)
        return results


def _lines(problems: Iterable[str]) -> str:
    return "\n".join(problems)
