"""repofs session: keys for the HTTPS API."""

from __future__ import annotations

from typing import Annotated

import typer

from repofs.cli.administration import ask_daemon
from repofs.cli.output import AsJson, print_json

app = typer.Typer(help="Begin sessions of the HTTPS API.", no_args_is_help=True)


@app.command()
def create(
    context: typer.Context,
    user: Annotated[
        str | None, typer.Option("--as", metavar="USER", help="Whose session it is to be; else yours.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Begin a session and print its key."""
    from repofs.control.protocol import CreateSession

    begun = ask_daemon(context, CreateSession(user))
    print_json(begun) if as_json else print(begun["session"])
