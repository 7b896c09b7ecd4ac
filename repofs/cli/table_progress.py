"""The progress bar of a table that is being made. Imports rich: only for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar while the context lasts; what is yielded is told how many rows are done, of how many."""
    text = TextColumn("{task.description}")
    columns = (text, BarColumn(), MofNCompleteColumn(), TextColumn("rows"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=None)

        def tell(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)

        yield tell
