"""One camera's way through the node: a frame and what the detector saw in it, findings out. Pure but for its memory.

`Frame + Detections -> Tracks -> Scene -> Findings`; what becomes of the findings is `edge.alarm`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from types import MappingProxyType

import cv2
import numpy as np

from edge.clock import Stamp
from edge.detect import LookError
from edge.evidence.heads import HeadRegion, heads_of
from edge.rules.night import NightState, night
from edge.rules.rule import Circumstances, Place, Rule, resting
from edge.site.model import Camera, RuleSettings, SiteFile
from edge.track import Tracker, persons
from edge.values import (
    Box,
    Detections,
    Finding,
    Frame,
    Image,
    Instance,
    Judgement,
    Reason,
    Rest,
    Scene,
    Verdict,
    WearState,
)

Look = Callable[[Image, Box], WearState]
"""What is worn at a place in a frame, or whether anybody is there; `edge.detect.CloserLook` is one."""

TRACK_FLOOR = 0.05
"""What is less sure than this does not keep a track."""
_HOURS_EVERY_S = 10.0
"""How often night and working hours are asked for: the sun's place takes time, and nobody starts to the second."""
_EARLY = 0.1  # of a rule's period that its look may come early: else a camera's jitter would put it off by a frame
_SMALL = (160, 90)  # pixels: enough for a mean


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """One frame, judged."""

    frame: Frame
    scene: Scene
    findings: tuple[Finding, ...]
    heads: tuple[HeadRegion, ...]
    ended: tuple[Instance, ...]  # rule instances that have just stopped to apply
    closer: tuple[LookError | None, ...] = ()  # a closer look each that was taken: why it came to nothing

    def violators(self, instance: Instance) -> tuple[Box, ...]:
        """Where in the picture a rule instance is broken."""
        return tuple(
            j.box
            for finding in self.findings
            if finding.instance == instance
            for j in finding.judgements
            if j.verdict is Verdict.VIOLATION and j.box is not None
        )


def brightness(image: Image) -> float:
    """Mean luma of a frame, 0..1, from a small copy of it (ITU-R BT.601 weights)."""
    b, g, r, _ = cv2.mean(cv2.resize(image, _SMALL, interpolation=cv2.INTER_NEAREST))
    return (0.114 * b + 0.587 * g + 0.299 * r) / 255.0


def _look_closer(look: Look, image: Image, outcomes: list[LookError | None], box: Box) -> WearState:
    try:
        state = look(image, box)
    except LookError as error:
        outcomes.append(error)
        return WearState.UNSEEN
    outcomes.append(None)
    return state


def _believed(look: Callable[[Box], WearState], judgement: Judgement) -> Judgement:
    """The judgement, unless it blames somebody where a closer look is sure that there is nobody: then nothing is said.

    Where the look is not sure, or fails, the detector is believed: somebody in danger weighs more than a false alarm.
    """
    blamed = judgement.box if judgement.verdict is Verdict.VIOLATION else None
    if blamed is None or look(blamed) is not WearState.OFF:
        return judgement
    return replace(judgement, verdict=Verdict.UNKNOWN, reason=Reason.UNCERTAIN)


class CameraLine:
    """Keeps what one camera's judging needs from frame to frame: its tracks, and when each rule looked last.

    names: the classes that the model knows. least: see `persons`. closer: by the class that says that something is
    worn, or by `person`, who is asked before somebody is blamed.
    """

    def __init__(
        self,
        site_file: SiteFile,
        camera: Camera,
        names: tuple[str, ...],
        rules: Mapping[str, Rule],
        least: Mapping[str, float] = MappingProxyType({}),
        *,
        closer: Mapping[str, Look] = MappingProxyType({}),
        overlooked: Collection[str] = (),
    ) -> None:
        self.camera = camera
        self._site_file = site_file
        self._least = least
        self._closer = closer
        self._overlooked = frozenset(overlooked)
        self._tracker = Tracker(names, site_file.detector.confidence)
        self._places: list[tuple[Instance, Rule, Place, RuleSettings]] = [
            (Instance(camera.id, place.id, rule.id), rule, place, site_file.rule(rule.id))
            for rule in rules.values()
            if site_file.rule(rule.id).enabled
            for place in rule.places(camera)
        ]
        self._looked: dict[Instance, float] = {}
        # Nothing until the hours are asked: an alarm from before may be out of hours now.
        self.resting: Mapping[Instance, Rest] = {}
        self._night = NightState.UNKNOWN
        self._hours_asked = float("-inf")

    @property
    def instances(self) -> tuple[Instance, ...]:
        return tuple(i for i, *_ in self._places)

    def judge(self, frame: Frame, seen: Detections) -> Looked:
        """Judge one frame by what the detector saw in it, down to `heads.DETECTION_FLOOR`.

        Where a closer look fails, nothing is claimed of what that person wears, and `Looked.closer` tells.
        """
        trackable = seen.confidence >= np.float32(TRACK_FLOOR)
        tracked = self._tracker.update(seen[trackable], frame.stamp.mono)
        sure = tracked.confidence >= np.float32(self._site_file.detector.confidence)
        judged = tracked[sure]
        closer: list[LookError | None] = []
        closely = {part: partial(_look_closer, look, frame.image, closer) for part, look in self._closer.items()}
        people = persons(judged, frame.width, frame.height, self._least, hints=tracked[~sure], closely=closely)
        scene = Scene(
            camera=self.camera.id,
            stamp=frame.stamp,
            width=frame.width,
            height=frame.height,
            detections=judged,
            persons=people,
            lamps=frame.lamps,
            brightness=brightness(frame.image),
            overlooked=self._overlooked,
        )
        findings, ended = self._apply_rules(scene, closely.get("person"))
        heads = heads_of(tracked.joined(seen[~trackable]), people, frame.width, frame.height)
        return Looked(frame, scene, findings, heads, ended, tuple(closer))

    def go_on_from(self, before: CameraLine) -> None:
        """Take over what the line of the last site file remembers, so that everybody keeps their track."""
        self._tracker = before._tracker
        self._looked = {i: at for i, at in before._looked.items() if i not in self.resting}

    def blind(
        self, stamp: Stamp, reason: Reason = Reason.CAMERA_BLIND
    ) -> tuple[tuple[Finding, ...], tuple[Instance, ...]]:
        """What a moment without sight adds: one unknown for each rule instance that applies now, and what ended."""
        ended = self._applying_now(stamp)
        return tuple(
            Finding(instance, stamp, (rule.unknown(place, reason),))
            for instance, rule, place, _ in self._places
            if instance not in self.resting
        ), ended

    def _apply_rules(
        self, scene: Scene, look: Callable[[Box], WearState] | None
    ) -> tuple[tuple[Finding, ...], tuple[Instance, ...]]:
        ended = self._applying_now(scene.stamp)
        findings = []
        # A box that breaks three rules is looked at once.
        believed = partial(_believed, cache(look)) if look is not None else None
        for instance, rule, place, settings in self._places:
            since = scene.stamp.mono - self._looked.get(instance, float("-inf"))
            if instance in self.resting or since < rule.every_s * (1 - _EARLY):
                continue
            self._looked[instance] = scene.stamp.mono
            found = rule.judge(scene, place, Circumstances(self._night, settings))
            if believed is not None and rule.subject == "person":
                found = tuple(map(believed, found))
            findings.append(Finding(instance, scene.stamp, found))
        return tuple(findings), ended

    def _applying_now(self, stamp: Stamp) -> tuple[Instance, ...]:
        """Ask the clock, once in a while, which rules apply; returns those that have just stopped to."""
        if abs(stamp.mono - self._hours_asked) < _HOURS_EVERY_S:
            return ()
        self._hours_asked = stamp.mono
        self._night = night(self._site_file.site, self._site_file.night, stamp)
        before = self.resting
        self.resting = {
            instance: rest
            for instance, rule, place, settings in self._places
            if (rest := resting(rule, place, settings, self._site_file, stamp, self._night)) is not None
        }
        return tuple(i for i in self.resting if i not in before)
