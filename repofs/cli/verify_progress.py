"""How far a verification has come, drawn on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repofs.inspection.recording import Finding
    from repofs.inspection.verify import Verifier

Done = Callable[["Finding"], None]
"""Told of each file that is done."""


@contextmanager
def shown(files: int, size: int, verifier: Verifier, *, drawn: bool) -> Iterator[Done]:
    """Draw files, bytes, rate and time left, of so many *files* of *size* bytes in all, or nothing."""
    if not drawn:
        yield lambda finding: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.fields[files]}"), BarColumn(), DownloadColumn(binary_units=True))
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("verify", total=size or 1, files=f"0 of {files:,} files")
        count = 0

        def done(finding: Finding) -> None:
            nonlocal count
            count += 1
            progress.update(task, completed=verifier.read, files=f"{count:,} of {files:,} files")

        yield done
