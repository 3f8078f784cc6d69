"""What an examination finds, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from edge.text import Catalogue, catalogue


class Grade(StrEnum):
    OK = "ok"
    WARN = "warn"  # works, but somebody should look
    BAD = "bad"
    SKIP = "skip"  # nothing to examine, or no way to


@dataclass(frozen=True, slots=True)
class Result:
    """One finding.

    organ: what was examined: site_file, camera, detector, broker, evidence, clock, disk, memory, heat.
    code: what was found; texts under `doctor.<organ>.<code>`, advice, where there is any, under `doctor_do.…`.
        The causes of a camera have their texts in `cause.*` and `cause_do.*`.
    about: which one, e.g. the camera's id. fields: for the texts.
    """

    organ: str
    grade: Grade
    code: str
    about: str = ""
    fields: Mapping[str, object] = field(default_factory=dict)

    @property
    def bad(self) -> bool:
        return self.grade is Grade.BAD


_MARK = {Grade.OK: "+", Grade.WARN: "!", Grade.BAD: "x", Grade.SKIP: "-"}


def report(results: Iterable[Result], language: str) -> str:
    """The findings as lines for a terminal: mark, organ, what was found; below it what to do."""
    text = catalogue(language)
    lines = []
    for result in results:
        organ = text(f"doctor.organ.{result.organ}")
        which = f" {result.about}" if result.about else ""
        lines.append(f"{_MARK[result.grade]} {organ}{which}: {_found(text, result)}")
        advice = _advice(text, result)
        if advice:
            lines.append(f"    → {advice}")
    return "\n".join(lines)


def _found(text: Catalogue, result: Result) -> str:
    # A camera's causes and states have their texts already.
    keys = (f"doctor.{result.organ}.{result.code}", f"cause.{result.code}", f"camera_state.{result.code}")
    found = text(next(key for key in keys if key in text), **result.fields)
    detail = result.fields.get("detail")
    return f"{found} ({detail})" if detail else found


def _advice(text: Catalogue, result: Result) -> str:
    if result.grade in (Grade.OK, Grade.SKIP):
        return ""
    keys = (f"doctor_do.{result.organ}.{result.code}", f"cause_do.{result.code}", f"page.state_do.{result.code}")
    return next((text(key, **result.fields) for key in keys if key in text), "")
