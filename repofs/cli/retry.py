"""repofs retry: import again what has failed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from repofs.cli import attributes, location
from repofs.cli.output import AsJson, cell, print_json


def retry(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", readable=False, help="Files and directories in the mount.")
    ],
    as_json: AsJson = False,
) -> None:
    """Import failed files again; of a directory, all below it."""
    done = [_retry(path) for path in paths]
    if as_json:
        print_json(done)
        return
    for one in done:
        error = f": {one['error']}" if one["error"] else ""
        print(f"{cell(one['path'])}: {one['state']}{cell(error)}")


def _retry(path: Path) -> dict[str, str | None]:
    location.mount_of(path)
    attributes.command(path, "import", "retry")
    return {
        "path": os.fspath(path.absolute()),
        "state": attributes.read(path, "state"),
        "error": attributes.read(path, "error"),
    }
