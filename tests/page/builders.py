"""A node for the page: a real site file, journal, live board and evidence files, without cameras and a detector."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
from uuid6 import uuid7

from broker.embedded import free_port
from edge.clock import Clock, ManualClock
from edge.evidence.heads import HeadRegion
from edge.journal.journal import Journal
from edge.journal.rows import Compliance, StoredEvidence
from edge.line import Looked
from edge.live import LiveBoard, LiveFrame
from edge.page.app import create_app
from edge.page.server import PageServer
from edge.page.view import Health, Uplink
from edge.rules import RULES
from edge.site.load import load, save_zones
from edge.site.model import JournalSettings, Page, SiteFile, Zone
from edge.values import (
    AlarmChange,
    AlarmEvent,
    Box,
    CameraCause,
    CameraState,
    CameraStatus,
    Detections,
    EvidenceRef,
    Finding,
    Frame,
    Image,
    Instance,
    Judgement,
    LinkState,
    PlaceState,
    Reason,
    Scene,
    Severity,
    Tally,
    Verdict,
)

PASSWORD = "a long phrase"  # noqa: S105 of a test
WIDTH, HEIGHT = 1280, 720
HELMET = Instance("gate", "trench", "helmet")
HI_VIS = Instance("gate", "trench", "hi_vis")
INTRUSION = Instance("gate", "pit-edge", "intrusion")
FENCE = Instance("gate", "north-fence", "barrier")

SITE = """\
# Written by hand; this line must survive every save.
site:
  id: north-yard
  name: 北苑路抢修
  latitude: 39.91
  longitude: 116.4
node:
  id: gate-03
  data_dir: data
language: en
cameras:
  - id: gate
    name: Main gate
    source: {type: usb}
    zones:
      - id: trench  # the deep one
        name: Trench
        kind: work
        polygon: [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]
      - id: pit-edge
        kind: no_entry
        polygon: [[0.05, 0.5], [0.15, 0.5], [0.1, 0.9]]
        hours: [{start: "19:00", end: "06:00"}]
    fixtures:
      - kind: barrier
        id: north-fence
        name: North fence
        line: [[0.1, 0.3], [0.9, 0.3]]
  - id: yard
    source: {type: usb, index: 1}
"""


def photo(width: int = WIDTH, height: int = HEIGHT, bright: int = 120) -> Image:
    """A grey picture with a bright rectangle at 0.5..0.6 x 0.25..0.75 of it: it shows what is drawn where."""
    image = np.full((height, width, 3), bright, dtype=np.uint8)
    image[height // 4 : height * 3 // 4, width // 2 : width * 6 // 10] = 250
    return image


def judged(box: Box, rule: Instance, verdict: Verdict, reason: Reason) -> tuple[Instance, Judgement]:
    return rule, Judgement(f"person:{box}", verdict, reason, 0.9, box)


class BenchNode:
    """Implements `edge.page.view.NodeView` on a folder."""

    def __init__(self, folder: Path, clock: ManualClock, site: str = SITE) -> None:
        self.folder = folder
        self.path = folder / "site.yaml"
        self.path.write_text(site, encoding="utf-8")
        self.clock = clock
        self.journal = Journal(folder / "journal.db", clock, JournalSettings())
        self.board = LiveBoard()
        self.broken: str | None = None
        self.places: tuple[PlaceState, ...] = ()
        self.disk_free_mb = 21_500.0
        self.disk: str | None = "ok"
        self.heat: str | None = "ok"
        self.power: str | None = "ok"
        self.mqtt, self.uploads, self.influx = (Uplink(LinkState.UP) for _ in range(3))
        self._site = self.on_disk()
        self._status = {c.id: self._live(c.id) for c in self._site.cameras}
        self._seq = 0

    def _live(self, camera: str) -> CameraStatus:
        return CameraStatus(camera, CameraState.LIVE, CameraCause.NONE, self.clock.now(), 12.5, WIDTH, HEIGHT)

    # -- what a test makes happen ------------------------------------------------------------------------------

    def look(
        self, *judgements: tuple[Instance, Judgement], image: Image | None = None, heads: Sequence[Box] = ()
    ) -> LiveFrame:
        """A judged frame of camera `gate`."""
        self._seq += 1
        frame = Frame("gate", self._seq, self.clock.now(), photo() if image is None else image)
        scene = Scene("gate", frame.stamp, frame.width, frame.height, Detections.empty(("person",)))
        findings = tuple(Finding(instance, frame.stamp, (j,)) for instance, j in judgements)
        self.board.put(Looked(frame, scene, findings, tuple(HeadRegion(b) for b in heads), ()), tuple(heads))
        shown = self.board.wait("gate", 0, 0.0)
        assert shown is not None
        return shown

    def camera(self, camera: str, state: CameraState, cause: CameraCause = CameraCause.NONE, detail: str = "") -> None:
        """A camera enters a state; one that does not see shows no picture any more."""
        self._status[camera] = replace(
            self._live(camera), state=state, cause=cause, detail=detail, since=self.clock.now()
        )
        if not state.sees:
            self.board.forget(camera)

    def raise_alarm(self, instance: Instance = HELMET, reason: Reason = Reason.BARE, **fields: object) -> AlarmEvent:
        now = self.clock.now()
        event = AlarmEvent(
            id=str(uuid7()),
            alarm=str(uuid7()),
            change=AlarmChange.RAISED,
            instance=instance,
            clauses=("I.1.2", "I.6.1"),
            severity=Severity.CRITICAL,
            verdict=Verdict.VIOLATION,
            reason=reason,
            subjects=2,
            confidence=0.9,
            first_seen=now.plus(-2.0),
            last_seen=now,
            at=now,
        )
        return self.journal.alarm(replace(event, **fields))  # type: ignore[arg-type]

    def change_alarm(self, event: AlarmEvent, change: AlarmChange, **fields: object) -> AlarmEvent:
        now = self.clock.now()
        fresh = replace(event, id=str(uuid7()), change=change, at=now, last_seen=now, seq=0)
        return self.journal.alarm(replace(fresh, **fields))  # type: ignore[arg-type]

    def keep_evidence(self, alarm: AlarmEvent, kind: str, content: bytes) -> EvidenceRef:
        """An evidence file on disk, with its record."""
        ref = EvidenceRef(hashlib.sha256(content).hexdigest(), kind, len(content))
        path = self.folder / "evidence" / ref.sha256
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        self.journal.evidence(ref, alarm.alarm, path, self.clock.now())
        return ref

    def tally(self, instance: Instance, ok: int, violation: int, unknown: int, minutes_ago: int = 1) -> None:
        minute = int(self.clock.wall // 60 - minutes_ago) * 60
        self.journal.tallies([Tally(instance, minute, ok, violation, unknown, violation, 1)])

    # -- what the page asks ------------------------------------------------------------------------------------

    def site(self) -> SiteFile:
        return self._site

    def site_error(self) -> str | None:
        return self.broken

    def cameras(self) -> tuple[CameraStatus, ...]:
        return tuple(self._status[c.id] for c in self._site.cameras)

    def live(self, camera: str, after: int, timeout: float) -> LiveFrame | None:
        return self.board.wait(camera, after, timeout)

    def states(self) -> tuple[PlaceState, ...]:
        return self.places

    def alarms(self, limit: int) -> tuple[AlarmEvent, ...]:
        return self.journal.recent_alarms(limit)

    def alarm(self, alarm: str) -> tuple[AlarmEvent, ...]:
        return self.journal.alarm_history(alarm)

    def evidence(self, alarm: str) -> tuple[StoredEvidence, ...]:
        return self.journal.evidence_of(alarm)

    def compliance(self, hours: int) -> tuple[Compliance, ...]:
        return self.journal.compliance(self.clock.wall - hours * 3600)

    def health(self) -> Health:
        return Health(
            version="0.1.0",
            model="site-v1",
            runtime="onnx",
            fps=4.9,
            latency_p50_ms=61.0,
            latency_p95_ms=88.0,
            rss_mb=212.0,
            cpu_temp_c=61.0,
            cpu_percent=104.0,
            disk_free_mb=self.disk_free_mb,
            journal=self.journal.state,
            journal_depth=self.journal.depth(),
            mqtt=self.mqtt,
            uploads=self.uploads,
            influx=self.influx,
            clock_synced=self.clock.synced,
            uptime_s=93_784.0,
            disk=self.disk,
            heat=self.heat,
            power=self.power,
        )

    def save_zones(self, camera: str, zones: Sequence[Zone], language: str) -> None:
        save_zones(self.path, camera, zones, RULES, language)
        self.reload()

    def reload(self) -> None:
        self._site = self.on_disk()

    def on_disk(self) -> SiteFile:
        return load(self.path, RULES)


def jpeg(image: Image | None = None) -> bytes:
    done, data = cv2.imencode(".jpg", photo() if image is None else image)
    assert done
    return data.tobytes()


@cache
def clip(seconds: int = 2) -> bytes:
    """A real H.264 MP4 of 320 x 180, ten frames a second."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for i in range(10 * seconds):
            frame = av.VideoFrame.from_ndarray(photo(320, 180, bright=40 + i), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


@contextmanager
def serving(node: BenchNode, clock: Clock, **page: object) -> Iterator[str]:
    """The page on a free port of loopback; gives its URL without the last slash."""
    settings = Page(port=free_port(), **page)
    server = PageServer(create_app(node, settings, clock), settings)
    server.start()
    try:
        yield server.url.rstrip("/")
    finally:
        server.stop()


def place(instance: Instance, verdict: Verdict | None, reason: Reason | None, **fields: object) -> PlaceState:
    return PlaceState(instance, verdict, reason, **fields)  # type: ignore[arg-type]
