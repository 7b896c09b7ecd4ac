"""repofs candidates: which filesets the files outside the mount would become, and what is in them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repofs.cli import location
from repofs.cli.output import AsJson, cell, print_json
from repofs.errors import RepofsError

if TYPE_CHECKING:
    from repofs.cli.filesets import Fileset, Looked
    from repofs.config import Settings

DEPTH = 4  # as of `repofs import`


def candidates(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", readable=False, help="Files and directories.")],
    depth: Annotated[int, typer.Option(min=1, max=1000, help="How many directories deep to look.")] = DEPTH,
    as_json: AsJson = False,
) -> None:
    """Show which filesets files would become, and their images."""
    from repofs.cli import filesets
    from repofs.formats.candidates import Candidate, Rules, find

    settings = _settings(context)
    rules = Rules(settings.drops)
    found = [one for path in paths for one in find(os.path.realpath(os.fsencode(path)), rules, depth)]
    files = [one for one in found if isinstance(one, Candidate)]
    with progress(len(files)) as looked:
        made = filesets.group(files, settings.readers, looked)
    if as_json:
        print_json([_facts(fileset) for fileset in made])
    else:
        for fileset in made:
            _print(fileset)
    unreadable = [one for one in found if not isinstance(one, Candidate) and one.failed]
    for left_out in unreadable:
        print(f"repofs: {cell(os.fsdecode(left_out.path))}: {left_out.why}", file=sys.stderr)
    if unreadable:
        raise typer.Exit(1)


def _settings(context: typer.Context) -> Settings:
    """Return those of the repository that is meant; without one, what holds by default."""
    from repofs.config import Settings, load

    try:
        return load(location.repository(context))
    except RepofsError:
        if context.obj is not None:  # named, and wrong
            raise
        return Settings()


@contextmanager
def progress(total: int) -> Iterator[Looked]:
    """Draw on a terminal how many of the files were looked at."""
    if not sys.stderr.isatty():
        yield lambda candidate: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("looking", total=total)
        yield lambda candidate: bar.advance(task)


def _facts(fileset: Fileset) -> dict[str, object]:
    """Return what programs are told."""
    found = fileset.recognised
    return {
        "main": os.fsdecode(fileset.candidates[0].path),
        "files": [os.fsdecode(path) for path in fileset.files],
        "missing": list(fileset.missing),
        "format": found.format,
        "images": [asdict(image) for image in found.images],
        "note": found.note,
    }


def _print(fileset: Fileset) -> None:
    found = fileset.recognised
    print(f"{cell(os.fsdecode(fileset.candidates[0].path))}: {found.format or 'not read'}")
    paths = list(fileset.files)
    if len(paths) > 1:
        print(f"  {len(paths)} files")
    for path in paths if len(paths) > 1 else ():
        print(f"    {cell(os.path.relpath(os.fsdecode(path), os.fsdecode(fileset.directory)))}")
    for image in found.images:
        sizes = f"{image.size_x} x {image.size_y}, Z {image.size_z}, C {image.size_c}, T {image.size_t}"
        print(f"  image {image.series}: {cell(image.name)}: {sizes}, {image.pixel_type}")
    if fileset.missing:
        print(f"  missing: {', '.join(map(cell, fileset.missing))}")
    if found.note:
        print(f"  {cell(found.note)}")
