"""repofs group: who may see and change whose data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from repofs.cli import accounts
from repofs.cli.output import AsJson, print_columns, print_json
from repofs.model import ObjectRef, PermissionLevel

if TYPE_CHECKING:
    from repofs.catalog.engine import Connection
    from repofs.catalog.users import Group

app = typer.Typer(help="Add and list groups, set what their members may do.", no_args_is_help=True)

GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="The name of the group.")]
UserName = Annotated[str, typer.Argument(metavar="USER", help="The name of the experimenter.")]


@app.command()
def add(
    context: typer.Context,
    name: GroupName,
    gid: Annotated[int | None, typer.Option(min=0, help="The gid; else that of the Unix group GROUP.")] = None,
    permissions: Annotated[
        PermissionLevel, typer.Option(help="What members may do with each other's data.")
    ] = PermissionLevel.PRIVATE,
) -> None:
    """Make a Unix group a group of the repository."""
    from repofs.catalog import users
    from repofs.cli.repository import opened

    number = accounts.gid_of(name) if gid is None else gid
    with opened(context) as repository:
        group = users.add_group(repository.connection, name, number, permissions)
        repository.audit("group.add", ObjectRef("ExperimenterGroup", group.id), gid=number, level=permissions)
    print(f"{name} (gid {number}) is ExperimenterGroup:{group.id}, {group.level}")


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the groups and their members; an owner of a group is marked with *."""
    from repofs.catalog import users
    from repofs.cli.repository import opened

    with opened(context, read_only=True) as repository:
        found = [_describe(repository.connection, group) for group in users.groups(repository.connection)]
    if as_json:
        print_json(found)
        return
    headers = ("ID", "GROUP", "GID", "PERMISSIONS", "MEMBERS")
    print_columns(headers, [(g["id"], g["group"], g["gid"], g["permissions"], _starred(g)) for g in found])


@app.command("set-permissions")
def set_permissions(
    context: typer.Context,
    name: GroupName,
    level: Annotated[PermissionLevel, typer.Argument(metavar="LEVEL", help=", ".join(PermissionLevel))],
) -> None:
    """Set what members may do with each other's data."""
    from repofs.catalog import users
    from repofs.cli import user_directories
    from repofs.cli.repository import opened
    from repofs.config import load

    with opened(context) as repository:
        group = users.group_by_name(repository.connection, name)
        group = users.set_permissions(repository.connection, group.id, level)
        settings = load(repository.layout.root)
        for person in users.experimenters(repository.connection, removed=True):
            if person.group_id == group.id:
                user_directories.make(repository.layout, settings, person, group)
        repository.audit("group.set-permissions", ObjectRef("ExperimenterGroup", group.id), level=level)
    print(f"{name} is {level}")


@app.command("add-member")
def add_member(
    context: typer.Context,
    group: GroupName,
    user: UserName,
    owner: Annotated[bool, typer.Option("--owner", help="As an owner of the group.")] = False,
) -> None:
    """Put an experimenter into a group."""
    from repofs.catalog import users
    from repofs.cli.repository import opened

    with opened(context) as repository:
        person = users.experimenter_by_name(repository.connection, user)
        joined = users.group_by_name(repository.connection, group)
        users.add_member(repository.connection, person.id, joined.id, owner=owner)
        repository.audit("group.add-member", ObjectRef("ExperimenterGroup", joined.id), user=user, owner=owner)
    print(f"{user} is {'an owner' if owner else 'a member'} of {group}")


@app.command("remove-member")
def remove_member(context: typer.Context, group: GroupName, user: UserName) -> None:
    """Take an experimenter out of a group."""
    from repofs.catalog import users
    from repofs.cli.repository import opened

    with opened(context) as repository:
        person = users.experimenter_by_name(repository.connection, user)
        left = users.group_by_name(repository.connection, group)
        users.remove_member(repository.connection, person.id, left.id)
        repository.audit("group.remove-member", ObjectRef("ExperimenterGroup", left.id), user=user)
    print(f"{user} is no member of {group} any more")


def _describe(connection: Connection, group: Group) -> dict[str, object]:
    from repofs.catalog import users

    names = {person.id: person.user_name for person in users.experimenters(connection, removed=True)}
    mine = [member for member in users.memberships(connection) if member.group_id == group.id]
    return {
        "id": group.id,
        "group": group.name,
        "gid": group.gid,
        "permissions": group.level,
        "members": [names[member.experimenter_id] for member in mine],
        "owners": [names[member.experimenter_id] for member in mine if member.owner],
    }


def _starred(group: dict[str, object]) -> list[str]:
    members, owners = group["members"], group["owners"]
    assert isinstance(members, list) and isinstance(owners, list)
    return [f"{name}*" if name in owners else name for name in members]
