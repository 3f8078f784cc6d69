"""The site file: what this node watches, typed. Loading, line numbers and `banksman check` are in `edge.site.load`.

Every field has a title, a description with its unit, and an example; `edge/site/fields.zh-CN.toml` holds the Chinese of
the first two, the catalogues `edge/text/*/site.toml` what is said when a value is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from datetime import time
from itertools import combinations, islice
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from edge.text import catalogue
from edge.values import Severity

SHIPPED_MODEL = "site-v1"
"""Of `models/weights`: what a node takes unless told otherwise."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_NO_AREA = 1e-5  # share of the picture: some nine pixels of 1280 × 720
_ROUNDING = 1e-12
_MANY = 3  # crossings that are told; more are mended by the same move
_Point = tuple[float, float]


def wrong(code: str, *at: str | int, **fields: object) -> PydanticCustomError:
    """The error of a validator. The text is `site.wrong.<code>` of the catalogues: told in both languages.

    at: where exactly, below the value that is being validated. Values of the file are never among the fields, for they
    may be secrets; but for ids, which are in every topic.
    """
    text = catalogue("en")(f"site.wrong.{code}", **fields)
    return PydanticCustomError("value_error", text, {"code": code, "at": at, "fields": fields})


def _polygon(points: list[tuple[float, float]], info: ValidationInfo) -> list[tuple[float, float]]:
    """Crossing is told before area: the two halves of an hourglass take each other's area away."""
    crossing = () if _on_one_line(points) else tuple(islice(_crossings(points), _MANY))
    if crossing:
        edges = ", ".join("{}-{} × {}-{}".format(*pair) for pair in crossing)
        raise wrong("crossing", place=info.data.get("id", "?"), edges=edges)
    area = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True))
    if abs(area) / 2 < _NO_AREA:
        raise wrong("no_area")
    return points


def _crossings(points: Sequence[tuple[float, float]]) -> Iterator[tuple[int, int, int, int]]:
    """Edges that share a point though they are no neighbours, each by its two corners, counted from 1.

    By the orientation of three points, as in Cormen et al., Introduction to Algorithms, section 33.1.
    """
    n = len(points)
    edges = [(i, (i + 1) % n) for i in range(n) if points[i] != points[(i + 1) % n]]  # a corner given twice is none
    for (first, (a, b)), (second, (c, d)) in combinations(enumerate(edges), 2):
        neighbours = second - first in (1, len(edges) - 1)
        if not neighbours and _meet(points[a], points[b], points[c], points[d]):
            yield a + 1, b + 1, c + 1, d + 1


def _meet(p1: _Point, p2: _Point, p3: _Point, p4: _Point) -> bool:
    """Whether the line from p1 to p2 and that from p3 to p4 share a point."""
    d1, d2, d3, d4 = _turn(p3, p4, p1), _turn(p3, p4, p2), _turn(p1, p2, p3), _turn(p1, p2, p4)
    if d1 * d2 < 0 and d3 * d4 < 0:
        return True
    ends = ((d1, p3, p4, p1), (d2, p3, p4, p2), (d3, p1, p2, p3), (d4, p1, p2, p4))
    return any(turn == 0 and _in_box(a, b, p) for turn, a, b, p in ends)


def _turn(a: _Point, b: _Point, c: _Point) -> int:
    """Whether a, b, c turn left (1), right (-1) or not at all (0)."""
    cross = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
    return 0 if abs(cross) < _ROUNDING else 1 if cross > 0 else -1


def _in_box(a: _Point, b: _Point, p: _Point) -> bool:
    return all(min(a[i], b[i]) <= p[i] <= max(a[i], b[i]) for i in (0, 1))


_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")


def _time_of_day(value: object) -> object:
    """HH:MM or HH:MM:SS, nothing else: Pydantic alone would take 7 for seven seconds past midnight."""
    if isinstance(value, time) and value.tzinfo is None:
        return value
    if not isinstance(value, str) or not (read := _TIME.fullmatch(value)):
        raise wrong("time")
    return time(int(read[1]), int(read[2]), int(read[3] or 0))


def _written_path(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        raise wrong("empty_path")
    return value


def _beside_site_file(path: Path, info: ValidationInfo) -> Path:
    """Paths are relative to the site file; `edge.site.load` says where that is."""
    return info.context["base"] / path if info.context else path


def repeats(values: Iterable[Hashable]) -> Iterator[int]:
    """Positions of values that stand further to the front already. None stands for nothing."""
    seen: set[Hashable] = set()
    for position, value in enumerate(values):
        if value in seen:
            yield position
        elif value is not None:
            seen.add(value)


def _on_one_line(points: Sequence[tuple[float, float]]) -> bool:
    (x0, y0), *rest = points
    return all(
        abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)) < _NO_AREA for (x1, y1), (x2, y2) in combinations(rest, 2)
    )


def _camera_url(url: SecretStr, *schemes: str) -> SecretStr:
    text = url.get_secret_value()
    if not text.startswith(tuple(f"{s}://" for s in schemes)):
        raise wrong("scheme", schemes=" / ".join(f"{s}://" for s in schemes))
    if not _has_host(text):
        raise wrong("url")
    return url


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:  # urllib says so of a port that is no number and of half an IPv6 address
        return False


def _host(host: str) -> str:
    """A name or address alone; two colons or more are IPv6."""
    if re.search(r"[\s/@\[\]]", host) or host.count(":") == 1:
        raise wrong("host")
    return host


IDENT = r"^[a-z0-9][a-z0-9-]{0,31}$"
ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
HTTPS = r"^https://[^\s@?#]+$"
Ident = Annotated[str, StringConstraints(pattern=IDENT)]
Name = Annotated[str, StringConstraints(max_length=80, pattern=ONE_LINE)]
Host = Annotated[str, StringConstraints(min_length=1, max_length=253), AfterValidator(_host)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
RelativePoint = tuple[Share, Share]
Polygon = Annotated[list[RelativePoint], Field(min_length=3, max_length=64), AfterValidator(_polygon)]
SitePath = Annotated[Path, BeforeValidator(_written_path), AfterValidator(_beside_site_file)]
TimeOfDay = Annotated[
    time,
    BeforeValidator(_time_of_day),
    PlainSerializer(lambda t: t.isoformat("seconds" if t.second else "minutes"), str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_TIME.pattern}$"}),
]


class Strict(BaseModel):
    """Base of every section: unknown keys are errors, values do not change after loading, errors do not quote them."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


def _together(section: Strict, cert: str, key: str) -> None:
    for given, missing in ((cert, key), (key, cert)):
        if getattr(section, given) is not None and getattr(section, missing) is None:
            raise wrong("pair", given, given=given, missing=missing)


class TimeSpan(Strict):
    """Hours of the day at the site.

    The start belongs to the span, the end does not. An end before the start runs over midnight; an end equal to the
    start is the whole day round, so that `00:00` to `00:00` never means "never": what is to be off is left out.
    """

    start: TimeOfDay = Field(title="Start", description="Local time, HH:MM.", examples=["07:00"])
    end: TimeOfDay = Field(
        title="End",
        description="Local time, HH:MM; exclusive. Before the start: next day. Same as the start: 24 hours.",
        examples=["18:00"],
    )

    def holds(self, moment: time) -> bool:
        """Whether a local time of day (without time zone) lies in the span."""
        if self.start < self.end:
            return self.start <= moment < self.end
        return moment >= self.start or moment < self.end


class Site(Strict):
    """The building site."""

    id: Ident = Field(title="Site id", description="Part of every topic and record.", examples=["north-yard"])
    name: Name = Field("", title="Name", description="As people call it; shown on pages.", examples=["北苑路抢修"])
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
            raise wrong("timezone") from error
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
        if self.mode == "schedule" and self.hours is None:
            raise wrong("night_hours_missing")
        if self.mode == "sun" and self.hours is not None:
            raise wrong("night_hours_unused", "hours")
        return self


class Node(Strict):
    """This computer. The id names the place, not the box."""

    id: Ident = Field(title="Node id", description="Part of every topic and record.", examples=["gate-03"])
    data_dir: SitePath = Field(
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
        max_length=64,
        title="Points in the picture",
        description="Relative, 0..1.",
        examples=[[[0.1, 0.9], [0.9, 0.9], [0.7, 0.5], [0.3, 0.5]]],
    )
    ground: list[tuple[float, float]] = Field(
        min_length=4,
        max_length=64,
        title="The same points on the ground",
        description="Metres.",
        examples=[[[0, 0], [6, 0], [6, 9], [0, 9]]],
    )

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if len(self.image) != len(self.ground):
            raise wrong("lens_pairs", "ground", image=len(self.image), ground=len(self.ground))
        for field in ("image", "ground"):
            if _on_one_line(getattr(self, field)):
                raise wrong("lens_line", field)
        return self


ZoneKind = Literal["work", "no_entry", "at_height", "pit", "shoring", "passage"]


class Zone(Strict):
    """A part of the picture with a meaning."""

    id: Ident = Field(title="Zone id", description="The place in alarms and reports.", examples=["trench"])
    name: Name = Field("", title="Name", description="Shown to people.", examples=["沟槽"])
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
    name: Name = Field("", title="Name", description="Shown to people.", examples=["北侧围挡"])
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

    @field_validator("line")
    @classmethod
    def _has_length(cls, line: list[tuple[float, float]]) -> list[tuple[float, float]]:
        if len(set(line)) < 2:
            raise wrong("no_length")
        return line


class LampFixture(Strict):
    """A warning lamp that must be lit at night."""

    kind: Literal["warning_light"] = Field(
        "warning_light", title="Kind", description="A lamp.", examples=["warning_light"]
    )
    id: Ident = Field(title="Fixture id", description="The place in alarms.", examples=["lamp-1"])
    name: Name = Field("", title="Name", description="Shown to people.", examples=["一号警示灯"])
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
        return _camera_url(url, "rtsp", "rtsps")


class MjpegSource(Strict):
    """A network camera that sends JPEG pictures over HTTP."""

    type: Literal["mjpeg"] = Field("mjpeg", title="Type", description="MJPEG over HTTP.", examples=["mjpeg"])
    url: SecretStr = Field(
        title="URL", description="May hold user and password; never shown.", examples=["http://10.0.0.21/video.mjpg"]
    )

    @field_validator("url")
    @classmethod
    def _scheme(cls, url: SecretStr) -> SecretStr:
        return _camera_url(url, "http", "https")


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
    path: SitePath = Field(
        title="Path", description="Relative to the site file, or absolute.", examples=["clips/site.mp4"]
    )
    realtime: bool = Field(
        True, title="Real time", description="Off: as fast as it can be judged, no frame dropped.", examples=[True]
    )
    loop: bool = Field(False, title="Loop", description="Start over at the end.", examples=[False])


class FolderSource(Strict):
    """A folder of pictures, shown in the order of their names."""

    type: Literal["folder"] = Field("folder", title="Type", description="Image folder.", examples=["folder"])
    path: SitePath = Field(title="Path", description="Relative to the site file, or absolute.", examples=["photos"])
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
    path: SitePath = Field(
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
    name: Name = Field("", title="Name", description="Shown to people.", examples=["大门"])
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
        examples=[[{"id": "trench", "kind": "work", "polygon": [[0.1, 0.4], [0.9, 0.4], [0.5, 1.0]]}]],
    )
    fixtures: list[Fixture] = Field(
        default_factory=list,
        max_length=32,
        title="Fixtures",
        description="What must be there.",
        examples=[[{"kind": "barrier", "id": "north-fence", "line": [[0.1, 0.7], [0.9, 0.7]]}]],
    )
    calibration: Lens | None = Field(
        None,
        title="Calibration",
        description="Needed by rules that measure metres.",
        examples=[
            {"image": [[0.1, 0.9], [0.9, 0.9], [0.7, 0.5], [0.3, 0.5]], "ground": [[0, 0], [6, 0], [6, 9], [0, 9]]}
        ],
    )

    @model_validator(mode="after")
    def _unique_places(self) -> Self:
        places = [("zones", i, z.id) for i, z in enumerate(self.zones)]
        places += [("fixtures", i, f.id) for i, f in enumerate(self.fixtures)]
        for position in repeats(place_id for *_, place_id in places):
            raise wrong("place_twice", *places[position][:2], "id")
        return self


class Detector(Strict):
    """The model and what runs it."""

    model: Path = Field(
        Path(SHIPPED_MODEL),
        title="Model folder",
        description="Weights and manifest.json; a bare name is one that ships with Banksman.",
        examples=[SHIPPED_MODEL],
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

    @field_validator("model")
    @classmethod
    def _shipped_or_beside(cls, model: Path, info: ValidationInfo) -> Path:
        return model if len(model.parts) == 1 else _beside_site_file(model, info)


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
        examples=[[{"start": "08:00", "end": "18:00"}]],
    )


class Mqtt(Strict):
    """The broker."""

    host: Host = Field(title="Host", description="Name or address, without port.", examples=["broker.example.cn"])
    port: int = Field(8883, title="Port", description="8883 with TLS.", ge=1, le=65535, examples=[8883])
    tls: bool = Field(True, title="TLS", description="Off only on a loopback broker.", examples=[True])
    ca: SitePath | None = Field(
        None, title="CA certificate", description="PEM; the system's when left out.", examples=["/etc/banksman/ca.pem"]
    )
    cert: SitePath | None = Field(
        None, title="Node certificate", description="PEM.", examples=["/etc/banksman/node.pem"]
    )
    key: SitePath | None = Field(
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
        if not self.tls and self.host not in LOOPBACK:
            raise wrong("tls_off", "tls")
        if not self.tls and (unused := next((f for f in ("ca", "cert", "key") if getattr(self, f) is not None), None)):
            raise wrong("tls_unused", unused)
        if self.password is not None and self.username is None:
            raise wrong("password_alone", "password")
        _together(self, "cert", "key")
        return self


class EvidenceUplink(Strict):
    """Where pictures and clips go."""

    url: str = Field(
        title="URL",
        description="https://host[:port]; /evidence/… is added.",
        pattern=HTTPS,
        examples=["https://dispatch.example.cn:8443"],
    )
    ca: SitePath | None = Field(
        None, title="CA certificate", description="PEM; the system's when left out.", examples=["/etc/banksman/ca.pem"]
    )
    cert: SitePath | None = Field(
        None, title="Node certificate", description="PEM.", examples=["/etc/banksman/node.pem"]
    )
    key: SitePath | None = Field(None, title="Node key", description="PEM.", examples=["/etc/banksman/node.key"])

    @field_validator("url")
    @classmethod
    def _names_a_host(cls, url: str) -> str:
        if not _has_host(url):
            raise wrong("url")
        return url

    @model_validator(mode="after")
    def _pair(self) -> Self:
        _together(self, "cert", "key")
        return self


class InfluxUplink(Strict):
    """InfluxDB: the figures that boards and reports are made of."""

    url: str = Field(
        title="URL",
        description="https://host[:port]; http only for an InfluxDB on this computer.",
        examples=["https://influx.example.cn:8086"],
    )
    org: Name = Field(
        "banksman", title="Organisation", description="As InfluxDB knows it.", min_length=1, examples=["banksman"]
    )
    bucket: Name = Field(
        "banksman",
        title="Bucket",
        description="Where points go; {site} stands for the id of the site.",
        min_length=1,
        examples=["banksman"],
    )
    token_file: SitePath = Field(
        title="Token file",
        description="Holds a token that may write the bucket, and nothing else; readable by the service only.",
        examples=["/etc/banksman/influx.token"],
    )
    ca: SitePath | None = Field(
        None, title="CA certificate", description="PEM; the system's when left out.", examples=["/etc/banksman/ca.pem"]
    )

    @field_validator("url")
    @classmethod
    def _private(cls, url: str) -> str:
        if not _has_host(url) or not re.fullmatch(r"https?://[^\s@?#]+", url):
            raise wrong("influx_url")
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise wrong("influx_http")
        return url

    @model_validator(mode="after")
    def _ca_is_used(self) -> Self:
        if self.ca is not None and self.url.startswith("http:"):
            raise wrong("ca_unused", "ca")
        return self


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
    influx: InfluxUplink | None = Field(
        None,
        title="InfluxDB",
        description="Compliance, alarms and readings, for boards and reports.",
        examples=[{"url": "https://influx.example.cn:8086", "token_file": "/etc/banksman/influx.token"}],
    )


class Page(Strict):
    """The node's own page."""

    host: Host = Field(
        "127.0.0.1", title="Address", description="Another than loopback needs a password.", examples=["127.0.0.1"]
    )
    port: int = Field(8080, title="Port", description="TCP.", ge=1, le=65535, examples=[8080])
    password: SecretStr | None = Field(
        None, title="Password", description="At least eight characters; never shown.", examples=["a long phrase"]
    )
    tls_cert: SitePath | None = Field(
        None, title="Certificate", description="PEM; serves HTTPS.", examples=["/etc/banksman/page.pem"]
    )
    tls_key: SitePath | None = Field(None, title="Key", description="PEM.", examples=["/etc/banksman/page.key"])

    @model_validator(mode="after")
    def _password_off_loopback(self) -> Self:
        if self.password is not None and len(self.password.get_secret_value()) < 8:
            raise wrong("short_password", "password")
        if self.password is None and self.host not in LOOPBACK:
            raise wrong("open_page", "host")
        _together(self, "tls_cert", "tls_key")
        return self


class Siren(Strict):
    """A buzzer, siren or beacon on a pin of the board, through a relay or transistor."""

    line: str = Field(
        title="Pin",
        description="Name of the GPIO line, as `gpioinfo` shows it.",
        pattern=r"^[A-Za-z0-9_.-]{1,32}$",
        examples=["GPIO17"],
    )
    active_low: bool = Field(
        False, title="Active low", description="On for relay boards that switch on at 0 V.", examples=[False]
    )
    severity: Severity = Field(
        Severity.WARNING,
        title="Sounds from",
        description="The least severity of an alarm that sounds.",
        examples=["critical"],
    )
    longest_s: float = Field(
        60.0, title="Longest", description="Seconds that one alarm sounds at most.", ge=1, le=3600, examples=[60]
    )


class Signal(Strict):
    """What the node shows and sounds where it hangs."""

    led: str | None = Field(
        "ACT",
        title="Light",
        description="Name of the board's light, in /sys/class/leds, that blinks how the node is; null for none.",
        pattern=r"^[A-Za-z0-9_:-]{1,32}$",
        examples=["ACT"],
    )
    siren: Siren | None = Field(
        None,
        title="Siren",
        description="Sounds while an alarm is open; null for none.",
        examples=[{"line": "GPIO17", "severity": "critical"}],
    )


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
        examples=[{"model": SHIPPED_MODEL}],
    )
    rules: dict[str, RuleSettings] = Field(
        default_factory=dict,
        title="Rules",
        description="By rule id; a rule that is not named keeps its defaults.",
        examples=[{"helmet": {"severity": "critical"}}],
    )
    evidence: Evidence = Field(
        default_factory=Evidence,
        title="Evidence",
        description="Pictures and clips.",
        examples=[{"clip_before_s": 4, "clip_after_s": 4}],
    )
    journal: JournalSettings = Field(
        default_factory=JournalSettings, title="Journal", description="Bounds on disk.", examples=[{"max_mb": 500}]
    )
    uplinks: Uplinks = Field(
        default_factory=Uplinks,
        title="Uplinks",
        description="Where the node sends.",
        examples=[{"mqtt": {"host": "broker.example.cn"}}],
    )
    signal: Signal = Field(
        default_factory=Signal,
        title="Signals",
        description="Light and siren on the spot.",
        examples=[{"led": "ACT", "siren": {"line": "GPIO17"}}],
    )
    page: Page | None = Field(
        default_factory=Page, title="Page", description="The node's own page; null for none.", examples=[{"port": 8080}]
    )

    @model_validator(mode="after")
    def _unique_cameras(self) -> Self:
        for position in repeats(c.id for c in self.cameras):
            raise wrong("camera_twice", "cameras", position, "id")
        return self

    @model_validator(mode="after")
    def _unique_devices(self) -> Self:
        """A device can be opened once only."""
        sources = [c.source for c in self.cameras]
        for position in repeats((s.type, s.index) if isinstance(s, UsbSource | CsiSource) else None for s in sources):
            raise wrong("device_twice", "cameras", position, "source")
        return self

    def rule(self, rule_id: str) -> RuleSettings:
        """What is set for a rule; the defaults where the file does not name it."""
        return self.rules.get(rule_id, _DEFAULT_RULE)

    def camera(self, camera_id: str) -> Camera:
        """The camera of this id. Raises KeyError where there is none."""
        for camera in self.cameras:
            if camera.id == camera_id:
                return camera
        raise KeyError(camera_id)


_DEFAULT_RULE = RuleSettings()


def json_schema() -> dict[str, Any]:
    """The JSON Schema that editors complete from; committed as `edge/site/schema.json`."""
    return SiteFile.model_json_schema()
