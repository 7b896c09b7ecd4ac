"""repofs user: who may put files into the repository."""

from __future__ import annotations

from typing import Annotated

import typer

from repofs.cli.administration import ask
from repofs.cli.output import AsJson, print_columns, print_json

app = typer.Typer(help="Add, list and remove experimenters.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the Unix account.")]


@app.command()
def add(
    context: typer.Context,
    name: Name,
    uid: Annotated[int | None, typer.Option(min=0, help="The uid; else that of the account NAME.")] = None,
    group: Annotated[
        str | None, typer.Option(help="The group that new imports belong to; needed when there are several.")
    ] = None,
) -> None:
    """Make a Unix account an experimenter with a directory of her own."""
    from repofs.administration.requests import AddUser

    done = ask(context, AddUser(name, uid, group))
    print(f"{name} (uid {done['uid']}) is {done['object']} of {done['group']}, with the directory {done['directory']}")


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the experimenters."""
    from repofs.administration.requests import ListPeople

    people = ask(context, ListPeople())["users"]
    if as_json:
        print_json(people)
    else:
        headers = ("ID", "USER", "UID", "ACCOUNT", "GROUP", "DIRECTORY", "REMOVED")
        print_columns(headers, [tuple(person.values()) for person in people])


@app.command()
def remove(context: typer.Context, name: Name) -> None:
    """Remove an experimenter; what she has imported stays."""
    from repofs.administration.requests import RemoveUser

    ask(context, RemoveUser(name))
    print(f"{name} is no experimenter any more; all data stay where they are")
