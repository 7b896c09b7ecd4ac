"""repofs init: make a repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", readable=False, help="A new or empty directory.")],
) -> None:
    """Make a repository."""
    from importlib.resources import files

    from repofs.catalog import engine
    from repofs.repository.layout import Layout

    layout = Layout.create(directory.absolute(), files("repofs.cli").joinpath("settings.toml").read_text("utf-8"))
    engine.create(layout.catalogue)
    print(f"{layout.root} is a repository; its settings: {layout.settings}")
    print(f"Next: repofs -C {layout.root} user add NAME, then repofs mount {layout.root} MOUNTPOINT")
