"""What is in Grafana against what was made: a digest that survives what Grafana adds, and differences for people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

_OF_GRAFANA: Final = frozenset({"id", "version", "iteration"})
"""Of a board: Grafana counts these itself."""
_DEFAULTS: Final = {"editable": True, "graphTooltip": 0, "fiscalYearStartMonth": 0}
"""Of a board: what Grafana adds where nothing is said."""
_NAMES: Final = ("uid", "name", "refId", "id")
"""By which of its keys an item of a list is found again, wherever it stands."""
_LONG: Final = 160
_AROUND: Final = 40
NOTHING: Final = object()
"""In place of a value that is not there."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: JSON values or NOTHING. where: from outside in; a list's item by its title or name."""

    where: tuple[str, ...]
    there: Any
    ours: Any


def essence(board: dict[str, Any]) -> dict[str, Any]:
    """What somebody has said of a board, without what Grafana counts, adds or leaves out."""
    said = {key: filled(value) for key, value in board.items() if key not in _OF_GRAFANA}
    # A default that is true is not the same as nothing said.
    return {k: v for k, v in said.items() if (v != _DEFAULTS[k] if k in _DEFAULTS else not _empty(v))}


def filled(value: Any) -> Any:
    """Without keys whose value says nothing (null, false, empty), and versions of plug-ins."""
    if isinstance(value, dict):
        kept = {key: filled(inner) for key, inner in value.items() if key != "pluginVersion"}
        return {key: inner for key, inner in kept.items() if not _empty(inner)}
    return [filled(inner) for inner in value] if isinstance(value, list) else value


def digest(value: Any) -> str:
    """64 bits as hex digits; the order of keys is no matter, and 1.0 is 1."""
    text = json.dumps(_numbers(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(there: Any, ours: Any, where: tuple[str, ...] = ()) -> Iterator[Change]:
    """Every place in which they differ; both `filled`."""
    if isinstance(there, dict) and isinstance(ours, dict):
        for key in (*ours, *(key for key in there if key not in ours)):
            yield from differences(there.get(key, NOTHING), ours.get(key, NOTHING), (*where, key))
    elif isinstance(there, list) and isinstance(ours, list) and (name := _named(there, ours)):
        old, new = ({item[name]: item for item in items} for items in (there, ours))
        for key in (*new, *(key for key in old if key not in new)):
            one, other = old.get(key, NOTHING), new.get(key, NOTHING)
            yield from differences(one, other, (*where, _title(one if other is NOTHING else other, key)))
        before, after = [key for key in old if key in new], [key for key in new if key in old]
        if before != after:
            yield Change(
                (*where, "order"), [_title(old[key], key) for key in before], [_title(new[key], key) for key in after]
            )
    elif isinstance(there, list) and isinstance(ours, list) and len(there) == len(ours):
        for number, (one, other) in enumerate(zip(there, ours, strict=True), 1):
            yield from differences(one, other, (*where, str(number)))
    elif there != ours:
        yield Change(where, there, ours)


def holds(there: Any, ours: Any) -> bool:
    """Whether all that is said in `ours` is so in `there`, which may say more."""
    if isinstance(ours, dict):
        return isinstance(there, dict) and all(holds(there.get(key), value) for key, value in ours.items())
    if isinstance(ours, list):
        same = isinstance(there, list) and len(there) == len(ours)
        return same and all(map(holds, there, ours))
    return bool(there == ours) or (_empty(there) and _empty(ours))


def common(there: Any, ours: Any) -> Any:
    """Of `there` what `ours` speaks of, to show how they differ."""
    if isinstance(there, dict) and isinstance(ours, dict):
        return {key: common(there[key], value) for key, value in ours.items() if key in there}
    if isinstance(there, list) and isinstance(ours, list) and len(there) == len(ours):
        return list(map(common, there, ours))
    return there


def ordered(there: Any, ours: Any) -> Any:
    """`there` with its keys in the order of `ours`, so that the two as text differ where they differ."""
    if isinstance(there, dict):
        like = ours if isinstance(ours, dict) else {}
        keys = (*(key for key in like if key in there), *(key for key in there if key not in like))
        return {key: ordered(there[key], like.get(key)) for key in keys}
    if isinstance(there, list):
        beside = ours if isinstance(ours, list) else []
        return [ordered(item, beside[i] if i < len(beside) else None) for i, item in enumerate(there)]
    return there


def shown(change: Change) -> tuple[str, ...]:
    """Lines for people: `-` what is there, `+` what would be."""
    there, ours = (_text(value) for value in (change.there, change.ours))
    if len(there) > _LONG or len(ours) > _LONG:
        there, ours = _apart(there, ours)
    return tuple(
        f"{sign} {text}"
        for sign, text, value in (("-", there, change.there), ("+", ours, change.ours))
        if value is not NOTHING
    )


def _empty(value: Any) -> bool:
    return value is None or value is False or value in ("", [], {})


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_numbers(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _named(*lists: Sequence[Any]) -> str | None:
    """The key that tells the items of these lists apart."""
    for name in _NAMES:
        if all(
            all(isinstance(item, dict) and isinstance(item.get(name), str | int) for item in items)
            and len({item[name] for item in items}) == len(items)
            for items in lists
        ):
            return name
    return None


def _title(item: Any, key: object) -> str:
    title = item.get("title") if isinstance(item, dict) else None
    return f"“{title}”" if title else str(key)


def _text(value: Any) -> str:
    if isinstance(value, dict) and "title" in value:  # a panel: all of it would fill the screen
        value = {key: value[key] for key in ("title", "type") if key in value}
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) if value is not NOTHING else ""


def _apart(there: str, ours: str) -> tuple[str, str]:
    """Long texts from shortly before to shortly behind where they differ."""
    if not there or not ours:
        return there[:_LONG] + "…" * (len(there) > _LONG), ours[:_LONG] + "…" * (len(ours) > _LONG)
    shorter = min(len(there), len(ours))
    first = next((i for i in range(shorter) if there[i] != ours[i]), shorter)
    last = next((i for i in range(shorter - first) if there[-1 - i] != ours[-1 - i]), shorter - first)
    begin = max(0, first - _AROUND)

    def cut(text: str) -> str:
        end = min(len(text), max(first, len(text) - last) + _AROUND, begin + 2 * _LONG)
        return "…" * (begin > 0) + text[begin:end] + "…" * (end < len(text))

    return cut(there), cut(ours)
