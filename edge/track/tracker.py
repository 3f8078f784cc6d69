"""Multi-object tracking: who is who from frame to frame.

Two-stage association after ByteTrack (Zhang et al., ECCV 2022): confident boxes first, then boxes of low confidence for
tracks that found none, so that a half-hidden person keeps the name. The motion model is `edge.track.motion`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edge.track.assign import best_pairs
from edge.track.duplicates import distinct
from edge.track.motion import Motion
from edge.values import NO_TRACK, Detections, Ints

TRACKED = ("person", "machinery", "vehicle")
"""Classes that get ids; what belongs to a person is found by `edge.track.persons` instead."""

_GATE = 16.0  # most surprise at which a box still continues a track
_WEAK_GATE = 10.0  # the same for a box of low confidence
_WEAK_AFTER_S = 1.0  # such a box may not wake a track that has been out of sight for longer
_MAX_HIDDEN = 256  # tracks out of sight that are remembered at most


class Tracker:
    """Names the persons, machines and vehicles of one camera.

    confidence: a box at least this sure starts a track, so it has an id in the frame in which it is first seen.
    memory_s: how long a track out of sight is remembered; afterwards it is forgotten and its id is never used again.
    """

    def __init__(self, names: tuple[str, ...], confidence: float = 0.35, memory_s: float = 3.0) -> None:
        if not 0 <= confidence <= 1:
            raise ValueError(f"a tracker's confidence must lie in 0..1, got {confidence}")
        if not (math.isfinite(memory_s) and memory_s > 0):
            raise ValueError(f"a tracker's memory_s must be a positive number of seconds, got {memory_s}")
        self._names = names
        self._confidence = np.float32(confidence)
        self._memory_s = memory_s
        self._is_tracked = np.array([name in TRACKED for name in names], dtype=np.bool_)
        self._next_id = 1
        self._mono = -math.inf
        self._forget_all()

    def __len__(self) -> int:
        """Tracks that are remembered, in sight or not."""
        return len(self._motion)

    def update(self, detections: Detections, mono: float) -> Detections:
        """What was seen at `mono` (seconds, monotonic), with track ids and without duplicate boxes.

        Rows of `TRACKED` classes with at least `confidence` all get an id above 0, no two the same; less confident ones
        get one where they continue a track, else `NO_TRACK` like everything that is not tracked. The order of rows in
        the result depends on their values alone. Where time goes back (a replay starts over), or on by more than
        `memory_s` (the camera had stalled), every track is forgotten.
        Raises ValueError for a time that is no number or for detections of a model with other classes.
        """
        if not math.isfinite(mono):
            raise ValueError(f"mono must be a finite number of seconds, got {mono}")
        if detections.names != self._names:
            raise ValueError(f"this tracker is for classes {self._names}, got detections of {detections.names}")
        self._advance(mono)
        seen = distinct(detections)
        track_id = np.full(len(seen), NO_TRACK, dtype=np.int32)
        tracked = self._is_tracked[seen.class_id]
        sure = seen.confidence >= self._confidence
        strong, weak = np.flatnonzero(tracked & sure), np.flatnonzero(tracked & ~sure)

        everything = np.arange(len(self._motion))
        self._continue(seen, strong, everything, _GATE, track_id)
        recent = np.flatnonzero((self._last_seen < mono) & (self._last_seen >= mono - _WEAK_AFTER_S))
        self._continue(seen, weak, recent, _WEAK_GATE, track_id)
        self._start(seen, strong[track_id[strong] == NO_TRACK], track_id)
        return seen.with_tracks(track_id)

    def _forget_all(self) -> None:
        self._motion = Motion.start(np.zeros((0, 4), dtype=np.float32))
        self._id: Ints = np.zeros(0, dtype=np.int32)
        self._class: Ints = np.zeros(0, dtype=np.int32)
        self._last_seen: npt.NDArray[np.float64] = np.zeros(0)

    def _advance(self, mono: float) -> None:
        """Move every track on to `mono`, and drop those that have been out of sight for too long."""
        dt, self._mono = mono - self._mono, mono
        if not 0 <= dt <= self._memory_s:
            self._forget_all()
            return
        keep = self._last_seen >= mono - self._memory_s
        if np.count_nonzero(keep) > _MAX_HIDDEN:  # those seen last are the ones worth keeping
            newest = np.argsort(-self._last_seen, kind="stable")[:_MAX_HIDDEN]
            keep &= np.isin(np.arange(len(keep)), newest)
        if not keep.all():
            self._motion = self._motion.keep(keep)
            self._id, self._class, self._last_seen = self._id[keep], self._class[keep], self._last_seen[keep]
        self._motion.predict(dt)

    def _continue(
        self,
        seen: Detections,
        rows: npt.NDArray[np.intp],
        tracks: npt.NDArray[np.intp],
        gate: float,
        track_id: Ints,
    ) -> None:
        """Pair these rows with these tracks; what pairs gets the track's id and corrects its motion."""
        if not (len(rows) and len(tracks)):
            return
        cost = self._motion.surprise(seen.xyxy[rows])[tracks]
        cost[self._class[tracks][:, None] != seen.class_id[rows][None, :]] = np.inf
        pairs = best_pairs(cost, gate)
        if not pairs:
            return
        which, what = np.array(pairs, dtype=np.intp).T
        which, what = tracks[which], rows[what]
        self._motion.correct(which, seen.xyxy[what])
        self._last_seen[which] = self._mono
        track_id[what] = self._id[which]

    def _start(self, seen: Detections, rows: npt.NDArray[np.intp], track_id: Ints) -> None:
        """New tracks for these rows."""
        if not len(rows):
            return
        ids = np.arange(self._next_id, self._next_id + len(rows), dtype=np.int32)
        self._next_id += len(rows)
        self._motion = self._motion.join(Motion.start(seen.xyxy[rows]))
        self._id = np.concatenate([self._id, ids])
        self._class = np.concatenate([self._class, seen.class_id[rows]])
        self._last_seen = np.concatenate([self._last_seen, np.full(len(rows), self._mono)])
        track_id[rows] = ids
