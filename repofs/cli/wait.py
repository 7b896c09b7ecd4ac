"""repofs wait: for scripts that go on when their files are imported."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repofs.cli.exit_codes import ExitCode, Timeout

if TYPE_CHECKING:
    from repofs.cli.progress import Progress

_SHORTEST, _LONGEST = 0.05, 2.0  # seconds between two looks
_SHARE = 10  # a look at a large directory takes a while: look for a tenth of the time at most


def wait(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", readable=False, help="Files and directories in the mount.")
    ],
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="Give up after so long, with exit code 124.")
    ] = None,
) -> None:
    """Wait until all files are imported; exit code 1 if one is not."""
    from repofs.cli import progress

    end = _wait(paths, None if timeout is None else time.monotonic() + timeout)
    if not end.all_imported:
        progress.print_problems(end)
        raise typer.Exit(ExitCode.FAILED)


def _wait(paths: list[Path], deadline: float | None) -> Progress:
    """Return how *paths* stand once nothing is under way. Raises Timeout at *deadline* (monotonic), OSError."""
    from repofs.cli import progress

    while True:
        begun = time.monotonic()
        now = progress.ask(paths)
        if not now.under_way:
            return now
        ended = time.monotonic()
        if deadline is not None and ended >= deadline:
            raise Timeout(f"still under way: {now.under_way}; repofs status tells which and why")
        pause = min(max(_SHORTEST, _SHARE * (ended - begun)), _LONGEST)
        time.sleep(pause if deadline is None else min(pause, max(0.0, deadline - ended)))
