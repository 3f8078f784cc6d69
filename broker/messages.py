"""The wire contract: topics and payloads of MQTT (design: section 5). Imports nothing of the node.

Payloads are JSON in UTF-8, at most `MAX_PAYLOAD` bytes. Times are Unix seconds (UTC) as the *sender's* clock had them;
where that clock may be wrong, `clock_ok` is false and `age_s`, which needs no clock, counts. Consumers ignore fields
that they do not know, so that fields may be added; everything else needs a new number in the topic.

The JSON Schemas in `broker/schema` are exported from here (`python -m broker`), `broker/golden` holds one
message of each kind that every implementation must read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

PREFIX = "banksman/1"
MAX_PACKET = 64 * 1024
"""Bytes of a whole MQTT packet that the broker accepts."""
MAX_PAYLOAD = MAX_PACKET - 1024
"""Bytes of a payload: what topic and properties may take is left free."""
CONTENT_TYPE = "application/json"
MAX_CLAUSES = 16
MAX_EVIDENCE = 64
MAX_IDS = 500
"""Of events in one ack."""
MAX_LINE = 500
"""Characters of a line for people."""

_IDENT = r"[a-z0-9][a-z0-9-]{0,31}"
_NAME = r"[a-z0-9][a-z0-9_-]{0,63}"  # rules, commands and sensors are named by the program: underscores too

Ident = Annotated[str, StringConstraints(pattern=rf"^{_IDENT}$")]
PlaceId = Annotated[str, StringConstraints(pattern=rf"^({_IDENT}|-)$")]
Name = Annotated[str, StringConstraints(pattern=rf"^{_NAME}$")]
EventId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z-]{0,63}$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Line = Annotated[str, StringConstraints(max_length=MAX_LINE)]
MAX_INT = 2**53 - 1
"""The largest whole number that every reader of JSON keeps."""
Count = Annotated[int, Field(ge=0, le=MAX_INT)]


class MessageError(ValueError):
    """A payload or topic that does not keep the contract. `code` is one of the words below, the text says what."""

    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    WRONG = "wrong"
    TOPIC = "topic"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


def _explain(error: ValidationError) -> MessageError:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return MessageError(MessageError.NOT_JSON, first["msg"])
    where = ".".join(str(part) for part in first["loc"]) or "the message"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return MessageError(MessageError.WRONG, f"{where}: {first['msg']}{more}")


class Message(BaseModel):
    """Base of every payload."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    def to_payload(self) -> bytes:
        """The bytes to publish. Raises MessageError where they are more than `MAX_PAYLOAD`."""
        payload = self.model_dump_json().encode()
        if len(payload) > MAX_PAYLOAD:
            raise MessageError(
                MessageError.TOO_LARGE, f"{type(self).__name__} of {len(payload)} bytes; at most {MAX_PAYLOAD}"
            )
        return payload

    @classmethod
    def from_payload(cls, payload: bytes | bytearray) -> Self:
        """The message in these bytes. Raises MessageError, and nothing else, whatever the bytes are."""
        if len(payload) > MAX_PAYLOAD:
            raise MessageError(MessageError.TOO_LARGE, f"{len(payload)} bytes; at most {MAX_PAYLOAD}")
        try:
            return cls.model_validate_json(payload)
        except ValidationError as error:
            raise _explain(error) from error


class EvidenceItem(Message):
    """A file that shows what the alarm is about; it comes by HTTPS under its hash."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(description="Of the file, hex.")
    kind: Word = Field(description="`snapshot` (JPEG) or `clip` (MP4, H.264).")
    bytes: Count = Field(description="Size of the file.")


class AlarmMessage(Message):
    """One event in the life of an alarm, with its full state, never a difference."""

    id: EventId = Field(
        description="Of this event; the same each time that it is sent. UUIDv7; its time means nothing."
    )
    alarm: EventId = Field(description="Of the raise-to-clear that the event belongs to.")
    seq: Annotated[int, Field(ge=1, le=MAX_INT)] = Field(
        description="Order in the node's journal. Of two events of one alarm the higher is the newer; a consumer "
        "ignores the lower. Between alarms it means nothing."
    )
    event: Literal["raised", "updated", "cleared"] = Field(description="What happened.")
    source: Ident = Field(description="Camera or sensor.")
    place: PlaceId = Field(description="Zone, fixture or line; `-` for the whole picture.")
    rule: Name = Field(description="Rule id.")
    clause: tuple[Word, ...] = Field(
        (), max_length=MAX_CLAUSES, description="Clauses of the norm that the rule comes from."
    )
    severity: Literal["info", "warning", "critical"] = Field(description="How bad it is.")
    verdict: Literal["ok", "violation", "unknown"] = Field(
        description="`violation` while it lasts; `unknown` where nobody can see whether it does."
    )
    reason: Word = Field(description="Why the verdict is what it is; a word of the catalogues.")
    subjects: Count = Field(description="In violation now; on `cleared` the most there were.")
    confidence: Annotated[float, Field(ge=0, le=1)] = Field(0.0, description="Of the detections behind it.")
    first_seen: float = Field(description="When it was first seen, Unix s by the node's clock.")
    last_seen: float = Field(description="When it was last seen, Unix s by the node's clock.")
    at: float = Field(description="When this event was made, Unix s by the node's clock.")
    age_s: Annotated[float, Field(ge=0)] = Field(
        description="Seconds between `at` and this sending, measured anew each time. Received - age_s = true `at`."
    )
    clock_ok: bool = Field(description="Whether the node's clock was right when the times above were taken.")
    evidence: tuple[EvidenceItem, ...] = Field(
        (), max_length=MAX_EVIDENCE, description="Known when the event was made."
    )


class UpdateOrder(Message):
    """Arguments of the command `update`: a release that the site server holds under its hash."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(description="Of the file, hex.")
    bytes: Annotated[int, Field(ge=1, le=2**31)] = Field(description="Size of the file.")
    name: Ident = Field(description="`banksman`, or the name of a model.")
    version: Word = Field(description="Of the release.")
    sequence: Annotated[int, Field(ge=1, le=MAX_INT)] = Field(description="Of the release; a node never goes back.")


class UpdateReport(Message):
    """How the newest update of a node goes, or went."""

    state: Literal["fetching", "installing", "trying", "good", "rolled_back", "refused"] = Field(
        description="`trying`: it runs, and goes back to the one before if it fails; `good` and the two after it: over."
    )
    name: Line = Field(description="`banksman`, or the name of a model; empty where it is not known.")
    version: Line = Field(description="Of the release.")
    sequence: Count = Field(description="Of the release.")
    percent: Annotated[int, Field(ge=0, le=100)] = Field(100, description="Fetched of it.")
    code: Word = Field("ok", description="Why it is not further, or was not taken.")
    message: Line = Field("", description="One line for a person.")


class Status(Message):
    """Whether the node is there; retained, and its last will."""

    state: Literal["online", "offline"] = Field(description="`offline` comes from the node as it stops, or its will.")
    since: float | None = Field(description="Unix s; null in a last will: the time of receipt counts.")
    version: Word = Field(description="Of the program.")
    model: Annotated[str, StringConstraints(max_length=200)] = Field(description="Name and version of the detector.")
    site_file_hash: Annotated[str, StringConstraints(max_length=64)] = Field(description="Of the site file in force.")
    site_file_error: Line | None = Field(
        None, description="What is wrong with a newer site file that was therefore not taken."
    )
    clock_ok: bool = Field(description="Whether the node's clock is synchronised.")
    update: UpdateReport | None = Field(None, description="The newest update; null where there was none.")


class CameraHealth(Message):
    """How one camera is."""

    camera: Ident = Field(description="Id in the site file.")
    state: Word = Field(description="opening, live, stalled, frozen, dark, covered, lost or left_out (too hot).")
    cause: Word = Field("none", description="Why it is not live.")
    since: float = Field(description="Unix s; when it entered this state.")
    fps: Annotated[float, Field(ge=0)] = Field(0.0, description="Frames a second.")


class Health(Message):
    """How the node is; retained, sent every `period_s`."""

    at: float = Field(description="Unix s by the node's clock.")
    period_s: Annotated[float, Field(gt=0)] = Field(description="The next one comes after this; three missed: dead.")
    uptime_s: Annotated[float, Field(ge=0)] = Field(description="Since the program started.")
    fps: Annotated[float, Field(ge=0)] = Field(description="Frames judged a second, all cameras together.")
    latency_p50_ms: float | None = Field(None, description="From frame to judgement.")
    latency_p95_ms: float | None = Field(None, description="From frame to judgement.")
    cpu_temp_c: float | None = Field(None, description="Degrees Celsius; null where there is no sensor.")
    heat: Word | None = Field(None, description="ok, hot, too_hot or was_too_hot; null: not known.")
    power: Word | None = Field(None, description="ok, weak or was_weak: the supply; null: not known.")
    disk: Word | None = Field(None, description="ok, nearly_full or full; null: not known.")
    cooling: Word = Field("none", description="What is left undone for the heat: none, half, slowest (looks), cameras.")
    cpu_percent: float | None = Field(None, description="Of the whole computer.")
    rss_mb: float | None = Field(None, description="Memory of the program.")
    disk_free_mb: float | None = Field(None, description="Where the journal lives.")
    journal: Word = Field("ok", description="ok, or what ails it.")
    journal_depth: Count = Field(description="Rows that wait for delivery.")
    points_waiting: Count | None = Field(None, description="Rows that wait for InfluxDB; null where none is set up.")
    cameras: tuple[CameraHealth, ...] = Field((), max_length=64, description="In the order of the site file.")


class Ack(Message):
    """Ids of alarm events that dispatch has stored: sent after its commit."""

    ids: tuple[EventId, ...] = Field(max_length=MAX_IDS, description="Ids of events, in any order.")


class SensorMessage(Message):
    """A reading; retained, the newest wins."""

    quantity: Word = Field(description="What is measured, e.g. `o2`.")
    value: float = Field(description="In `unit`.")
    unit: Annotated[str, StringConstraints(max_length=32)] = Field(description="e.g. `%`, `ppm`, `dB(A)`.")
    ts: float = Field(description="Unix s by the sender's clock.")
    quality: Literal["good", "uncertain", "bad"] = Field(description="`bad` must not be judged.")


class Command(Message):
    """What is asked of a node. An empty payload is a command without arguments."""

    args: dict[Annotated[str, StringConstraints(max_length=64)], JsonValue] = Field(
        default_factory=dict, max_length=32, description="By name; which there are depends on the command."
    )


class Reply(Message):
    """What came of a command; carries the correlation data of the request."""

    ok: bool = Field(description="Whether it was done.")
    code: Word = Field("ok", description="`ok`, or a word for what went wrong.")
    message: Line = Field("", description="One line for a person.")
    result: JsonValue = Field(None, description="What the command gave.")


class CaseMessage(Message):
    """A case that is not over, as dispatch holds it; retained, empty when it is over. For sirens, lamps and screens."""

    id: EventId = Field(description="Of the case; UUIDv7.")
    version: Annotated[int, Field(ge=1, le=MAX_INT)] = Field(description="Counts the changes of the case.")
    node: Ident = Field(description="Whose alarm it is.")
    source: PlaceId = Field(description="Camera or sensor; `-` for the node itself.")
    place: PlaceId = Field(description="Zone, fixture or line; `-` for the whole picture, or the node itself.")
    rule: Name = Field(description="Rule id.")
    clause: tuple[Word, ...] = Field((), max_length=MAX_CLAUSES, description="Clauses of the norm.")
    state: Literal["open", "assigned", "resolved", "answered", "reopened"] = Field(
        description="How far people are with it."
    )
    alarm_state: Literal["active", "unknown", "cleared"] = Field(description="How the alarm stands by itself.")
    severity: Literal["info", "warning", "critical"] = Field(description="How bad it is.")
    verdict: Literal["ok", "violation", "unknown"] = Field(description="Of the newest event.")
    reason: Word = Field(description="Why the verdict is what it is.")
    subjects: Count = Field(description="In violation now.")
    unverified: bool = Field(description="The node is silent: nobody knows whether it still holds.")
    late: bool = Field(description="It came more than ten minutes after it happened.")
    important: bool = Field(description="To be named at the hand-over.")
    opened_at: float = Field(description="Unix s by dispatch's clock.")
    review_from: float = Field(description="Unix s; to be reviewed and assigned within 300 s of it.")
    assigned_at: float | None = Field(None, description="Unix s; null: nobody has taken it.")
    cleared_at: float | None = Field(None, description="Unix s; when the alarm cleared.")


class Kind(StrEnum):
    """The kinds of topics."""

    STATUS = "status"
    HEALTH = "health"
    ALARM = "alarm"
    ACK = "ack"
    SENSOR = "sensor"
    COMMAND = "command"
    REPLY = "reply"
    CASE = "case"


RETAINED: frozenset[Kind] = frozenset({Kind.STATUS, Kind.HEALTH, Kind.SENSOR, Kind.CASE})
"""Retained is what is a state, never what is an event."""

PAYLOADS: Mapping[Kind, type[Message]] = {
    Kind.STATUS: Status,
    Kind.HEALTH: Health,
    Kind.ALARM: AlarmMessage,
    Kind.ACK: Ack,
    Kind.SENSOR: SensorMessage,
    Kind.COMMAND: Command,
    Kind.REPLY: Reply,
    Kind.CASE: CaseMessage,
}

_TOPIC = re.compile(
    rf"{PREFIX}/(?P<site>{_IDENT})/(?:"
    rf"(?P<node>{_IDENT})/(?:"
    rf"(?P<plain>status|health|ack)"
    rf"|(?P<named>alarm|sensor)/(?P<name>{_NAME})"
    rf"|command/(?P<command>{_NAME})(?P<reply>/reply(?:/{_NAME})?)?)"
    rf"|-/case/(?P<case>[0-9A-Za-z][0-9A-Za-z-]{{0,63}}))"
)
_IDENT_RE = re.compile(_IDENT)
_NAME_RE = re.compile(_NAME)


def _checked(pattern: re.Pattern[str], what: str, value: str) -> str:
    if not pattern.fullmatch(value):
        raise MessageError(MessageError.TOPIC, f"{what} {value!r} does not match {pattern.pattern}")
    return value


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic, taken apart. node: None for a case. name: of rule, sensor, command or case; empty where none belongs."""

    kind: Kind
    site: str
    node: str | None
    name: str = ""


def parse_topic(topic: str) -> Topic:
    """Take a topic apart. Raises MessageError for one that is not of this contract."""
    match = _TOPIC.fullmatch(topic)
    if match is None:
        raise MessageError(MessageError.TOPIC, f"not a topic of {PREFIX}: {topic[:200]!r}")
    part = match.groupdict()
    site, node = part["site"], part["node"]
    if part["case"]:
        return Topic(Kind.CASE, site, None, part["case"])
    if part["command"]:
        return Topic(Kind.REPLY if part["reply"] else Kind.COMMAND, site, node, part["command"])
    if part["named"]:
        return Topic(Kind(part["named"]), site, node, part["name"])
    return Topic(Kind(part["plain"]), site, node)


@dataclass(frozen=True, slots=True)
class NodeTopics:
    """The topics of one node. Raises MessageError for a site, node or name that no topic may hold."""

    site: str
    node: str

    def __post_init__(self) -> None:
        _checked(_IDENT_RE, "site", self.site)
        _checked(_IDENT_RE, "node", self.node)

    @property
    def base(self) -> str:
        return f"{PREFIX}/{self.site}/{self.node}"

    @property
    def status(self) -> str:
        return f"{self.base}/status"

    @property
    def health(self) -> str:
        return f"{self.base}/health"

    @property
    def ack(self) -> str:
        return f"{self.base}/ack"

    @property
    def commands(self) -> str:
        """The filter for every command to this node; replies, one level deeper, do not match."""
        return f"{self.base}/command/+"

    def alarm(self, rule: str) -> str:
        return f"{self.base}/alarm/{_checked(_NAME_RE, 'rule', rule)}"

    def sensor(self, name: str) -> str:
        return f"{self.base}/sensor/{_checked(_NAME_RE, 'sensor', name)}"

    def command(self, name: str) -> str:
        return f"{self.base}/command/{_checked(_NAME_RE, 'command', name)}"

    def reply(self, name: str) -> str:
        """Where replies go when the request names no response topic; one below it (`…/reply/<who>`) may be named."""
        return f"{self.command(name)}/reply"


def case_topic(site: str, case: str) -> str:
    topic = f"{PREFIX}/{_checked(_IDENT_RE, 'site', site)}/-/case/{case}"
    parse_topic(topic)
    return topic


def schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schema of each payload by the name of its kind."""
    return {
        kind.value: {"$schema": "https://json-schema.org/draft/2020-12/schema"} | model.model_json_schema()
        for kind, model in PAYLOADS.items()
    }


def export(folder: Path) -> None:
    """Write the JSON Schemas as they are committed."""
    for name, schema in schemas().items():
        (folder / f"{name}.json").write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
