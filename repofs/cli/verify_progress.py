"""How far a verification has come, drawn on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Drawing:
    read: Callable[[int], None]  # told of bytes, from any thread
    done: Callable[[], None]  # told of each file


@contextmanager
def silent() -> Iterator[Drawing]:
    """Show nothing."""
    yield Drawing(lambda count: None, lambda: None)


@contextmanager
def bar(files: int, size: int) -> Iterator[Drawing]:
    """Draw on stderr how many of *files* and of their *size* in bytes are done, how fast, and how long it will take."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.fields[files]:,} of {task.fields[all]:,} files"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty()) as progress:
        task = progress.add_task("verify", total=size or 1, files=0, all=files)
        count = 0

        def done() -> None:
            nonlocal count
            count += 1
            progress.update(task, files=count)

        yield Drawing(lambda read: progress.advance(task, read), done)
        progress.refresh()
