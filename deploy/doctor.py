"""`banksman doctor` on a terminal: findings as they come, wrapped to its width, and what is being examined now."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from pathlib import Path

from rich.console import Console
from rich.text import Text

from edge.doctor import Grade, Result, examine, summary, tell, title
from edge.text import catalogue

_STYLE = {Grade.OK: "green", Grade.WARN: "yellow", Grade.BAD: "bold red", Grade.SKIP: "dim"}


def run_doctor(path: Path | None, language: str) -> bool:
    """Whether the node can work: nothing is bad."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Chinese or arrows shows ? instead
    console, text, results = Console(highlight=False), catalogue(language), []
    with console.status("") as status:

        def begins(organ: str, about: str) -> None:
            status.update(Text(text("doctor.now", what=title(organ, about, language))))

        for result in examine(path, language, begins):
            results.append(result)
            _print(console, result, language)
    console.print()
    console.print(summary(results, language), markup=False, soft_wrap=not console.is_terminal)
    return not any(r.bad for r in results)


def _print(console: Console, result: Result, language: str) -> None:
    told = tell(result, language)
    mark = Text(f"{told.mark} ", _STYLE[result.grade])
    _print_hanging(console, mark, told.finding)
    if told.advice:
        _print_hanging(console, Text("  → "), told.advice)


def _print_hanging(console: Console, mark: Text, words: str) -> None:
    """Words beside a mark, every further line under the first. Into a pipe or file: lines as they are."""
    lines = [Text(line) for line in words.splitlines()]
    if console.is_terminal:
        lines = [part for line in lines for part in line.wrap(console, max(20, console.width - mark.cell_len))]
    for number, line in enumerate(lines):
        line.rstrip()
        beside = mark if number == 0 else Text(" " * mark.cell_len)
        console.print(beside + line, soft_wrap=True)
