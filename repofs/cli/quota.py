"""repofs quota: how much users and groups may hold."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from repofs.cli.output import AsJson, print_columns, print_json

app = typer.Typer(help="Show and set how much users and groups may hold.", no_args_is_help=True)

NONE, DEFAULT = "none", "default"


@app.command()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what users and groups hold, may hold, and have left: your own, as an administrator everybody's."""
    from repofs.cli.disk_usage import ask
    from repofs.quotas import human_bytes
    from repofs.usage import By

    found: list[dict[str, Any]] = []
    for by in (By.USER, By.GROUP):
        rows = ask(context, by)["rows"]
        found += [{"kind": by, "name": row[by], "used": row["total"], "quota": row["quota"]} for row in rows]
    if as_json:
        print_json(found)
        return
    headers = ("KIND", "NAME", "USED", "QUOTA", "LEFT")
    table = []
    for one in found:
        quota = one["quota"]
        left = None if quota is None else human_bytes(max(0, quota - one["used"]))
        table.append((one["kind"], one["name"], human_bytes(one["used"]), quota and human_bytes(quota), left))
    print_columns(headers, table)


@app.command("set")
def set_(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The experimenter; with --group the group.")],
    size: Annotated[
        str,
        typer.Argument(metavar="SIZE", help="500GB, 2TiB …; none: no limit; default: as the settings say."),
    ],
    of_group: Annotated[bool, typer.Option("--group", help="NAME is a group: all its members' data together.")] = False,
) -> None:
    """Set how much a user or a group may hold."""
    from repofs.administration.requests import SetQuota
    from repofs.cli.administration import ask
    from repofs.quotas import human_bytes

    size = size.strip()
    number = None if size in (NONE, DEFAULT) else _bytes(size)
    done = ask(context, SetQuota(name, of_group, number, size == DEFAULT))
    quota = done["quota"]
    print(f"{name} may hold {'as much as there is room for' if quota is None else human_bytes(quota)}")


def _bytes(size: str) -> int:
    """Return how many bytes "500GB" is. Raises InvalidValue."""
    from pydantic import TypeAdapter, ValidationError

    from repofs.config import Size
    from repofs.errors import InvalidValue

    try:
        return int(TypeAdapter(Size).validate_python(size))
    except ValidationError:
        raise InvalidValue(f"{size!r} is no size: write bytes, or 500GB, 2TiB, none, default") from None
