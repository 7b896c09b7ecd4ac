"""repofs trash: what was deleted, until it is restored or gone for good."""

from __future__ import annotations

from typing import Annotated

import typer

from repofs.cli.administration import ask_daemon
from repofs.cli.delete import DryRun, Yes, confirm
from repofs.cli.output import AsJson, cell, print_columns, print_json
from repofs.quotas import human_bytes

app = typer.Typer(help="List, restore and remove for good what was deleted.", no_args_is_help=True)


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the deleted filesets that you may restore: your own; of others, those that you may delete."""
    from repofs.importer.requests import ListTrash

    found = ask_daemon(context, ListTrash())
    if as_json:
        print_json(found)
        return
    headers = ("FILESET", "OWNER", "GROUP", "FILES", "FREES", "DELETED", "BY", "UNTIL", "WAS IN")
    keys = ("fileset", "owner", "group", "files", "size", "deleted", "by", "until", "import_directory")
    print_columns(headers, [tuple({**one, "size": human_bytes(one["size"])}[key] for key in keys) for one in found])


@app.command()
def restore(
    context: typer.Context,
    what: Annotated[list[str], typer.Argument(metavar="Fileset:N", help="Filesets that are in the trash.")],
    as_json: AsJson = False,
) -> None:
    """Bring deleted filesets back: files, names, and all that is known of them."""
    from repofs.importer.requests import Restore

    done = []
    for one in what:
        told = ask_daemon(context, Restore(one))
        done.append(told)
        if not as_json:
            print(f"{told['fileset']} is back in {cell(told['import_directory'])}")
            for sentence in told["told"]:
                print(f"  {cell(sentence)}")
    if as_json:
        print_json(done)


@app.command()
def empty(
    context: typer.Context,
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[Fileset:N]...", help="Only these; else all of yours, and what you administer."),
    ] = None,
    older_than: Annotated[
        float, typer.Option("--older-than", min=0.0, metavar="DAYS", help="Only what was deleted so long ago.")
    ] = 0.0,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Remove deleted filesets for good. Their ids are not used again."""
    from repofs.importer.requests import Empty

    named: list[str | None] = [*what] if what else [None]
    asked = [ask_daemon(context, Empty(one, older_than, only_ask=True)) for one in named]
    found = [one for told in asked for one in told["filesets"]]
    if not dry_run:
        if found:
            confirm(yes, f"Remove {len(found):,} filesets for good?")
        asked = [ask_daemon(context, Empty(one["fileset"])) for one in found]
    freed = sum(told["freed"] for told in asked)
    if as_json:
        print_json({"filesets": found, "freed": freed})
        return
    for one in found:
        print(f"{one['fileset']} {'would be' if dry_run else 'is'} gone for good")
    if found:
        print(f"{human_bytes(freed)} {'would be' if dry_run else 'are'} free again")
    else:
        print("nothing to remove")
