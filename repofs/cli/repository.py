"""An opened repository, for the commands that work on the catalogue itself: without the daemon, or beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from repofs.cli import location
from repofs.errors import AccessDenied

if TYPE_CHECKING:
    from repofs.catalog.engine import Connection, Engine
    from repofs.repository.layout import Layout


@dataclass(frozen=True, slots=True)
class Opened:
    layout: Layout
    connection: Connection  # one transaction: all of a command, or nothing of it


@contextmanager
def opened(context: typer.Context, *, read_only: bool = False) -> Iterator[Opened]:
    """Open the repository that the command is about, in one transaction.

    Raises NotARepository; AccessDenied for anybody but its owner and root: the catalogue names everybody's files.
    """
    from repofs.repository.layout import Layout

    layout = Layout.open(location.repository(context))
    with catalogue(layout, read_only=read_only) as engine, engine.begin() as connection:
        yield Opened(layout, connection)


def require_owner(layout: Layout) -> None:
    """Raise AccessDenied for anybody but root and the owner of the repository."""
    if not os.access(layout.root, os.R_OK | os.W_OK):
        raise AccessDenied(f"{layout.root} is open to root and the owner of the repository only: use sudo")


@contextmanager
def catalogue(layout: Layout, *, read_only: bool = False) -> Iterator[Engine]:
    """Open the catalogue. Raises AccessDenied as `opened` does, NotARepository when it is missing or damaged."""
    from repofs.administration.keeping import keep_counters
    from repofs.catalog.engine import open_engine

    require_owner(layout)
    engine = open_engine(layout.catalogue, read_only=read_only)
    try:
        if not read_only:
            keep_counters(layout, engine)
        yield engine
    finally:
        engine.dispose()
