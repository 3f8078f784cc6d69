"""From what the journal keeps to points for InfluxDB, as lines of its protocol (design: section 5). Pure.

Tags come from closed sets; ids are fields. A tally stands at the start of its minute or hour, so that one that is sent
again overwrites itself; an event at its millisecond and, below that, at a number made of its id, so that two of one
millisecond stay two. Whole numbers are seconds and counts, all else is a float: a field keeps its first type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from influxdb_client.client.write.point import Point

from edge.journal.rows import Reading
from edge.values import AlarmEvent, Instance, Tally

NODE: Final = "node"
"""Name of the readings of the node itself; every other is the id of a sensor."""
_MINUTE, _HOUR = "compliance", "compliance_1h"
_MS, _S = 1_000_000, 1_000_000_000

Field = float | int | str


class Points:
    """The points of one node."""

    def __init__(self, site: str, node: str) -> None:
        self._node = {"site": site, "node": node}

    def minute(self, tally: Tally) -> str:
        return self._tally(_MINUTE, tally)

    def hour(self, tally: Tally) -> str:
        """`minute` of the tally is the start of the hour."""
        return self._tally(_HOUR, tally)

    def _tally(self, measurement: str, tally: Tally) -> str:
        fields: dict[str, Field] = {
            "ok_s": tally.ok_s,
            "violation_s": tally.violation_s,
            "unknown_s": tally.unknown_s,
            "breach_s": tally.breach_s,
            "subjects": tally.subjects,
        }
        return self._line(measurement, _where(tally.instance), fields, tally.minute * _S)

    def alarm(self, event: AlarmEvent) -> str:
        """duration_s: from the first sight of the breach to the last, by this event."""
        first, last = event.first_seen, event.last_seen
        lasted = last.mono - first.mono if last.boot == first.boot else last.wall - first.wall
        fields: dict[str, Field] = {
            "id": event.id,
            "alarm": event.alarm,
            "subjects": event.subjects,
            "confidence": float(event.confidence),
            "duration_s": round(max(0.0, lasted), 3),
        }
        tags = _where(event.instance) | {"severity": event.severity.value, "event": event.change.value}
        ns = round(event.at.wall * 1000) * _MS + UUID(event.id).int % _MS
        return self._line("alarm", tags, fields, ns)

    def reading(self, reading: Reading) -> str:
        """A point of `node`, or of `sensor`: then `quantity` among the values is a tag. Empty: nothing to tell."""
        fields = {name: value for name, value in reading.values.items() if value is not None}
        ns = round(reading.at.wall * 1000) * _MS
        if reading.name == NODE:
            return self._line("node", {}, fields, ns)
        tags = {"sensor": reading.name, "quantity": str(fields.pop("quantity", ""))}
        numbers = {name: value if isinstance(value, str) else float(value) for name, value in fields.items()}
        return self._line("sensor", tags, numbers, ns)

    def _line(self, measurement: str, tags: Mapping[str, str], fields: Mapping[str, Field], ns: int) -> str:
        record = {"measurement": measurement, "tags": {**self._node, **tags}, "fields": fields, "time": ns}
        return str(Point.from_dict(record).to_line_protocol())


def _where(instance: Instance) -> dict[str, str]:
    return {"source": instance.source, "place": instance.place, "rule": instance.rule}
