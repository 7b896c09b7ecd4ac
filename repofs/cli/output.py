"""How facts are printed: columns for people, JSON for programs. Names are bytes and may hold anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from repofs.model import printable

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: object) -> None:
    """Print *value* as one line of ASCII; a byte of a name that is not UTF-8 stands as \\udcXX (surrogateescape)."""
    print(json.dumps(value))


def print_columns(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print *rows* in aligned columns, never cut, so that grep and a copy with the mouse get whole paths."""
    table = [list(headers), *([cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(headers))]
    for row in table:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def print_facts(facts: dict[str, object], indent: int = 0) -> None:
    """Print *facts*, as JSON has them, as "name: value" lines; what lies inside a value is indented below its name."""
    for name, value in facts.items():
        if value is None or value in ({}, []):
            continue
        if isinstance(value, dict):
            print(f"{' ' * indent}{cell(name)}:")
            print_facts(value, indent + 2)
        elif isinstance(value, list) and all(isinstance(one, dict) for one in value):
            for number, one in enumerate(value, 1):
                print(f"{' ' * indent}{cell(name)} {number}:")
                print_facts(one, indent + 2)
        else:
            print(f"{' ' * indent}{cell(name)}: {cell(value)}")


def cell(value: object) -> str:
    """Return *value* as text for a terminal: what could steer one (escape, newline, stray byte) is shown escaped."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(cell(one) for one in value) or "-"
    return printable(str(value))
