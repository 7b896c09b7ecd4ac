"""repofs config: the settings in force."""

from __future__ import annotations

import typer

from repofs.cli import location
from repofs.cli.output import AsJson, print_columns, print_json


def config(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the settings and where each comes from."""
    from repofs.config import explain, load
    from repofs.repository.layout import Layout

    layout = Layout.open(location.repository(context))
    settings = explain(load(layout.root))
    if as_json:
        print_json([{"key": key, "value": value, "from": source} for key, value, source in settings])
    else:
        print_columns(("KEY", "VALUE", "FROM"), settings)
