"""All commands together, in the order of `repofs --help`, and the options that stand before a command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]

from repofs import __version__
from repofs.cli import (
    audit,
    backup,
    candidates,
    completion,
    config,
    delete,
    disk_usage,
    dropbox,
    formats,
    fsck,
    group,
    import_,
    init,
    log,
    mount,
    originals,
    quota,
    rehome,
    retry,
    session,
    show,
    status,
    table,
    thumbnails,
    trash,
    umount,
    user,
    verify,
    wait,
)
from repofs.cli.exit_codes import FsckCode, ImportCode
from repofs.cli.usage import ending_with

if completion.VARIABLE in os.environ:  # a shell asks for completions: typer's classes must know its ways
    completion_init()

app = typer.Typer(
    add_completion=False,  # typer's two options for it; `repofs completion` prints the same scripts
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich alone takes longer to import than all the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"repofs {__version__}")
        raise typer.Exit


@app.callback()
def begin(
    context: typer.Context,
    repository: Annotated[
        Path | None,
        typer.Option(
            "--repository",
            "-C",
            envvar="REPOFS_REPOSITORY",
            metavar="DIR",
            readable=False,  # users may enter a repository directory, not list it
            help="The repository; else that of the mount that the current directory lies in.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A mounted image repository for microscopy that imports what is copied into it."""
    context.obj = repository


app.command("init")(init.init)
app.add_typer(user.app, name="user")
app.add_typer(group.app, name="group")
app.add_typer(quota.app, name="quota")
app.command("usage")(disk_usage.usage)
app.command("mount")(mount.mount)
app.command("umount")(umount.umount)
app.command("import", cls=ending_with(ImportCode.USAGE))(import_.import_)
app.command("candidates")(candidates.candidates)
app.command("formats")(formats.formats)
app.command("dropbox")(dropbox.dropbox)
app.command("status")(status.status)
app.command("wait")(wait.wait)
app.command("show")(show.show)
app.command("thumbnails")(thumbnails.thumbnails)
app.command("log")(log.log)
app.command("retry")(retry.retry)
app.command("config")(config.config)
app.add_typer(table.app, name="table")
app.command("originals")(originals.originals)
app.command("delete")(delete.delete)
app.add_typer(trash.app, name="trash")
app.command("verify")(verify.verify)
app.command("fsck", cls=ending_with(FsckCode.USAGE))(fsck.fsck)
app.command("rehome")(rehome.rehome)
app.command("backup")(backup.backup)
app.command("audit")(audit.audit)
app.add_typer(session.app, name="session")
app.command("completion")(completion.completion)
