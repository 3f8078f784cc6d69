"""Evidence of alarms: a snapshot at once, a clip when its last seconds have passed. Faces are hidden in both.

`offer` and `judged` only gather, in memory. `snapshot` hides and encodes in the caller's thread, a few milliseconds, so
that the alarm can name the file; everything that touches the disk, and making clips, is done by two threads of this
module. No alarm waits for an SD card. The clip thread gives way to everything else.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from edge.beat import Beats
from edge.clock import Clock, Stamp
from edge.evidence.between import HOLD_S, Look, regions_now
from edge.evidence.clip import make_clip
from edge.evidence.heads import HeadRegion
from edge.evidence.jpeg import encode
from edge.evidence.mosaic import pixelate
from edge.evidence.ring import Ring, Small, shrink
from edge.evidence.store import Store, named, trouble_of
from edge.geometry import clip_box
from edge.journal.journal import Journal
from edge.journal.rows import Trouble
from edge.site.model import Evidence
from edge.values import Box, EvidenceRef, Frame

log = logging.getLogger(__name__)

MAX_RING_BYTES = 96 * 1024 * 1024
"""For the rings of all cameras together, in equal parts; a camera at the default settings takes some 5 MB."""
MAX_SNAPSHOTS = 64
MAX_CLIPS = 4
"""Clips that are complete and wait for the encoder; each holds its frames, some 4 MB."""
MAX_WAITING = 32
"""Clips whose last seconds have not passed yet; they hold nothing."""
STALL_S = 10.0
"""A camera without a frame for so long: its clip ends where its frames did."""
_STANDS_STILL_S = {"snapshots": 60.0, "clips": 300.0}  # a picture on the disk; a clip encoded beside everything else
_LAG_S = 2.0  # a look may arrive so much later than its frame
_POLL_S = 0.5
_NICENESS = 10
_QUALITY = 85
_RED = (40, 40, 230)

Done = Callable[[EvidenceRef], None]


@dataclass(frozen=True, slots=True)
class RecorderState:
    """bytes, frames: in memory. waiting: snapshots and clips that are not on disk yet.

    dropped: what was asked for and never came to be, since the start, by kind: snapshot, clip.
    trouble, detail: of the last write; NONE once one has worked again.
    """

    bytes: int
    frames: int
    waiting: int
    dropped: Mapping[str, int]
    trouble: Trouble = Trouble.NONE
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Shot:
    ref: EvidenceRef
    jpeg: bytes
    alarm: str
    stamp: Stamp


@dataclass(slots=True)
class _Clip:
    """asked: the clock's monotonic time of the request. frames, looks: once it is complete."""

    camera: str
    at: Stamp
    start: float
    end: float
    asked: float
    owners: list[tuple[str, Stamp]]
    told: list[Done]
    frames: tuple[Small, ...] = ()
    looks: tuple[Look, ...] = field(default=(), repr=False)


class Recorder:
    """See the module. All methods may be called from any thread; frames of one camera come from one thread."""

    def __init__(
        self, settings: Evidence, journal: Journal, clock: Clock, folder: Path, beats: Beats | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._store = Store(folder, journal, settings.max_mb * 1_000_000)
        self._span_s = settings.clip_before_s + settings.clip_after_s + HOLD_S + _LAG_S
        self._news = threading.Condition()
        self._rings: dict[str, Ring] = {}
        self._last_shot: dict[str, tuple[tuple[object, ...], _Shot]] = {}
        self._shots: deque[_Shot] = deque()
        self._waiting: deque[_Clip] = deque()
        self._complete: deque[_Clip] = deque()
        self._busy = 0
        self._dropped: Counter[str] = Counter()
        self._trouble: tuple[Trouble, str] = (Trouble.NONE, "")
        self._stopping = False
        self._threads: list[threading.Thread] = []
        beats = beats or Beats()
        self._writing, self._encoding = (beats.loop(name, longest) for name, longest in _STANDS_STILL_S.items())

    def start(self) -> None:
        """Begin to write; first clears away what a power cut left behind."""
        try:
            self._store.sweep()
        except OSError as error:
            self._failed("", 0, error)
        self._threads = [
            threading.Thread(target=self._write_shots, name="evidence-snapshots", daemon=True),
            threading.Thread(target=self._make_clips, name="evidence-clips", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Write what was asked for, clips with the frames there are, and end."""
        with self._news:
            self._stopping = True
            for clip in tuple(self._waiting):
                self._complete_clip(clip)
            self._news.notify_all()
        for thread in self._threads:
            thread.join(timeout=60.0)

    @property
    def state(self) -> RecorderState:
        with self._news:
            return RecorderState(
                bytes=sum(r.bytes for r in self._rings.values()),
                frames=sum(len(r) for r in self._rings.values()),
                waiting=len(self._shots) + len(self._waiting) + len(self._complete) + self._busy,
                dropped=dict(self._dropped),
                trouble=self._trouble[0],
                detail=self._trouble[1],
            )

    # -- what is seen ------------------------------------------------------------------------------------------------

    def offer(self, frame: Frame) -> None:
        """A frame at camera rate; ten a second are scaled down, encoded and kept: some 2 ms each."""
        mono = frame.stamp.mono
        with self._news:
            ring = self._ring(frame.camera)
            if mono < ring.newest:
                log.info("camera %s: its time has begun anew", frame.camera)
                for clip in [c for c in self._waiting if c.camera == frame.camera]:
                    self._complete_clip(clip)
                ring.clear()
            if not ring.takes(mono):
                return
        small = shrink(frame, self._settings.clip_height)
        with self._news:
            ring.touched = self._clock.now().mono
            ring.add(small, MAX_RING_BYTES // len(self._rings))
            self._complete_clips()

    def judged(self, frame: Frame, heads: Sequence[HeadRegion]) -> tuple[Box, ...]:
        """Where the heads are in a frame that was judged. Without looks there is nothing to make a clip of.

        Gives what to hide where this frame is shown: its heads, and those that were seen lately and now are not.
        """
        with self._news:
            ring = self._ring(frame.camera)
            hidden = regions_now(ring.looks(), frame.stamp.mono, heads)
            ring.add_look(Look(frame.stamp.mono, tuple(heads)))
            self._complete_clips()
        return hidden

    # -- what is asked for -------------------------------------------------------------------------------------------

    def snapshot(self, alarm: str, frame: Frame, heads: Sequence[HeadRegion], marks: Sequence[Box] = ()) -> EvidenceRef:
        """A picture for an alarm: the whole frame, faces hidden, also those that were seen lately and now are not.

        marks: boxes to outline, pixels of the frame. Several alarms of one frame share the file. The file is written
        soon, not now; `state.dropped` counts those that were not.
        """
        with self._news:
            looks = self._rings[frame.camera].looks() if frame.camera in self._rings else ()
            key = (frame.seq, frame.stamp, tuple(heads), tuple(marks))
            known, shot = self._last_shot.get(frame.camera, (None, None))
        if shot is None or known != key:
            image = pixelate(frame.image, regions_now(looks, frame.stamp.mono, heads))
            for mark in marks:
                x1, y1, x2, y2 = clip_box(mark, frame.width, frame.height)
                cv2.rectangle(image, (x1, y1), (x2, y2), _RED, max(2, frame.height // 360))
            jpeg = encode(image, _QUALITY)
            shot = _Shot(named(jpeg, "snapshot"), jpeg, alarm, frame.stamp)
        with self._news:
            self._last_shot[frame.camera] = (key, shot)
            self._shots.append(_Shot(shot.ref, shot.jpeg, alarm, frame.stamp))
            while len(self._shots) > MAX_SNAPSHOTS:
                self._drop("snapshot", self._shots.popleft().alarm, "too many wait for the disk")
            self._news.notify_all()
        return shot.ref

    def clip(self, alarm: str, camera: str, at: Stamp, on_done: Done | None = None) -> None:
        """A clip for an alarm at `at`, a time of the camera's frames; made when `clip_after_s` of frames have passed.

        on_done: called from a thread of the recorder once the file is on disk and in the journal; must not raise.
        It is not called where there is nothing to show. An alarm soon after another on the same camera shares its clip.
        """
        told = [] if on_done is None else [on_done]
        before, after = self._settings.clip_before_s, self._settings.clip_after_s
        with self._news:
            for clip in self._waiting:
                if clip.camera == camera and clip.start <= at.mono <= clip.at.mono + after / 2:
                    clip.owners.append((alarm, at))
                    clip.told += told
                    return
            clip = _Clip(
                camera=camera,
                at=at,
                start=at.mono - before,
                end=at.mono + after,
                asked=self._clock.now().mono,
                owners=[(alarm, at)],
                told=told,
            )
            self._waiting.append(clip)
            if len(self._waiting) > MAX_WAITING:
                self._drop_clip(self._waiting.popleft(), "too many are asked for")
            self._complete_clips()
            self._news.notify_all()

    # -- below: not for others; those down to the threads want the lock to be held -----------------------------------

    def _ring(self, camera: str) -> Ring:
        if camera not in self._rings:
            self._rings[camera] = Ring(self._span_s, self._clock.now().mono)
        return self._rings[camera]

    def _complete_clips(self) -> None:
        if not self._waiting:
            return
        now = self._clock.now().mono
        for clip in tuple(self._waiting):
            ring = self._ring(clip.camera)
            past = ring.newest >= clip.end and (ring.looked >= clip.end or ring.newest >= clip.end + HOLD_S + _LAG_S)
            if past or now - max(clip.asked, ring.touched) > STALL_S:
                self._complete_clip(clip)

    def _complete_clip(self, clip: _Clip) -> None:
        ring = self._ring(clip.camera)
        clip.frames, clip.looks = ring.frames(clip.start, clip.end), ring.looks()
        self._waiting.remove(clip)
        self._complete.append(clip)
        if len(self._complete) > MAX_CLIPS:
            self._drop_clip(self._complete.popleft(), "too many wait for the encoder")
        self._news.notify_all()

    def _drop_clip(self, clip: _Clip, why: str) -> None:
        for alarm, _ in clip.owners:
            self._drop("clip", alarm, why)

    def _drop(self, kind: str, alarm: str, why: str) -> None:
        self._dropped[kind] += 1
        log.warning("no %s of alarm %s: %s", kind, alarm, why)

    # -- the threads -------------------------------------------------------------------------------------------------

    def _write_shots(self) -> None:
        while True:
            with self._news:
                while not self._shots and not self._stopping:
                    self._news.wait()
                if not self._shots:
                    return
                shot = self._shots.popleft()
                self._busy += 1
            self._writing.work(self._clock.now().mono)
            try:
                self._store.keep(shot.ref, shot.jpeg, [(shot.alarm, shot.stamp)])
            except OSError as error:
                self._failed("snapshot", 1, error)
            else:
                self._worked()
            self._writing.rest()
            with self._news:
                self._busy -= 1

    def _make_clips(self) -> None:
        if sys.platform == "linux":  # where a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while True:
            with self._news:
                while not self._complete and not self._stopping:
                    # A camera that sends nothing any more wakes nobody.
                    self._news.wait(_POLL_S if self._waiting else None)
                    self._complete_clips()
                if not self._complete:
                    return
                clip = self._complete.popleft()
                self._busy += 1
            self._encoding.work(self._clock.now().mono)
            self._make_clip(clip)
            self._encoding.rest()
            with self._news:
                self._busy -= 1

    def _make_clip(self, clip: _Clip) -> None:
        content = make_clip(clip.frames, clip.looks, clip.at.mono)
        if not content:
            with self._news:
                self._drop_clip(clip, f"camera {clip.camera} has no judged frames around it")
            return
        ref = named(content, "clip")
        try:
            self._store.keep(ref, content, clip.owners)
        except OSError as error:
            self._failed("clip", len(clip.owners), error)
            return
        self._worked()
        for told in clip.told:
            told(ref)

    def _failed(self, kind: str, count: int, error: OSError) -> None:
        trouble = trouble_of(error)
        with self._news:
            if self._trouble[0] is not trouble:  # said once, counted always
                log.error("evidence cannot be written (%s): %s", trouble, error)
            self._trouble = (trouble, str(error))
            if count:
                self._dropped[kind] += count

    def _worked(self) -> None:
        with self._news:
            if self._trouble[0] is not Trouble.NONE:
                log.warning("evidence can be written again")
            self._trouble = (Trouble.NONE, "")
