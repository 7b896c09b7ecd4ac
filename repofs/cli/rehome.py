"""repofs rehome: the sources of originals in place have moved."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from repofs.cli import location
from repofs.cli.findings import Report, recording
from repofs.cli.output import AsJson


def rehome(
    context: typer.Context,
    old: Annotated[str, typer.Argument(metavar="OLD_PREFIX", help="Where they were: /data/old, or NAME:path.")],
    new: Annotated[str, typer.Argument(metavar="NEW_PREFIX", help="Where they are now, in a declared source.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and compare, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Point originals in place to where their sources are now."""
    from repofs.cli.repository import catalogue
    from repofs.config import load
    from repofs.inspection.rehome import Rehoming
    from repofs.repository.layout import Layout

    layout = Layout.open(location.repository(context))
    report = Report(as_json=as_json, well="would be rehomed" if dry_run else "rehomed")
    with catalogue(layout) as engine, catalogue(layout, read_only=True) as reading:
        rehoming = Rehoming(layout, load(layout.root), reading, recording(layout, engine))
        for finding in rehoming.rehome(os.fsencode(old), os.fsencode(new), dry_run=dry_run):
            report.add(finding)
    report.end()
