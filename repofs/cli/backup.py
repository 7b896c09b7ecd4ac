"""repofs backup: a copy of the catalogue."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from repofs.cli import location
from repofs.cli.output import AsJson, cell, print_json
from repofs.quotas import human_bytes


def backup(
    context: typer.Context,
    where: Annotated[
        Path, typer.Argument(metavar="FILE|DIR", help="A new file, or a directory in which it is named by the time.")
    ],
    as_json: AsJson = False,
) -> None:
    """Copy the catalogue, also while it is in use."""
    from repofs.catalog.engine import back_up
    from repofs.cli.repository import require_owner
    from repofs.repository.layout import Layout

    layout = Layout.open(location.repository(context))
    require_owner(layout)
    copy = where / f"catalogue.{datetime.now():%Y-%m-%dT%H-%M-%S}.sqlite" if where.is_dir() else where
    with _progress() as tell:
        back_up(layout.catalogue, copy, tell)
    size = copy.stat().st_size
    if as_json:
        print_json({"copy": str(copy.absolute()), "bytes": size})
    else:
        print(f"{cell(copy)}: {human_bytes(size)}, checked")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how far it is; yields who is to be told."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from repofs.cli.counting_bar import bar

    with bar("catalogue", "pages") as tell:
        yield tell
