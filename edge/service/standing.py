"""How the node stands: one sign for its light, one line for whoever asks the service manager. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.signal.codes import Sign
from edge.text import Catalogue
from edge.values import CameraCause, CameraState, CameraStatus, LinkState


@dataclass(frozen=True, slots=True)
class Camera:
    """status: of its reader. judged: whether one of its frames was, since the start. off: left out for the heat."""

    status: CameraStatus
    judged: bool
    off: bool = False

    @property
    def decided(self) -> bool:
        """Whether it is judged, or has said why it is not."""
        return self.judged or self.off or self.status.state not in {CameraState.OPENING, CameraState.LIVE}

    @property
    def seen(self) -> bool:
        """A recording that was played to its end lacks nothing."""
        return self.status.state.sees or self.status.cause is CameraCause.ENDED


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a node at one moment.

    trouble: why the journal cannot be written, a word of `page.journal`; None while it can.
    enrolled: False where the certificate that the site file names is not there. alarms: open, and seen now.
    cooling: what is left undone for the heat, a word of `service.cooling`; None: nothing.
    weak: the power supply gives too little. clock_ok: whether the clock is right. site_file_ok: whether the newest site
    file is in force. late: loops that stand still. siren: why it cannot sound; None where it can, or there is none.
    """

    cameras: Sequence[Camera]
    mqtt: LinkState = LinkState.OFF
    trouble: str | None = None
    enrolled: bool = True
    alarms: int = 0
    cooling: str | None = None
    weak: bool = False
    clock_ok: bool = True
    site_file_ok: bool = True
    late: Sequence[str] = ()
    siren: str | None = None

    @property
    def ready(self) -> bool:
        """Whether each camera is judged, or has said why it is not."""
        return all(camera.decided for camera in self.cameras)

    @property
    def sign(self) -> Sign:
        """The gravest of what the light can show."""
        held = (
            (Sign.FAILED, self.late or self.trouble),
            (Sign.STARTING, not self.ready),
            (Sign.ALARM, self.alarms),
            (Sign.NO_CAMERA, not all(c.seen and not c.off for c in self.cameras)),
            (Sign.NOT_ENROLLED, not self.enrolled),
            (Sign.NO_BROKER, self.mqtt not in {LinkState.OFF, LinkState.UP}),
        )
        return next((sign for sign, holds in held if holds), Sign.WORKING)

    def line(self, say: Catalogue) -> str:
        """Everything that is to be said, the gravest first."""
        waited = [c.status.camera for c in self.cameras if not c.decided]
        blind = [c.status.camera for c in self.cameras if c.decided and not c.off and not c.seen]
        off = [c.status.camera for c in self.cameras if c.off]
        seen = sum(c.decided and c.seen and not c.off for c in self.cameras)
        parts: tuple[tuple[object, str, dict[str, object]], ...] = (
            (self.late, "late", {"what": ", ".join(self.late)}),
            (self.trouble, "trouble", {"why": self.trouble and say(f"page.journal.{self.trouble}")}),
            (self.alarms, "alarms", {"n": self.alarms}),
            (True, "cameras", {"seen": seen, "all": len(self.cameras)}),
            (waited, "waited", {"what": ", ".join(waited)}),
            (blind, "blind", {"what": ", ".join(blind)}),
            (self.cooling, "hot", {"what": self.cooling and say(f"service.cooling.{self.cooling}")}),
            (off, "off", {"what": ", ".join(off)}),
            (self.weak, "weak", {}),
            (not self.enrolled, "not_enrolled", {}),
            (self.enrolled and self.mqtt not in {LinkState.OFF, LinkState.UP}, "no_broker", {}),
            (self.siren, "siren", {"why": self.siren}),
            (not self.clock_ok, "no_clock", {}),
            (not self.site_file_ok, "site_file", {}),
        )
        return say("service.join").join(say(f"service.{key}", **fields) for holds, key, fields in parts if holds)
