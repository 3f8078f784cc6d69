"""The plain values that one step of the node hands to the next.

`Frame -> Detections -> Scene -> Finding -> Alarm -> journal`, all immutable; no step knows the step after next.
Boxes are `x1, y1, x2, y2` in pixels of the frame, y down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

from edge.clock import Stamp

Box: TypeAlias = tuple[float, float, float, float]
Point: TypeAlias = tuple[float, float]
Image: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.int32]

NO_TRACK = -1


@dataclass(frozen=True, slots=True, eq=False)
class LampSamples:
    """Brightness of one declared lamp region at camera rate, oldest first; the newest some ten seconds.

    fixture: id of the declared lamp.
    mono: (n,) float64, monotonic seconds, rising.
    core: (n,) float32, 0..1, brightness of the brightest tenth of the region.
    surround: (n,) float32, 0..1, median brightness of a ring around the region.
    """

    fixture: str
    mono: npt.NDArray[np.float64]
    core: Floats
    surround: Floats

    def __post_init__(self) -> None:
        shapes = {self.mono.shape, self.core.shape, self.surround.shape}
        if len(shapes) != 1 or self.mono.ndim != 1:
            raise ValueError(f"lamp {self.fixture!r}: mono, core and surround must be three (n,) arrays, got {shapes}")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture as a camera gave it.

    seq: counts the frames that the reader decoded, from 1, gaps where older ones were dropped.
    image: (height, width, 3) uint8, BGR, in one piece (C-contiguous). Never written to: whoever draws copies.
    lamps: samples of every declared lamp of this camera up to this frame.
    """

    camera: str
    seq: int
    stamp: Stamp
    image: Image
    lamps: tuple[LampSamples, ...] = ()

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(
                f"camera {self.camera!r}: a frame is (height, width, 3) uint8, "
                f"got {self.image.shape} {self.image.dtype}"
            )
        if not self.image.flags.c_contiguous:
            raise ValueError(f"camera {self.camera!r}: a frame must lie in one piece; use np.ascontiguousarray")

    @property
    def width(self) -> int:
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        return int(self.image.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What a detector saw in one frame: parallel arrays, n rows.

    xyxy: (n, 4) float32, pixels of the frame.
    confidence: (n,) float32, 0..1.
    class_id: (n,) int32, index into `names`.
    track_id: (n,) int32, `NO_TRACK` until the tracker has named it.
    names: the class names of the model's manifest; a class that is not here cannot be seen by this model.
    """

    xyxy: Floats
    confidence: Floats
    class_id: Ints
    track_id: Ints
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.xyxy)
        wanted = {"xyxy": (n, 4), "confidence": (n,), "class_id": (n,), "track_id": (n,)}
        for name, shape in wanted.items():
            got = getattr(self, name).shape
            if got != shape:
                raise ValueError(f"Detections.{name} must have shape {shape}, got {got}")
        if n and not 0 <= int(self.class_id.min()) <= int(self.class_id.max()) < len(self.names):
            raise ValueError(f"Detections.class_id must lie in 0..{len(self.names) - 1}, got {self.class_id.tolist()}")
        if n and not np.isfinite(self.xyxy).all():
            raise ValueError("Detections.xyxy must be finite")

    @classmethod
    def empty(cls, names: tuple[str, ...]) -> Self:
        return cls.build(np.zeros((0, 4)), np.zeros(0), np.zeros(0), names)

    @classmethod
    def build(
        cls, xyxy: npt.ArrayLike, confidence: npt.ArrayLike, class_id: npt.ArrayLike, names: tuple[str, ...]
    ) -> Self:
        """Detections without tracks from anything array-like."""
        boxes = np.asarray(xyxy, dtype=np.float32).reshape(-1, 4)
        return cls(
            xyxy=boxes,
            confidence=np.asarray(confidence, dtype=np.float32).reshape(-1),
            class_id=np.asarray(class_id, dtype=np.int32).reshape(-1),
            track_id=np.full(len(boxes), NO_TRACK, dtype=np.int32),
            names=names,
        )

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp] | slice) -> Self:
        # Rows of what was checked need no second check; a frame takes a dozen of these.
        part = object.__new__(type(self))
        for name in ("xyxy", "confidence", "class_id", "track_id"):
            object.__setattr__(part, name, getattr(self, name)[rows])
        object.__setattr__(part, "names", self.names)
        return part

    def of(self, *names: str) -> Self:
        """Only the rows of these classes; none for a class that the model lacks."""
        wanted = np.array([name in names for name in self.names], dtype=np.bool_)
        return self[wanted[self.class_id]]

    def joined(self, other: Self) -> Self:
        """These rows and, behind them, those of another look with the same classes."""
        if self.names != other.names:
            raise ValueError(f"detections of different models cannot be joined: classes {self.names} and {other.names}")
        return replace(
            self,
            xyxy=np.concatenate([self.xyxy, other.xyxy]),
            confidence=np.concatenate([self.confidence, other.confidence]),
            class_id=np.concatenate([self.class_id, other.class_id]),
            track_id=np.concatenate([self.track_id, other.track_id]),
        )

    def with_tracks(self, track_id: Ints) -> Self:
        return replace(self, track_id=track_id)

    def box(self, row: int) -> Box:
        x1, y1, x2, y2 = (float(v) for v in self.xyxy[row])
        return x1, y1, x2, y2


class Verdict(StrEnum):
    """Three, not two: what cannot be judged is never counted as in order."""

    OK = "ok"
    VIOLATION = "violation"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why a judgement came out as it did; texts in the catalogues under `reason.*`."""

    SEEN = "seen"  # the thing that is wanted was seen where it belongs
    ABSENT = "absent"  # the place was in clear sight and the thing was not there
    BARE = "bare"  # a bare head, or a body without warning clothing, was seen
    INSIDE = "inside"  # somebody is where nobody may be
    UNLIT = "unlit"  # a lamp that should be lit is dark
    WRONG_PATTERN = "wrong_pattern"  # a lamp is lit, but not steady or flashing as declared
    TOO_SMALL = "too_small"
    TOO_DARK = "too_dark"
    OCCLUDED = "occluded"
    CUT_OFF = "cut_off"  # the frame's edge cuts off the part that must be seen
    UNCERTAIN = "uncertain"  # neither the thing nor its absence was seen clearly
    CAMERA_BLIND = "camera_blind"
    CAMERA_MOVED = "camera_moved"
    NO_CALIBRATION = "no_calibration"
    NO_CLASS = "no_class"  # the model has no such class
    OVERLOOKED = "overlooked"  # the model has the class, but misses it so often that seeing none proves nothing
    NO_CLOCK = "no_clock"  # day or night cannot be told
    TOO_FEW_LOOKS = "too_few_looks"
    NODE_HOT = "node_hot"  # the node is too hot, and leaves this camera out
    TOO_HOT = "too_hot"
    WEAK_POWER = "weak_power"
    DISK_FULL = "disk_full"
    DISK_FAILS = "disk_fails"
    IN_ORDER = "in_order"  # of the node itself
    RESTARTED = "restarted"  # the node started again and has not judged it anew yet


NOBODY_LOOKED = frozenset({Reason.CAMERA_BLIND, Reason.NODE_HOT})
"""Reasons of a judgement behind which there is no look."""


class WearState(StrEnum):
    ON = "on"
    OFF = "off"  # its absence was seen: a bare head, a body without a vest
    UNSEEN = "unseen"  # neither


@dataclass(frozen=True, slots=True)
class Wear:
    """What was seen of one piece of protective equipment on one person."""

    state: WearState
    confidence: float = 0.0
    box: Box | None = None


UNSEEN = Wear(WearState.UNSEEN)


@dataclass(frozen=True, slots=True)
class Person:
    """One tracked person in one frame, with what was assigned to them.

    head: where the head is, seen (box of helmet or bare head) or estimated from the body.
    occluded: share 0..1 of the body box that is hidden behind somebody nearer to the camera.
    upper_hidden: the same for the upper third of the box.
    """

    track: int
    box: Box
    confidence: float
    head: Box
    helmet: Wear = UNSEEN
    vest: Wear = UNSEEN
    occluded: float = 0.0
    upper_hidden: float = 0.0

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]

    @property
    def foot(self) -> Point:
        """Bottom centre of the box: where the person stands."""
        return (self.box[0] + self.box[2]) / 2, self.box[3]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One judged frame: everything that a rule may look at, without the picture.

    detections: tracked detections above the judging threshold.
    brightness: mean luma of the frame, 0..1.
    overlooked: classes that the model misses too often for their absence to prove anything.
    """

    camera: str
    stamp: Stamp
    width: int
    height: int
    detections: Detections
    persons: tuple[Person, ...] = ()
    lamps: tuple[LampSamples, ...] = ()
    brightness: float = 0.5
    overlooked: frozenset[str] = frozenset()

    def can_see(self, *classes: str) -> bool:
        """Whether the model knows all these classes."""
        return set(classes) <= set(self.detections.names)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one subject at one look.

    subject: `person:<track>` for people; the id of the fixture for a fixture.
    """

    subject: str
    verdict: Verdict
    reason: Reason
    confidence: float = 0.0
    box: Box | None = None


WHOLE_PICTURE = "-"
"""Id of the place that is the whole picture."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A rule at a place: what owns a tally and, while it is broken, an alarm.

    source: the camera (or sensor quantity). place: the zone, fixture or line; `WHOLE_PICTURE`.
    """

    source: str
    place: str
    rule: str

    def __str__(self) -> str:
        return f"{self.source}/{self.place}/{self.rule}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One look at one rule instance, while the rule applies. No judgements: nobody was there."""

    instance: Instance
    stamp: Stamp
    judgements: tuple[Judgement, ...]


class Rest(StrEnum):
    """Why a rule does not look at a place now."""

    DAY = "day"  # it looks only at night
    HOURS = "hours"  # outside the hours of the rule, the zone or the shift


@dataclass(frozen=True, slots=True)
class PlaceState:
    """How a rule instance stands now.

    verdict: the worst confirmed one; None while the rule does not apply or nobody is there, then `reason` is None too.
    rest: why the rule does not apply now; None while it does.
    subjects: how many are known now; violating: how many of them break the rule.
    alarm: id of the open alarm, if there is one. at: of the last look, None before the first.
    """

    instance: Instance
    verdict: Verdict | None
    reason: Reason | None
    subjects: int = 0
    violating: int = 0
    alarm: str | None = None
    at: Stamp | None = None
    rest: Rest | None = None


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class AlarmChange(StrEnum):
    """What an alarm event tells."""

    RAISED = "raised"
    UPDATED = "updated"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class EvidenceRef:
    """A file that shows what an alarm is about.

    kind: `snapshot` (JPEG) or `clip` (MP4, H.264). sha256: of the file, hex; also its name.
    """

    sha256: str
    kind: str
    bytes: int


MEDIA_TYPES = {"snapshot": "image/jpeg", "clip": "video/mp4"}
"""By the kind of evidence."""


@dataclass(frozen=True, slots=True)
class AlarmEvent:
    """One step in the life of an alarm, with its full state, never a difference.

    id: of this event; alarm: of the raise-to-clear it belongs to; both UUIDv7, made once here.
    seq: order in the journal, 0 until the journal has it.
    subjects: how many are in violation now (on `cleared`: the most there were).
    verdict: VIOLATION while open; on `cleared` OK, or UNKNOWN where nobody could see how it ended;
        UNKNOWN on an open alarm that the node has not judged again since it started.
    at: when this event was made.
    """

    id: str
    alarm: str
    change: AlarmChange
    instance: Instance
    clauses: tuple[str, ...]
    severity: Severity
    verdict: Verdict
    reason: Reason
    subjects: int
    confidence: float
    first_seen: Stamp
    last_seen: Stamp
    at: Stamp
    evidence: tuple[EvidenceRef, ...] = ()
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """Seconds of one rule instance in one minute; `minute` is Unix time of its start, in s.

    subjects: the most that were judged at once.
    """

    instance: Instance
    minute: int
    ok_s: int
    violation_s: int
    unknown_s: int
    breach_s: int
    subjects: int


class CameraState(StrEnum):
    OPENING = "opening"
    LIVE = "live"
    STALLED = "stalled"  # no new frame for longer than the watchdog allows
    FROZEN = "frozen"  # frames come, but they are all the same picture
    DARK = "dark"  # almost black: lens cap, no light, broken sensor
    COVERED = "covered"  # no structure left in the picture
    LOST = "lost"  # could not be opened, or ended; being tried again
    LEFT_OUT = "left_out"  # the node is too hot to judge it

    @property
    def sees(self) -> bool:
        """Whether frames in this state may be judged."""
        return self is CameraState.LIVE


class CameraCause(StrEnum):
    """Why a camera is not live; texts and what to do about it in the catalogues under `cause.*`."""

    NONE = "none"
    AUTH = "auth"
    NOT_FOUND = "not_found"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    DECODE = "decode"
    ENDED = "ended"  # a file played to its end
    NO_DRIVER = "no_driver"  # e.g. picamera2 is not installed
    FORMAT = "format"  # frames of a size or type that cannot be used


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """How a camera is; `since` is when it entered this state."""

    camera: str
    state: CameraState
    cause: CameraCause
    since: Stamp
    fps: float = 0.0
    width: int = 0
    height: int = 0
    detail: str = ""  # one line for the installer, credentials already removed


class LinkState(StrEnum):
    """How the connection to the broker is."""

    OFF = "off"  # none is configured: a first-class way to run
    CONNECTING = "connecting"
    UP = "up"
    DOWN = "down"
