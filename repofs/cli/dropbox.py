"""repofs dropbox: what lies in watched folders, and what became of it."""

from __future__ import annotations

import typer

from repofs.cli.administration import ask
from repofs.cli.output import AsJson, print_columns, print_json


def dropbox(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what has become of files in watched folders."""
    from repofs.administration.requests import ListDropbox

    told = ask(context, ListDropbox())
    if as_json:
        print_json(told)
        return
    columns = ("dropbox", "user", "queued", "imported", "failed", "duplicate")
    print_columns([name.upper() for name in columns], [[one[name] for name in columns] for one in told["folders"]])
    if told["files"]:
        print()
        print_columns(
            ("SINCE", "STATE", "PATH", "ERROR"),
            [(one["since"], one["state"], one["path"], one["error"]) for one in told["files"]],
        )
