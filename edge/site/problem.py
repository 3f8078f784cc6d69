"""What is wrong with a site file, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.text import catalogue


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong, in the language that was asked for; values of the file are never quoted.

    line, column: both from 1; 0 where the file as such is meant.
    where: the path of keys, as `cameras[0].source.url`; empty for the whole file.
    message: what would be right. hint: what to do, or an example; may be empty.
    """

    file: str
    line: int
    column: int
    where: str
    message: str
    hint: str = ""

    def text(self, language: str = "en") -> str:
        """`file:line:column: where: message (hint)`; `language` is that of the frame around it."""
        say = catalogue(language)
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return say(
            "site.line_hint" if self.hint else "site.line",
            place=place,
            where=self.where or say("site.whole"),
            message=self.message,
            hint=self.hint,
        )


class SiteFileError(Exception):
    """A site file that may not be used; `problems` says everything, `str` the first and how many more."""

    def __init__(self, problems: Sequence[Problem], language: str = "en") -> None:
        if not problems:
            raise ValueError("a SiteFileError needs at least one problem")
        self.problems = tuple(problems)
        first = self.problems[0].text(language)
        if len(self.problems) > 1:
            first = catalogue(language)("site.more", first=first, n=len(self.problems) - 1)
        super().__init__(first)


def report(file: str, problems: Sequence[Problem], language: str) -> list[str]:
    """The lines that `banksman check` prints: one a problem, then how it stands."""
    say = catalogue(language)
    verdict = "good" if not problems else "bad_one" if len(problems) == 1 else "bad_many"
    return [*(p.text(language) for p in problems), say(f"site.{verdict}", file=file, n=len(problems))]
