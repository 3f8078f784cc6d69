"""Change the zones of a camera in the site file and nothing else in it: comments, order, quotes and layout stay.

The new text is cut together from the old one by the places that the parser gives, zone by zone: one that stays as it is
keeps its lines, one that is changed gets new values in its lines. Loading the file into a round-trip tree and dumping
it would be less code, but it re-wraps and re-indents the whole file and moves comments between entries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, cast

from edge.site.disk import read_bytes, replace
from edge.site.model import SiteFile, TimeSpan, Zone
from edge.site.parse import decode, parse
from edge.site.problem import Problem, SiteFileError
from edge.site.tree import Map, Node, Scalar, Seq, read, value_of
from edge.text import catalogue

_STEP = 2
_ALWAYS = ("id", "kind", "polygon")
_WORD = re.compile(r"[a-z][a-z0-9_-]*")
_saving = Lock()


def save_zones(
    path: Path, camera_id: str, zones: Sequence[Zone], known_rules: Collection[str], language: str = "en"
) -> None:
    """Write these zones of a camera to the site file, which is replaced at once or not at all.

    Raises SiteFileError where the file as it is, or as it would become, is not right, or was changed by somebody else
    meanwhile; OSError where it cannot be written, or not with the owner it has.
    """
    target = path.resolve()  # a link stays a link
    with _saving:
        before = read_bytes(target, language)
        old = parse(before, path, known_rules, language)
        camera = next((i for i, c in enumerate(old.cameras) if c.id == camera_id), None)
        if camera is None:
            raise _refusal(path, "no_camera", language)
        after = _with_zones(before, camera, old.cameras[camera].zones, zones)
        if parse(after, path, known_rules, language) != _expected(old, camera_id, zones):
            raise _refusal(path, "not_editable", language)
        if after == before:
            return
        if read_bytes(target, language) != before:
            raise _refusal(path, "changed", language)
        replace(target, after)


def _refusal(path: Path, key: str, language: str) -> SiteFileError:
    say = catalogue(language)
    advice = f"site.file_do.{key}"
    problem = Problem(str(path), 0, 0, "cameras", say(f"site.file.{key}"), say(advice) if advice in say else "")
    return SiteFileError([problem], language)


def _expected(old: SiteFile, camera_id: str, zones: Sequence[Zone]) -> SiteFile:
    cameras = [c.model_copy(update={"zones": list(zones)}) if c.id == camera_id else c for c in old.cameras]
    return old.model_copy(update={"cameras": cameras})


def _with_zones(data: bytes, camera: int, old: Sequence[Zone], new: Sequence[Zone]) -> bytes:
    """The file, which is right, with other zones for the camera at that position."""
    text, _ = decode(data)
    bom = data[: len(data) - len(text.encode())]
    windows = "\r\n" in text
    text = text.replace("\r\n", "\n")
    root, _ = read(text)
    node = root.pairs["cameras"][1].items[camera]  # type: ignore[union-attr] # its types have been validated
    text = _Editor(text).zones(cast("Map", node), old, new)
    return bom + (text.replace("\n", "\r\n") if windows else text).encode()


class _Editor:
    """Cuts one text. Indexes are those of the marks, so edits are collected and applied once."""

    def __init__(self, text: str) -> None:
        self._text = text

    def zones(self, camera: Map, old: Sequence[Zone], new: Sequence[Zone]) -> str:
        """The text with `new` in the place of the camera's zones, which are `old`."""
        if list(old) == list(new):
            return self._text
        if "zones" not in camera.pairs:
            return self._added(camera, new)
        key, value = camera.pairs["zones"]
        if camera.flow:
            return self._cut([(value.start.index, self._end(value), _flow(new))])
        if isinstance(value, Seq) and not value.flow and new:
            regular = all(self._is_regular(value, item) for item in value.items)
            return self._lines(key, value, old if regular else (), new)
        if not new:
            return self._cut([(key.end.index, self._end(value), ": []" + self._remark(key, value))])
        return self._inlined(key, value, new)

    def _added(self, camera: Map, new: Sequence[Zone]) -> str:
        """A camera that has no zones yet: they go behind its last key."""
        end = self._end(camera)
        if camera.flow:
            inside = self._text[: end - 1].rstrip()
            comma = "" if inside.endswith(",") else ","
            return self._cut([(len(inside), end - 1, f"{comma} zones: {_flow(new)}")])
        indent = next(iter(camera.pairs.values()))[0].start.column
        block = f"{' ' * indent}zones:\n{self._block(indent + _STEP, new)}"
        return self._inserted(end, block)

    def _inlined(self, key: Scalar, value: Node, new: Sequence[Zone]) -> str:
        """Zones that stood behind their key, as `[]` or between brackets: the new ones go below it."""
        end = self._end(value)
        line_end = self._line_end(end)
        remark = self._text[end:line_end]
        block = f":{remark}\n{self._block(key.start.column + _STEP, new)}"
        return self._cut([(key.end.index, line_end, block.removesuffix("\n"))])

    def _lines(self, key: Scalar, value: Seq, old: Sequence[Zone], new: Sequence[Zone]) -> str:
        """A list of one zone after the other: each with the comments above it; what is in `old` keeps its lines."""
        indent = value.start.column
        first = self._line_end(key.end.index) + 1
        kept: dict[str, tuple[int, int, Node, Zone]] = {}
        start = first
        for item, zone in zip(value.items, old, strict=False):
            end = self._item_end(item, indent)
            kept[zone.id] = (start, end, item, zone)
            start = end
        last = start if kept else self._item_end(value.items[-1], indent)
        pieces = []
        for zone in new:
            if zone.id not in kept:
                pieces.append(self._block(indent, [zone]))
                continue
            start, end, item, was = kept[zone.id]
            piece = self._cut(self._changes(item, was, zone), start, end)
            pieces.append(piece if piece.endswith("\n") else piece + "\n")
        return self._text[:first] + "".join(pieces) + self._text[last:]

    def _changes(self, item: Node, was: Zone, zone: Zone) -> list[tuple[int, int, str]]:
        """What to cut out of a zone's lines, and what to put there."""
        if was == zone:
            return []
        if not isinstance(item, Map) or item.flow:
            return [(item.start.index, self._end(item), _flow(zone))]
        changes, added = [], ""
        for name in Zone.model_fields:
            if getattr(was, name) == getattr(zone, name):
                continue
            wanted = _flow(getattr(zone, name))
            if name not in item.pairs:
                added += f"\n{' ' * item.start.column}{name}: {wanted}"
                continue
            key, value = item.pairs[name]
            changes.append((key.end.index, self._end(value), f": {wanted}{self._remark(key, value)}"))
        if added:
            at = self._line_end(self._end(item))
            changes.append((at, at, added))
        return changes

    def _remark(self, key: Scalar, value: Node) -> str:
        """The comment behind a key whose value begins in a later line."""
        line_end = self._line_end(key.end.index)
        if value.start.index <= line_end:
            return ""
        _, sign, comment = self._text[key.end.index : line_end].partition("#")
        return f" #{comment.rstrip()}" if sign else ""

    def _block(self, indent: int, zones: Sequence[Zone]) -> str:
        lines = []
        for zone in zones:
            fields = _fields(zone)
            lines += [f"{'  ' if n else '- '}{name}: {_flow(value)}" for n, (name, value) in enumerate(fields.items())]
        return "".join(f"{' ' * indent}{line}\n" for line in lines)

    def _is_regular(self, zones: Seq, item: Node) -> bool:
        """Whether an entry begins in the line of its own dash."""
        before = self._text[self._text.rfind("\n", 0, item.start.index) + 1 : item.start.index]
        return before.rstrip(" ") == " " * zones.start.column + "-"

    def _item_end(self, item: Node, indent: int) -> int:
        """Start of the line behind an entry and the comments that stand deeper than its dash."""
        at = min(self._line_end(self._end(item)) + 1, len(self._text))
        while (line := self._text[at : self._line_end(at)]).lstrip(" ").startswith("#") and (
            len(line) - len(line.lstrip(" ")) > indent
        ):
            at = min(self._line_end(at) + 1, len(self._text))
        return at

    def _end(self, node: Node) -> int:
        """Where a value ends; the parser lets a text block end with the blank lines behind it."""
        return max(node.start.index, len(self._text[: node.end.index].rstrip()))

    def _line_end(self, index: int) -> int:
        end = self._text.find("\n", index)
        return len(self._text) if end < 0 else end

    def _inserted(self, index: int, lines: str) -> str:
        at = self._line_end(index)
        if at == len(self._text):
            return self._text + "\n" + lines
        return self._text[: at + 1] + lines + self._text[at + 1 :]

    def _cut(self, changes: Sequence[tuple[int, int, str]], start: int = 0, end: int | None = None) -> str:
        """The text between `start` and `end` with some pieces replaced."""
        text, at = "", start
        for begin, until, new in sorted(changes):
            text += self._text[at:begin] + new
            at = until
        return text + self._text[at:end]


def _fields(zone: Zone) -> dict[str, Any]:
    return {name: getattr(zone, name) for name in Zone.model_fields if name in _ALWAYS or getattr(zone, name)}


def _flow(value: object) -> str:
    """A value in one line."""
    if isinstance(value, Zone):
        return _flow(_fields(value))
    if isinstance(value, TimeSpan):
        return _flow(value.model_dump(mode="json"))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(v) for v in value) + "]"
    if isinstance(value, str) and _WORD.fullmatch(value) and value_of(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)
