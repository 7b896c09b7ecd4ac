"""repofs originals: the catalogue's list of all originals, for programs; needs no daemon."""

from __future__ import annotations

import typer

from repofs.cli.output import AsJson, cell, print_json


def originals(context: typer.Context, as_json: AsJson = False) -> None:
    """List all originals, also while nothing is mounted."""
    from repofs.catalog import objects
    from repofs.cli.repository import opened

    with opened(context, read_only=True) as repository:
        for one in objects.originals(repository.connection):
            if as_json:
                print_json(one)
            else:  # no columns: their widths would be known only at the end of a list that may have millions
                print("  ".join(cell(one[key]) for key in ("original", "fileset", "state", "size", "checksum", "path")))
