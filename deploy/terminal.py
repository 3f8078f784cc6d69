"""What all commands need of a terminal: its language, and how they end on bad input."""

from __future__ import annotations

import os

import typer

EXIT_BAD_INPUT = 2


def failed(message: str, code: int = EXIT_BAD_INPUT) -> typer.Exit:
    """Says why; raise what it gives."""
    typer.echo(message, err=True)
    return typer.Exit(code)


def terminal_language() -> str:
    """zh-CN where the terminal speaks Chinese, en elsewhere."""
    spoken = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "zh-CN" if spoken.startswith("zh") else "en"


def language_of(asked: str) -> str:
    """What was asked for with `--lang`, or the terminal's. Ends the program where Banksman does not speak it."""
    from edge.text import LANGUAGES, catalogue  # noqa: PLC0415 - commands that speak no language need no catalogues

    language = asked or terminal_language()
    if language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise failed(catalogue(terminal_language())("demo.error.language", asked=language, known=known))
    return language
