"""repofs group: who may see and change whose data."""

from __future__ import annotations

from typing import Annotated

import typer

from repofs.cli.administration import ask
from repofs.cli.output import AsJson, print_columns, print_json
from repofs.model import PermissionLevel

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
    from repofs.administration.requests import AddGroup

    done = ask(context, AddGroup(name, gid, permissions))
    print(f"{name} (gid {done['gid']}) is {done['object']}, {done['level']}")


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the groups and their members; an owner is marked with *, who is one by the Unix group with (Unix)."""
    from repofs.administration.requests import ListPeople

    groups = ask(context, ListPeople())["groups"]
    if as_json:
        print_json(groups)
        return
    headers = ("ID", "GROUP", "GID", "PERMISSIONS", "MEMBERS")
    print_columns(headers, [(g["id"], g["group"], g["gid"], g["permissions"], _marked(g)) for g in groups])


@app.command("set-permissions")
def set_permissions(
    context: typer.Context,
    name: GroupName,
    level: Annotated[PermissionLevel, typer.Argument(metavar="LEVEL", help=", ".join(PermissionLevel))],
) -> None:
    """Set what members may do with each other's data."""
    from repofs.administration.requests import SetPermissions

    ask(context, SetPermissions(name, level))
    print(f"{name} is {level}")


@app.command("add-member")
def add_member(
    context: typer.Context,
    group: GroupName,
    user: UserName,
    owner: Annotated[bool, typer.Option("--owner", help="As an owner of the group.")] = False,
) -> None:
    """Put an experimenter into a group."""
    from repofs.administration.requests import AddMember

    ask(context, AddMember(group, user, owner))
    print(f"{user} is {'an owner' if owner else 'a member'} of {group}")


@app.command("remove-member")
def remove_member(context: typer.Context, group: GroupName, user: UserName) -> None:
    """Take an experimenter out of a group, whatever the Unix group says."""
    from repofs.administration.requests import RemoveMember

    ask(context, RemoveMember(group, user))
    print(f"{user} is no member of {group} any more")


def _marked(group: dict[str, list[str]]) -> list[str]:
    owners, by_unix = group["owners"], group["by_unix_group"]
    return [name + "*" * (name in owners) + " (Unix)" * (name in by_unix) for name in group["members"]]
