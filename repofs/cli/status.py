"""repofs status: what has become of dropped files."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repofs import mounts
from repofs.cli import location
from repofs.cli.output import AsJson, print_json
from repofs.errors import InvalidValue

if TYPE_CHECKING:
    from rich.console import Group

    from repofs.cli.progress import Progress

_WATCH_SECONDS = 0.5  # between two looks


def status(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", readable=False, help="In the mount; else where you are, or all of it."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how many files are imported, waiting or failed, and why."""
    from repofs.cli import progress

    chosen = paths or [_here(context)]
    if watch and (as_json or not _on_terminal()):
        raise InvalidValue(
            "--watch draws on a terminal: scripts use repofs wait, or repofs status --json again and again"
        )
    if as_json:
        print_json([progress.raw(path) for path in chosen])
    elif watch:
        _watch(chosen)
    else:
        progress.print_progress(progress.ask(chosen))


def _here(context: typer.Context) -> Path:
    """Return the named repository's mountpoint; without one the current directory when it lies in a mount."""
    here = Path(".")
    if context.find_root().obj is None and mounts.containing(here) is not None:
        return here
    return location.mount(context).mountpoint


def _on_terminal() -> bool:
    return sys.stdout.isatty()


def _watch(paths: list[Path]) -> None:
    from rich.live import Live

    from repofs.cli import progress

    try:
        with Live(_picture(progress.ask(paths)), auto_refresh=False) as live:
            while True:
                time.sleep(_WATCH_SECONDS)
                live.update(_picture(progress.ask(paths)), refresh=True)
    except KeyboardInterrupt:
        return


def _picture(now: Progress) -> Group:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from repofs.cli import progress
    from repofs.cli.output import cell
    from repofs.lifecycle import State

    table = Table("state", "files", "size", box=None)
    for row in progress.rows(now):
        table.add_row(*row)
    bar = ProgressBar(total=sum(now.counts.values()) or 1, completed=now.counts.get(State.IMPORTED, 0), width=40)
    read_only = [] if now.read_only is None else [Text(f"read-only: {now.read_only}", style="bold red")]
    hanging = [Text(f"hanging: {sentence}", style="bold red") for sentence in now.hanging]
    problems = [Text(f"{one.state}: {cell(one.path)}: {cell(one.error)}", style="red") for one in now.problems[-5:]]
    line = Table.grid()  # a bar by itself ends without a newline
    line.add_row(bar)
    return Group(table, line, *read_only, *hanging, *problems)
