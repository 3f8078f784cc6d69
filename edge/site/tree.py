"""A site file's text as a tree in which every key and value knows its line and column.

Built from the parser's events without recursion, bounded in size and depth, and without the parts of YAML that a site
file has no use for (anchors, aliases, tags, directives, further documents): what is refused cannot blow up. Plain
values are read by the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema), so `07:00` and `on` are
text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.events import (
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)

from edge.text import Catalogue

MAX_BYTES = 256 * 1024
"""Sixteen cameras with 32 zones of a dozen corners each make half of it; the worst that fits takes some six
seconds to parse."""
MAX_DEPTH = 24
"""A corner of a zone is at depth eight."""

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_EXACT_DIGITS = 40  # a longer whole number is only ever out of range; infinity says so at no cost
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the text; all count from 0."""

    index: int
    line: int
    column: int


@dataclass(slots=True)
class Scalar:
    """A single value. refused: it holds something that was told already, so nothing more is said about it."""

    start: Mark
    end: Mark
    value: str | int | float | bool | None
    text: str
    plain: bool = True
    refused: bool = False


@dataclass(slots=True)
class Seq:
    """A list. `end` is the end of its last entry, or of its closing bracket."""

    start: Mark
    end: Mark
    flow: bool
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Map:
    """A section: key text to the key as it stands and its value."""

    start: Mark
    end: Mark
    flow: bool
    pairs: dict[str, tuple[Scalar, Node]] = field(default_factory=dict)


Node: TypeAlias = Scalar | Seq | Map


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something wrong with the text as YAML: key of the catalogues below `site.`, its fields, and the advice's key."""

    mark: Mark
    key: str
    advice: str | None = None
    fields: dict[str, object] = field(default_factory=dict)

    def message(self, say: Catalogue) -> str:
        return say(f"site.{self.key}", **self.fields)

    def hint(self, say: Catalogue) -> str:
        return say(f"site.{self.advice}") if self.advice else ""


class _StopError(Exception):
    """The text cannot be followed further."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.key)
        self.flaw = flaw


def plain(node: Node) -> Any:
    """The tree as dicts, lists and values; depth is bounded by `MAX_DEPTH`."""
    if isinstance(node, Map):
        return {key: plain(value) for key, (_, value) in node.pairs.items()}
    if isinstance(node, Seq):
        return [plain(item) for item in node.items]
    return node.value


def read(text: str) -> tuple[Node | None, list[Flaw]]:
    """The tree of a text, and what is wrong with it. No tree: the text cannot be followed to its end, or is empty."""
    if bad := _CONTROL.search(text):
        return None, [Flaw(mark_at(text, bad.start()), "file.control", "file_do.control")]
    builder = _Builder()
    try:
        for event in _events(text):
            builder.take(event)
    except _StopError as stop:
        return None, [*builder.flaws, stop.flaw]
    root = builder.root
    if not builder.flaws and (root is None or (isinstance(root, Scalar) and root.value is None)):
        return None, [Flaw(Mark(0, 0, 0), "file.empty")]
    if isinstance(root, Scalar) and root.plain:
        return None, [*builder.flaws, _no_colon(root.start, text.split("\n"))]
    return root, builder.flaws


def mark_at(text: str, index: int) -> Mark:
    before = text[:index]
    return Mark(index, before.count("\n"), index - before.rfind("\n") - 1)


def _events(text: str) -> Iterator[Event]:
    """The parser's events. Raises _StopError."""
    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        raise _StopError(_flaw(error, text)) from None  # the parser's own error quotes the line
    except (YAMLError, ValueError, OverflowError):  # an impossible \U escape, a version that is no number
        raise _StopError(Flaw(Mark(0, 0, 0), "yaml.syntax", "yaml_do.syntax")) from None


_SYNTAX = (  # what the parser says, our word for it, and whether it is better shown where the whole thing began
    (r"'\\t'", "tab", False),
    (r"cannot start any token", "start", False),
    (r"quoted scalar.*(end of stream|document separator)", "quote", True),
    (r"expected ',' or|flow (sequence|mapping).*stream end", "bracket", True),
    (r"could not find expected ':'", "colon", True),
    (r"mapping values are not allowed", "second_colon", False),
    (r"<block end>|<document start>|mapping keys are not allowed", "indent", False),
    (r"sequence entries (are )?not allowed", "list", False),
    (r"unknown escape|escape sequence", "escape", False),
    (r"directive|tag handle", "directive", False),
)
_ADVISED = frozenset(
    (
        "start",
        "second_colon",
        "indent",
        "escape",
        "colon",
        "full_width",
        "anchor",
        "tag",
        "duplicate",
        "list",
        "after",
        "syntax",
    )
)


def _flaw(error: MarkedYAMLError, text: str) -> Flaw:
    """The parser's error in our words."""
    said = f"{error.context or ''} {error.problem or ''}"
    found = ((key, begun) for pattern, key, begun in _SYNTAX if re.search(pattern, said))
    key, begun = next(found, ("syntax", False))
    marks = (error.context_mark, error.problem_mark) if begun else (error.problem_mark, error.context_mark)
    mark = _mark(marks[0] or marks[1])
    lines = text.split("\n")
    before = lines[mark.line][: mark.column] if mark.line < len(lines) else ""
    if key == "second_colon" and ": " not in before and mark.line:
        # A line without colon runs on into the next one, and only there the parser stumbles.
        return _no_colon(Mark(mark.index, mark.line - 1, 0), lines)
    if key == "colon":
        return _no_colon(mark, lines)
    if key == "indent" and before.strip(" -"):
        key = "after"
    return Flaw(mark, f"yaml.{key}", f"yaml_do.{key}" if key in _ADVISED else None)


def _no_colon(mark: Mark, lines: list[str]) -> Flaw:
    full_width = "：" in "".join(lines[mark.line : mark.line + 1])
    return Flaw(mark, "yaml.colon", "yaml_do.full_width" if full_width else "yaml_do.colon")


def _mark(mark: StringMark | None) -> Mark:
    return Mark(mark.index, mark.line, mark.column) if mark else Mark(0, 0, 0)


class _Builder:
    """Puts events together to a tree."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.flaws: list[Flaw] = []
        self._open: list[Map | Seq] = []
        self._keys: list[Scalar | None] = []  # of each open section, the key that waits for its value
        self._documents = 0

    def take(self, event: Event) -> None:
        """Raises _StopError."""
        if isinstance(event, DocumentStartEvent):
            self._begin(event)
        elif isinstance(event, CollectionStartEvent):
            self._descend(event)
        elif isinstance(event, CollectionEndEvent):
            self._ascend(event)
        elif isinstance(event, NodeEvent):
            self._add(self._scalar(event))

    def _begin(self, event: DocumentStartEvent) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _StopError(Flaw(_mark(event.start_mark), "yaml.second_document", "yaml_do.second_document"))
        if event.version or event.tags:
            raise _StopError(Flaw(Mark(0, 0, 0), "yaml.directive"))

    def _descend(self, event: CollectionStartEvent) -> None:
        start = _mark(event.start_mark)
        if len(self._open) >= MAX_DEPTH:
            raise _StopError(Flaw(start, "yaml.deep", fields={"n": MAX_DEPTH}))
        if self._open and isinstance(self._open[-1], Map) and self._keys[-1] is None:
            raise _StopError(Flaw(start, "yaml.complex_key", "yaml_do.colon"))
        self._refused(event)
        kind = Map if isinstance(event, MappingStartEvent) else Seq
        node = kind(start, _mark(event.end_mark), flow=bool(event.flow_style))
        self._add(node)
        self._open.append(node)
        self._keys.append(None)

    def _ascend(self, event: CollectionEndEvent) -> None:
        node = self._open.pop()
        self._keys.pop()
        if node.flow:
            node.end = _mark(event.end_mark)
        if self._open:
            self._open[-1].end = node.end

    def _add(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.end = node.end
        if isinstance(parent, Seq):
            parent.items.append(node)
        elif (key := self._keys[-1]) is not None:
            if isinstance(node, Scalar) and node.plain and not node.text:
                node.start = node.end = key.end  # nothing: the parser looks for it as far as the next key
                parent.end = node.end
            parent.pairs.setdefault(key.text, (key, node))
            self._keys[-1] = None
        elif isinstance(node, Scalar):
            self._keys[-1] = node
            if node.text in parent.pairs:
                first = parent.pairs[node.text][0].start.line + 1
                self.flaws.append(Flaw(node.start, "yaml.duplicate", "yaml_do.duplicate", {"first": first}))

    def _scalar(self, event: NodeEvent) -> Scalar:
        start, end = _mark(event.start_mark), _mark(event.end_mark)
        refused = self._refused(event)
        if not isinstance(event, ScalarEvent):  # an alias
            return Scalar(start, end, None, "", refused=True)
        if _CONTROL.search(event.value):  # by an escape: "\\0"
            self.flaws.append(Flaw(start, "file.control", "file_do.control"))
            refused = True
        text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", event.value)
        unquoted = event.style is None
        return Scalar(start, end, value_of(text) if unquoted else text, text, plain=unquoted, refused=refused)

    def _refused(self, event: NodeEvent) -> bool:
        """Whether a node uses what site files have no use for; says so."""
        tag = getattr(event, "ctag", None)
        uses = "anchor" if event.anchor is not None else "tag" if tag is not None else None
        if uses:
            self.flaws.append(Flaw(_mark(event.start_mark), f"yaml.{uses}", f"yaml_do.{uses}"))
        return uses is not None


def value_of(text: str) -> str | int | float | bool | None:
    """What a plain scalar means."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        if len(text) > _EXACT_DIGITS:
            return math.inf
        return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
    if _FLOAT.fullmatch(text):
        return float(text.replace(".", "", 1) if text[-1] in "fFnN" else text)  # Python has no dot in inf and nan
    return text
