"""repofs user: who may put files into the repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from repofs.cli import accounts
from repofs.cli.output import AsJson, print_columns, print_json
from repofs.errors import InvalidValue
from repofs.model import ObjectRef, PermissionLevel

if TYPE_CHECKING:
    from repofs.catalog.engine import Connection
    from repofs.catalog.users import Group

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
    from repofs.catalog import users
    from repofs.cli import user_directories
    from repofs.cli.repository import opened
    from repofs.config import load

    number = accounts.uid_of(name) if uid is None else uid
    with opened(context) as repository:
        home = _group(repository.connection, group)
        person = users.add_experimenter(repository.connection, name, number, home.id)
        directory = user_directories.make(repository.layout, load(repository.layout.root), person, home)
        repository.audit("user.add", ObjectRef("Experimenter", person.id), uid=number, group=home.name)
    print(f"{name} (uid {number}) is Experimenter:{person.id} of {home.name}, with the directory {directory}")


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the experimenters."""
    from repofs.catalog import users
    from repofs.cli import user_directories
    from repofs.cli.repository import opened
    from repofs.config import load

    with opened(context, read_only=True) as repository:
        groups = {group.id: group for group in users.groups(repository.connection)}
        settings = load(repository.layout.root)
        people = [
            {
                "id": person.id,
                "user": person.user_name,
                "uid": person.uid,
                "group": groups[person.group_id].name,
                "directory": user_directories.name_of(settings, person, groups[person.group_id]),
                "removed": person.removed,
            }
            for person in users.experimenters(repository.connection, removed=True)
        ]
    if as_json:
        print_json(people)
    else:
        print_columns(
            ("ID", "USER", "UID", "GROUP", "DIRECTORY", "REMOVED"), [tuple(person.values()) for person in people]
        )


@app.command()
def remove(context: typer.Context, name: Name) -> None:
    """Remove an experimenter; what she has imported stays."""
    from repofs.catalog import users
    from repofs.cli.repository import opened

    with opened(context) as repository:
        person = users.experimenter_by_name(repository.connection, name)
        users.remove_experimenter(repository.connection, person.id)
        repository.audit("user.remove", ObjectRef("Experimenter", person.id))
    print(f"{name} is no experimenter any more; all data stay where they are")


def _group(connection: Connection, name: str | None) -> Group:
    """Return the group *name*; without a name the only group, made private and called "default" when there is none."""
    from repofs.catalog import users

    if name is not None:
        return users.group_by_name(connection, name)
    match users.groups(connection):
        case []:
            return users.add_group(connection, accounts.DEFAULT_GROUP, accounts.default_gid(), PermissionLevel.PRIVATE)
        case [only]:
            return only
        case several:
            raise InvalidValue(f"there are several groups: say --group {' or '.join(group.name for group in several)}")
