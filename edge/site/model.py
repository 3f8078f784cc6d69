"""The site file: what this node watches, typed. Loading, line numbers and `banksman check` are in `edge.site.load`."""

from __future__ import annotations

from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from edge.values import Severity

Ident = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _polygon(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    area = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True))
    if abs(area) / 2 < 1e-5:
        raise ValueError("the corners enclose no area; give at least three that are not on one line")
    return points


RelativePoint = tuple[Share, Share]
Polygon = Annotated[list[RelativePoint], Field(min_length=3, max_length=64), AfterValidator(_polygon)]


class Strict(BaseModel):
    """Base of every section: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TimeSpan(Strict):
    """Hours of the day at the site; a span whose end is before its start runs over midnight."""

    start: time = Field(title="Start", description="Local time, HH:MM.", examples=["07:00"])
    end: time = Field(title="End", description="Local time, HH:MM; exclusive.", examples=["18:00"])

    def holds(self, moment: time) -> bool:
        if self.start <= self.end:
            return self.start <= moment < self.end
        return moment >= self.start or moment < self.end


class Site(Strict):
    """The building site."""

    id: Ident = Field(title="Site id", description="Part of every topic and record.", examples=["north-yard"])
    name: str = Field("", title="Name", description="As people call it; shown on pages.", examples=["北苑路抢修"])
    timezone: str = Field("Asia/Shanghai", title="Time zone", description="IANA name.", examples=["Asia/Shanghai"])
    latitude: float = Field(title="Latitude", description="Degrees, north positive.", ge=-90, le=90, examples=[39.91])
    longitude: float = Field(
        title="Longitude", description="Degrees, east positive.", ge=-180, le=180, examples=[116.4]
    )
    road_class: Literal["main", "other"] = Field(
        "other",
        title="Road class",
        description="Main roads and crowded places need hoarding (I.6.3).",
        examples=["main"],
    )
    working_hours: list[TimeSpan] = Field(
        default_factory=list,
        title="Working hours",
        description="When people-rules apply; empty means always.",
        examples=[[{"start": "07:00", "end": "19:00"}]],
    )

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"no such IANA time zone: {name!r}; for example Asia/Shanghai") from error
        return name


class Night(Strict):
    """When it is night."""

    mode: Literal["sun", "schedule"] = Field(
        "sun",
        title="How night is told",
        description="By the sun's position at the site, or by fixed hours.",
        examples=["sun"],
    )
    hours: TimeSpan | None = Field(
        None, title="Night hours", description="For mode schedule.", examples=[{"start": "19:00", "end": "06:00"}]
    )

    @model_validator(mode="after")
    def _hours_for_schedule(self) -> Self:
        if (self.mode == "schedule") != (self.hours is not None):
            raise ValueError("mode schedule needs hours, and mode sun takes none")
        return self


class Node(Strict):
    """This computer. The id names the place, not the box."""

    id: Ident = Field(title="Node id", description="Part of every topic and record.", examples=["gate-03"])
    data_dir: Path = Field(
        Path("/var/lib/banksman"),
        title="Data folder",
        description="Journal and evidence.",
        examples=["/var/lib/banksman"],
    )
    clock_trusted: bool = Field(
        False,
        title="Clock is trusted",
        description="Set only where something other than NTP keeps the clock right.",
        examples=[False],
    )


class Lens(Strict):
    """How the picture maps to the ground: four or more known points."""

    image: list[RelativePoint] = Field(
        min_length=4,
        title="Points in the picture",
        description="Relative, 0..1.",
        examples=[[[0.1, 0.9], [0.9, 0.9], [0.7, 0.5], [0.3, 0.5]]],
    )
    ground: list[tuple[float, float]] = Field(
        min_length=4,
        title="The same points on the ground",
        description="Metres.",
        examples=[[[0, 0], [6, 0], [6, 9], [0, 9]]],
    )

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if len(self.image) != len(self.ground):
            raise ValueError("image and ground must list the same number of points")
        return self


ZoneKind = Literal["work", "no_entry", "at_height", "pit", "shoring", "passage"]


class Zone(Strict):
    """A part of the picture with a meaning."""

    id: Ident = Field(title="Zone id", description="The place in alarms and reports.", examples=["trench"])
    name: str = Field("", title="Name", description="Shown to people.", examples=["沟槽"])
    kind: ZoneKind = Field(title="Kind", description="Decides which rules look here.", examples=["work"])
    polygon: Polygon = Field(
        title="Corners",
        description="Relative x, y, 0..1, from the top left.",
        examples=[[[0.1, 0.4], [0.9, 0.4], [0.9, 1.0], [0.1, 1.0]]],
    )
    hours: list[TimeSpan] = Field(
        default_factory=list,
        title="Hours",
        description="When the zone counts; empty means always.",
        examples=[[{"start": "19:00", "end": "06:00"}]],
    )


class BarrierFixture(Strict):
    """Hoarding, guard rail or tape that must close a line without gaps."""

    kind: Literal["barrier"] = Field(
        "barrier", title="Kind", description="A barrier along a line.", examples=["barrier"]
    )
    id: Ident = Field(title="Fixture id", description="The place in alarms.", examples=["north-fence"])
    name: str = Field("", title="Name", description="Shown to people.", examples=["北侧围挡"])
    line: list[RelativePoint] = Field(
        min_length=2,
        max_length=64,
        title="Line",
        description="Along the foot of the barrier; relative points.",
        examples=[[[0.1, 0.7], [0.9, 0.7]]],
    )
    cover: Share = Field(
        0.8,
        title="Share that must be covered",
        description="Of the line's length, by detected barriers.",
        examples=[0.8],
    )
    max_gap: Share = Field(
        0.15, title="Longest gap", description="Share of the line's length; longer is a violation.", examples=[0.15]
    )
    tolerance: Share = Field(
        0.05,
        title="Tolerance",
        description="How far a barrier may stand from the line, share of the picture's height.",
        examples=[0.05],
    )
    classes: list[str] = Field(
        default_factory=lambda: ["barrier"],
        min_length=1,
        title="Classes that count",
        description="Of the model's manifest.",
        examples=[["barrier", "cone"]],
    )


class LampFixture(Strict):
    """A warning lamp that must be lit at night."""

    kind: Literal["warning_light"] = Field(
        "warning_light", title="Kind", description="A lamp.", examples=["warning_light"]
    )
    id: Ident = Field(title="Fixture id", description="The place in alarms.", examples=["lamp-1"])
    name: str = Field("", title="Name", description="Shown to people.", examples=["一号警示灯"])
    polygon: Polygon = Field(
        title="Region",
        description="Tight around the lamp; relative points.",
        examples=[[[0.48, 0.3], [0.52, 0.3], [0.52, 0.36], [0.48, 0.36]]],
    )
    pattern: Literal["steady", "flashing", "any"] = Field(
        "any", title="Pattern", description="How it should be lit.", examples=["flashing"]
    )
    lit_contrast: Share = Field(
        0.25,
        title="Lit contrast",
        description="How much brighter than its surround the lamp is when lit, 0..1.",
        examples=[0.25],
    )


Fixture = Annotated[BarrierFixture | LampFixture, Field(discriminator="kind")]


class RtspSource(Strict):
    """A network camera over RTSP."""

    type: Literal["rtsp"] = Field("rtsp", title="Type", description="RTSP stream.", examples=["rtsp"])
    url: SecretStr = Field(
        title="URL",
        description="May hold user and password; never shown.",
        examples=["rtsp://user:password@10.0.0.20/stream2"],
    )
    transport: Literal["tcp", "udp"] = Field(
        "tcp", title="Transport", description="TCP unless the camera needs UDP.", examples=["tcp"]
    )

    @field_validator("url")
    @classmethod
    def _scheme(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("rtsp://", "rtsps://")):
            raise ValueError("must start with rtsp:// or rtsps://")
        return url


class MjpegSource(Strict):
    """A network camera that sends JPEG pictures over HTTP."""

    type: Literal["mjpeg"] = Field("mjpeg", title="Type", description="MJPEG over HTTP.", examples=["mjpeg"])
    url: SecretStr = Field(
        title="URL", description="May hold user and password; never shown.", examples=["http://10.0.0.21/video.mjpg"]
    )

    @field_validator("url")
    @classmethod
    def _scheme(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return url


class UsbSource(Strict):
    """A USB camera."""

    type: Literal["usb"] = Field("usb", title="Type", description="Video4Linux device.", examples=["usb"])
    index: int = Field(0, title="Device number", description="/dev/videoN.", ge=0, le=63, examples=[0])
    width: int = Field(1280, title="Width", description="Pixels asked for.", ge=160, le=4096, examples=[1280])
    height: int = Field(720, title="Height", description="Pixels asked for.", ge=120, le=2160, examples=[720])


class CsiSource(Strict):
    """A Raspberry Pi camera module (needs picamera2 from the system)."""

    type: Literal["csi"] = Field("csi", title="Type", description="Camera module.", examples=["csi"])
    index: int = Field(0, title="Camera number", description="As libcamera counts them.", ge=0, le=7, examples=[0])
    width: int = Field(1280, title="Width", description="Pixels asked for.", ge=160, le=4096, examples=[1280])
    height: int = Field(720, title="Height", description="Pixels asked for.", ge=120, le=2160, examples=[720])


class FileSource(Strict):
    """A video file, for trials and replays."""

    type: Literal["file"] = Field("file", title="Type", description="Video file.", examples=["file"])
    path: Path = Field(title="Path", description="Relative to the site file, or absolute.", examples=["clips/site.mp4"])
    realtime: bool = Field(
        True, title="Real time", description="Off: as fast as it can be judged, no frame dropped.", examples=[True]
    )
    loop: bool = Field(False, title="Loop", description="Start over at the end.", examples=[False])


class FolderSource(Strict):
    """A folder of pictures, shown in the order of their names."""

    type: Literal["folder"] = Field("folder", title="Type", description="Image folder.", examples=["folder"])
    path: Path = Field(title="Path", description="Relative to the site file, or absolute.", examples=["photos"])
    fps: float = Field(
        1.0, title="Pictures a second", description="How fast they follow each other.", gt=0, le=120, examples=[1.0]
    )
    realtime: bool = Field(
        True, title="Real time", description="Off: as fast as it can be judged, no frame dropped.", examples=[True]
    )
    loop: bool = Field(False, title="Loop", description="Start over at the end.", examples=[False])


class PanSource(Strict):
    """A slow pan and zoom over still photos: a moving picture where there is no camera (the demo)."""

    type: Literal["pan"] = Field("pan", title="Type", description="Pan over photos.", examples=["pan"])
    path: Path = Field(
        title="Folder of photos", description="Relative to the site file, or absolute.", examples=["photos"]
    )
    fps: float = Field(10.0, title="Frames a second", description="Of the made picture.", gt=0, le=60, examples=[10.0])
    seconds: float = Field(
        12.0, title="Seconds a photo", description="Before the next one.", gt=1, le=600, examples=[12.0]
    )
    width: int = Field(1280, title="Width", description="Pixels.", ge=160, le=4096, examples=[1280])
    height: int = Field(720, title="Height", description="Pixels.", ge=120, le=2160, examples=[720])


Source = Annotated[
    RtspSource | MjpegSource | UsbSource | CsiSource | FileSource | FolderSource | PanSource,
    Field(discriminator="type"),
]


class Camera(Strict):
    """A camera and what it should see."""

    id: Ident = Field(title="Camera id", description="The source in alarms.", examples=["gate"])
    name: str = Field("", title="Name", description="Shown to people.", examples=["大门"])
    source: Source = Field(
        title="Source",
        description="Where the picture comes from.",
        examples=[{"type": "rtsp", "url": "rtsp://10.0.0.20/stream2"}],
    )
    judge_fps: float = Field(
        5.0, title="Looks a second", description="How often people are judged, at most.", gt=0, le=30, examples=[5.0]
    )
    zones: list[Zone] = Field(
        default_factory=list,
        max_length=32,
        title="Zones",
        description="Parts of the picture with a meaning.",
        examples=[[]],
    )
    fixtures: list[Fixture] = Field(
        default_factory=list, max_length=32, title="Fixtures", description="What must be there.", examples=[[]]
    )
    calibration: Lens | None = Field(
        None, title="Calibration", description="Needed by rules that measure metres.", examples=[None]
    )

    @model_validator(mode="after")
    def _unique_places(self) -> Self:
        ids = [z.id for z in self.zones] + [f.id for f in self.fixtures]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"zone and fixture ids must differ within a camera; used twice: {', '.join(twice)}")
        return self


class Detector(Strict):
    """The model and what runs it."""

    model: Path = Field(
        Path("site-v0"),
        title="Model folder",
        description="Weights and manifest.json; a bare name is one that ships with Banksman.",
        examples=["site-v0"],
    )
    runtime: Literal["auto", "onnx", "ncnn", "openvino", "ultralytics"] = Field(
        "auto", title="Runtime", description="auto: NCNN on ARM, ONNX Runtime elsewhere.", examples=["auto"]
    )
    threads: int = Field(2, title="Threads", description="For the detector.", ge=1, le=32, examples=[2])
    confidence: Share = Field(
        0.35,
        title="Confidence",
        description="Below it a detection is not judged (it still helps tracking and pixelation).",
        examples=[0.35],
    )


class RuleSettings(Strict):
    """What can be set for each rule; what is left out keeps the rule's own default."""

    enabled: bool = Field(True, title="Enabled", description="Off: not judged, not tallied.", examples=[True])
    severity: Severity | None = Field(
        None, title="Severity", description="info, warning or critical.", examples=["warning"]
    )
    confirm_s: float | None = Field(
        None,
        title="Confirmation",
        description="Seconds that a breach must be seen before an alarm.",
        gt=0,
        le=3600,
        examples=[1.0],
    )
    clear_s: float | None = Field(
        None,
        title="Clearing",
        description="Seconds without breach before an alarm is cleared.",
        gt=0,
        le=86400,
        examples=[30.0],
    )
    quiet_s: float = Field(
        300.0,
        title="Quiet time",
        description="After an update of this rule's alarm no further one goes out for so long, unless it grew worse.",
        ge=0,
        le=86400,
        examples=[300],
    )
    min_height_px: int | None = Field(
        None, title="Smallest person", description="Pixels; a smaller person is unknown.", ge=8, le=2000, examples=[60]
    )
    hours: list[TimeSpan] = Field(
        default_factory=list,
        title="Hours",
        description="When the rule applies; empty means working hours.",
        examples=[[]],
    )


class Mqtt(Strict):
    """The broker."""

    host: str = Field(
        title="Host", description="Name or address.", min_length=1, max_length=253, examples=["broker.example.cn"]
    )
    port: int = Field(8883, title="Port", description="8883 with TLS.", ge=1, le=65535, examples=[8883])
    tls: bool = Field(True, title="TLS", description="Off only on a loopback broker.", examples=[True])
    ca: Path | None = Field(
        None, title="CA certificate", description="PEM; the system's when left out.", examples=["/etc/banksman/ca.pem"]
    )
    cert: Path | None = Field(None, title="Node certificate", description="PEM.", examples=["/etc/banksman/node.pem"])
    key: Path | None = Field(
        None, title="Node key", description="PEM, readable by the service only.", examples=["/etc/banksman/node.key"]
    )
    username: str | None = Field(
        None, title="User name", description="Where the broker wants one.", examples=["north-yard/gate-03"]
    )
    password: SecretStr | None = Field(None, title="Password", description="Never shown.", examples=["secret"])
    confirm: Literal["dispatch", "puback"] = Field(
        "dispatch",
        title="Delivered when",
        description="dispatch names the id, or (no dispatch behind the broker) at PUBACK.",
        examples=["dispatch"],
    )
    resend_s: float = Field(
        30.0, title="Send again after", description="Seconds without confirmation.", gt=0, le=3600, examples=[30]
    )

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if not self.tls and self.host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("tls may be off only for a broker on this computer (127.0.0.1, ::1, localhost)")
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together")
        return self


class EvidenceUplink(Strict):
    """Where pictures and clips go."""

    url: str = Field(
        title="URL",
        description="https://host[:port]; /evidence/… is added.",
        pattern=r"^https://[^\s@]+$",
        examples=["https://dispatch.example.cn:8443"],
    )
    ca: Path | None = Field(
        None, title="CA certificate", description="PEM; the system's when left out.", examples=["/etc/banksman/ca.pem"]
    )
    cert: Path | None = Field(None, title="Node certificate", description="PEM.", examples=["/etc/banksman/node.pem"])
    key: Path | None = Field(None, title="Node key", description="PEM.", examples=["/etc/banksman/node.key"])


class Uplinks(Strict):
    """Where the node sends. None at all is a first-class way to run."""

    mqtt: Mqtt | None = Field(
        None, title="MQTT", description="Alarms, health, status.", examples=[{"host": "broker.example.cn"}]
    )
    evidence: EvidenceUplink | None = Field(
        None,
        title="Evidence",
        description="Pictures and clips.",
        examples=[{"url": "https://dispatch.example.cn:8443"}],
    )


class Page(Strict):
    """The node's own page."""

    host: str = Field(
        "127.0.0.1", title="Address", description="Another than loopback needs a password.", examples=["127.0.0.1"]
    )
    port: int = Field(8080, title="Port", description="TCP.", ge=1, le=65535, examples=[8080])
    password: SecretStr | None = Field(
        None, title="Password", description="At least eight characters; never shown.", examples=["a long phrase"]
    )
    tls_cert: Path | None = Field(
        None, title="Certificate", description="PEM; serves HTTPS.", examples=["/etc/banksman/page.pem"]
    )
    tls_key: Path | None = Field(None, title="Key", description="PEM.", examples=["/etc/banksman/page.key"])

    @model_validator(mode="after")
    def _password_off_loopback(self) -> Self:
        if self.password is not None and len(self.password.get_secret_value()) < 8:
            raise ValueError("the page's password must have at least eight characters")
        if self.password is None and self.host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(f"a page bound to {self.host} needs a password; without one only 127.0.0.1 is allowed")
        return self


class Evidence(Strict):
    """Pictures and clips kept as evidence; faces are always pixelated."""

    clip_before_s: float = Field(
        4.0, title="Clip before", description="Seconds before the alarm.", ge=0, le=30, examples=[4]
    )
    clip_after_s: float = Field(
        4.0, title="Clip after", description="Seconds after the alarm.", ge=0, le=30, examples=[4]
    )
    clip_height: int = Field(480, title="Clip height", description="Pixels.", ge=120, le=1080, examples=[480])
    max_mb: int = Field(
        2000,
        title="Space",
        description="Megabytes for evidence files on the node.",
        ge=10,
        le=1_000_000,
        examples=[2000],
    )


class JournalSettings(Strict):
    """Bounds of the journal."""

    max_mb: int = Field(
        500,
        title="Space",
        description="Megabytes; what is acknowledged and oldest goes first.",
        ge=5,
        le=100_000,
        examples=[500],
    )
    max_days: int = Field(
        60, title="Age", description="Days that acknowledged rows are kept.", ge=1, le=3650, examples=[60]
    )


class SiteFile(Strict):
    """A whole site file."""

    site: Site = Field(
        title="Site",
        description="The building site.",
        examples=[{"id": "north-yard", "latitude": 39.91, "longitude": 116.4}],
    )
    node: Node = Field(title="Node", description="This computer.", examples=[{"id": "gate-03"}])
    language: Literal["zh-CN", "en"] = Field(
        "zh-CN", title="Language", description="Of pages and messages.", examples=["zh-CN"]
    )
    night: Night = Field(
        default_factory=Night, title="Night", description="When it is night.", examples=[{"mode": "sun"}]
    )
    cameras: list[Camera] = Field(
        min_length=1,
        max_length=16,
        title="Cameras",
        description="At least one.",
        examples=[[{"id": "gate", "source": {"type": "usb"}}]],
    )
    detector: Detector = Field(
        default_factory=Detector,
        title="Detector",
        description="The model and its runtime.",
        examples=[{"model": "site-v0"}],
    )
    rules: dict[str, RuleSettings] = Field(
        default_factory=dict,
        title="Rules",
        description="By rule id; a rule that is not named keeps its defaults.",
        examples=[{"helmet": {"severity": "critical"}}],
    )
    evidence: Evidence = Field(
        default_factory=Evidence, title="Evidence", description="Pictures and clips.", examples=[{}]
    )
    journal: JournalSettings = Field(
        default_factory=JournalSettings, title="Journal", description="Bounds on disk.", examples=[{}]
    )
    uplinks: Uplinks = Field(
        default_factory=Uplinks, title="Uplinks", description="Where the node sends.", examples=[{}]
    )
    page: Page | None = Field(
        default_factory=Page, title="Page", description="The node's own page; null for none.", examples=[{"port": 8080}]
    )

    @model_validator(mode="after")
    def _unique_cameras(self) -> Self:
        ids = [c.id for c in self.cameras]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"camera ids must differ; used twice: {', '.join(twice)}")
        return self

    def rule(self, rule_id: str) -> RuleSettings:
        return self.rules.get(rule_id, _DEFAULT_RULE)

    def camera(self, camera_id: str) -> Camera:
        return next(c for c in self.cameras if c.id == camera_id)


_DEFAULT_RULE = RuleSettings()


def json_schema() -> dict[str, Any]:
    """The JSON Schema that editors complete from; committed as `edge/site/schema.json`."""
    return SiteFile.model_json_schema()
