"""repofs formats: which image formats can be read here."""

from __future__ import annotations

from dataclasses import asdict

from repofs.cli.output import AsJson, print_columns, print_json


def formats(as_json: AsJson = False) -> None:
    """List the image formats that can be read, and by which library."""
    from repofs.formats import known  # loads every reader

    found = known.formats()
    if as_json:
        print_json([asdict(one) for one in found])
        return
    rows = (
        (
            one.format,
            one.suffixes,
            one.library,
            one.version if one.installed else f"pip install '{one.extra}'",
            one.reader,
        )
        for one in found
    )
    print_columns(("FORMAT", "SUFFIXES", "LIBRARY", "VERSION", "READER OF"), rows)
