"""A bar of how far something has come that is counted. Imports rich: only for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Tell(Protocol):
    def __call__(self, done: int, total: int | None, /, title: str = ...) -> None: ...


@contextmanager
def bar(title: str, unit: str) -> Iterator[Tell]:
    """Show a bar while the context lasts; what is yielded is told how many are done, of how many, and of what now."""
    text = TextColumn("{task.description}")
    columns = (text, BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeElapsedColumn())
    # What is printed meanwhile stands above the bar, unless it goes elsewhere.
    redirect = sys.stdout.isatty()
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=redirect) as progress:
        task = progress.add_task(title, total=None)

        def tell(done: int, total: int | None, /, title: str = title) -> None:
            progress.update(task, completed=done, total=total, description=title)

        yield tell
