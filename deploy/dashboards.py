"""`banksman dashboards …`: what safety officers look at and print."""

from __future__ import annotations

import typer

from deploy.report import report

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)
app.command()(report)


@app.callback()
def _group() -> None:
    """Keeps `report` a command of its own while it is the only one."""
