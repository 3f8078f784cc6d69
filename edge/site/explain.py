"""Pydantic's findings about a site file as problems: where in the file, and in the words of the catalogues.

Never in Pydantic's own words, for two reasons: they are English, and some of them quote the value, which may be a
password. Keys are named only where they are known, or near to one that is; anything else may be a value that slipped
into the wrong place.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import EnumType
from functools import cache
from importlib.resources import files
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from edge.site import model
from edge.site.model import SiteFile, Strict
from edge.site.problem import Problem
from edge.site.tree import Map, Mark, Node, Scalar, Seq, plain
from edge.text import Catalogue

_PATTERNS = {model.IDENT: "ident", model.ONE_LINE: "name", model.HTTPS: "https"}
_LONGEST_NAME = 64
_CONTAINERS = frozenset(("list_type", "tuple_type", "dict_type", "model_type"))
_CHOICES = frozenset(("literal_error", "enum", "union_tag_invalid"))


@dataclass(slots=True)
class Spot:
    """Where a path of keys leads to in the file, and what belongs there.

    node: the value there, or the section that lacks it. key: the key as it stands in the file, if it has one.
    owner: the section's type. field: what the section says about the key. kind: the type that belongs here.
    """

    node: Node
    path: str
    kind: Any
    key: Scalar | None = None
    owner: type[Strict] | None = None
    field: FieldInfo | None = None
    refused: bool = False


def explain(error: ErrorDetails, root: Node, file: str, known_rules: Collection[str], say: Catalogue) -> Problem | None:
    """One finding as a problem; None where the value was refused before, for instance as an alias."""
    code, loc, context = error["type"], error["loc"], error.get("ctx", {})
    lost = loc[-1] if code in ("missing", "extra_forbidden") else None
    spot = find(root, (*(loc if lost is None else loc[:-1]), *context.get("at", ())), known_rules)
    if spot.refused:
        return None
    mark = spot.node.start
    if code == "extra_forbidden":
        mark = spot.node.pairs[str(lost)][0].start if isinstance(spot.node, Map) else mark
        message, hint = say("site.type.extra_forbidden"), _known_keys(str(lost), spot, say)
    elif code == "missing":
        mark = spot.key.start if spot.key else mark
        message, hint = _missing(lost, spot, say)
    elif choices := _choices(spot.kind) if code in _CHOICES else []:
        value = _chosen(spot)
        message, hint = say("site.type.choice", choices=", ".join(choices)), _near(value, choices, say)
        mark = value.start
    else:
        message, hint = _message(code, context, spot, say), _hint(code, spot, say)
    return problem(file, mark, spot.path, message, hint)


def problem(file: str, mark: Mark, path: str, message: str, hint: str) -> Problem:
    return Problem(file, mark.line + 1, mark.column + 1, path, message, hint)


def find(root: Node, loc: Iterable[str | int], known_rules: Collection[str]) -> Spot:
    """Follow a path through the types and the file at once, as far as the file goes."""
    spot = Spot(root, "", SiteFile, refused=isinstance(root, Scalar) and root.refused)
    for step in loc:
        kind = _bare(spot.kind)
        if members := _members(kind):
            chosen = next((m for m in members if step in _tags(m)), None)
            if chosen is not None:  # Pydantic names the member of a union in the path; the file does not
                spot.kind = chosen
                continue
            kind = spot.kind = _member_in_file(members, spot.node)
        _follow(spot, kind, step, known_rules)
    return spot


def _follow(spot: Spot, kind: Any, step: str | int, known_rules: Collection[str]) -> None:
    if isinstance(step, int):
        spot.path += f"[{step}]"
        arguments = get_args(kind)
        spot.kind = arguments[min(step, len(arguments) - 1)] if arguments else Any
        if isinstance(spot.node, Seq) and step < len(spot.node.items):
            spot.node, spot.key = spot.node.items[step], None
    else:
        is_section = isinstance(kind, type) and issubclass(kind, Strict)
        if is_section:
            spot.owner, spot.field = kind, kind.model_fields.get(step)
            spot.kind = spot.field.annotation if spot.field else Any
        else:  # the rules, by id
            spot.kind = get_args(kind)[1] if get_args(kind) else Any
        if is_section or step in known_rules:
            spot.path += f".{step}" if spot.path else step
        if isinstance(spot.node, Map) and step in spot.node.pairs:
            spot.key, spot.node = spot.node.pairs[step]
    spot.refused |= isinstance(spot.node, Scalar) and spot.node.refused


def _bare(kind: Any) -> Any:
    """A type without `Annotated` and without `| None`."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        rest = [k for k in get_args(kind) if k is not type(None)]
        if len(rest) == 1:
            return _bare(rest[0])
    return kind


def _members(kind: Any) -> tuple[type[Strict], ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else ()


def _member_in_file(members: tuple[type[Strict], ...], node: Node) -> type[Strict]:
    """Which member of a union stands in the file; the first where that is not told."""
    section = plain(node)
    named = section.get(_tag_field(members[0])) if isinstance(section, dict) else None
    return next((m for m in members if named in _tags(m)), members[0])


def _tags(member: type[Strict]) -> tuple[Any, ...]:
    """How a member of a union is named in the file, by its field `type` or `kind`."""
    return get_args(member.model_fields[_tag_field(member)].annotation)


def _tag_field(member: type[Strict]) -> str:
    return "type" if "type" in member.model_fields else "kind"


def _choices(kind: Any) -> list[str]:
    kind = _bare(kind)
    if get_origin(kind) is Literal:
        return [str(c) for c in get_args(kind)]
    if isinstance(kind, EnumType):
        return [str(c.value) for c in kind]  # type: ignore[var-annotated]
    return [str(t) for m in _members(kind) for t in _tags(m)]


def _missing(name: str | int | None, spot: Spot, say: Catalogue) -> tuple[str, str]:
    kind = _bare(spot.kind)
    if isinstance(name, int) or not (isinstance(kind, type) and issubclass(kind, Strict)):
        return say("site.type.missing_value"), ""
    return say("site.type.missing", name=name), describe(kind, str(name), say)


def _chosen(spot: Spot) -> Node:
    """The value that was to be one of a few: of a union's section, that which names the member."""
    members = _members(_bare(spot.kind))
    if members and isinstance(spot.node, Map):
        return spot.node.pairs[_tag_field(members[0])][1]
    return spot.node


def _near(value: Node, names: Iterable[str], say: Catalogue) -> str:
    near = nearest(value.text, names) if isinstance(value, Scalar) else None
    return say("site.hint.near", name=near) if near else ""


def nearest(text: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant."""
    if len(text) > _LONGEST_NAME:
        return None
    return next(iter(difflib.get_close_matches(text, list(names), n=1, cutoff=0.6)), None)


def _known_keys(key: str, spot: Spot, say: Catalogue) -> str:
    kind = _bare(spot.kind)
    names = tuple(kind.model_fields) if isinstance(kind, type) and issubclass(kind, Strict) else ()
    near = nearest(key, names)
    return say("site.hint.near", name=near) if near else say("site.hint.known", names=", ".join(names))


def _message(code: str, context: Mapping[str, Any], spot: Spot, say: Catalogue) -> str:
    kind = _bare(spot.kind)
    if code == "value_error" and "code" in context:
        return say(f"site.wrong.{context['code']}", **context["fields"])
    if code in _CONTAINERS and isinstance(spot.node, Scalar) and spot.node.value is None:
        return say("site.type.nothing")
    if code == "union_tag_not_found":
        return say("site.type.tag_missing", name=_tag_field(_members(kind)[0]), choices=", ".join(_choices(kind)))
    if code == "string_pattern_mismatch":
        return say(f"site.type.{_PATTERNS[context['pattern']]}")
    key = f"site.type.{code}"
    limits = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in context.items()}
    return say(key, n=len(get_args(kind)), **limits) if key in say else say("site.type.other")


def _hint(code: str, spot: Spot, say: Catalogue) -> str:
    if isinstance(spot.node, Scalar):
        if code in _CONTAINERS and spot.node.value is None:
            return say("site.hint.nothing")
        if code == "string_type" and spot.node.value is not None:
            return say("site.hint.quote")
    if spot.owner is None or spot.field is None or code == "union_tag_not_found":
        return ""
    return describe(spot.owner, next(n for n, f in spot.owner.model_fields.items() if f is spot.field), say)


def describe(section: type[Strict], name: str, say: Catalogue) -> str:
    """What a field is for, with its example, in the language of the catalogue."""
    field = section.model_fields[name]
    title, description = field.title or name, field.description or ""
    if say.language != "en":
        title, description = field_texts(say.language)[section.__name__][name]
    text = say("site.hint.field", title=title, description=description)
    example = field.examples[0] if field.examples else None
    if example in (None, [], {}):
        return text
    shown = example if isinstance(example, str) else json.dumps(example, ensure_ascii=False)
    return f"{text} {say('site.hint.example', example=shown)}"


@cache
def field_texts(language: str) -> dict[str, dict[str, tuple[str, str]]]:
    """Title and description of every field, by section; English is in the model itself."""
    sections = tomllib.loads((files(__package__) / f"fields.{language}.toml").read_text(encoding="utf-8"))
    return {s: {name: (t[0], t[1]) for name, t in fields.items()} for s, fields in sections.items()}
