"""repofs log: what happened to a file, from its first event on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from repofs.cli import attributes, location
from repofs.cli.output import AsJson, print_json
from repofs.cli.show import describe, reference_of
from repofs.errors import NotFound


def log(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="PATH|Fileset:N", help="A file in the mount, or a fileset.")],
    as_json: AsJson = False,
) -> None:
    """Print the log of an import, also of one that failed."""
    from repofs.repository.log_records import NAME

    reference = reference_of(what)
    if reference is None:
        mount, below = location.mount_of(Path(what)), attributes.read(Path(what), "log")
    else:
        mount, below = location.mount(context), describe(context, reference).get("log")
    if below is None:
        raise NotFound(f"{what} has no log yet: it is kept for files once their import has begun or was given up")
    path = mount.mountpoint / below
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    lines = [line for line in text.splitlines() if not line.startswith(f"{NAME.decode()} ")]
    if as_json:
        print_json({"log": os.fspath(path), "lines": lines})
        return
    for line in lines:
        print(line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
