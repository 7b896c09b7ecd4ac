"""repofs delete: move filesets to the trash."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from repofs.cli import attributes, location
from repofs.cli.administration import ask_daemon
from repofs.cli.audit import object_of
from repofs.cli.output import AsJson, cell, print_json
from repofs.errors import InvalidValue
from repofs.quotas import human_bytes

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask on a terminal.")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Only tell what would be done.")]

_OUTSIDE = {
    "ln_s": "its source, which has its bytes, is not touched",
    "ln": "only the hard link in the repository goes: its source is not touched",
    "ln_rm": "only the hard link in the repository goes",
}


def delete(
    context: typer.Context,
    what: Annotated[
        list[str],
        typer.Argument(metavar="Fileset:N|Image:N|PATH", help="Filesets; of a directory in the mount, all below it."),
    ],
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Move filesets to the trash, whole."""
    from repofs.importer.requests import Delete

    repository, asked = _filesets(context, what)
    found = {one: ask_daemon(context, Delete(one, only_ask=True), repository) for one in asked}
    found = {told["fileset"]: told | {"asked": one} for one, told in found.items()}  # each once
    if not as_json:
        for told in found.values():
            print(_about(told))
    if not dry_run:
        confirm(yes, f"Delete {_count(len(found), 'fileset')}?")
        found = {one: told | ask_daemon(context, Delete(one), repository) for one, told in found.items()}
    if as_json:
        print_json(list(found.values()))
        return
    for one, told in found.items():
        print(f"{one} {'would go' if dry_run else 'is'} {_where(told, done=not dry_run)}")


def confirm(yes: bool, question: str) -> None:
    """Ask *question* on a terminal, unless *yes*; typer.Abort when it is not answered with yes."""
    if not yes and sys.stdin.isatty():
        typer.confirm(question, abort=True)


def _filesets(context: typer.Context, what: list[str]) -> tuple[Path | None, list[str]]:
    """Return the repository that paths of *what* lie in, if there are any, and all that is named, each once."""
    repository = None
    asked: dict[str, None] = {}
    for one in what:
        ref = object_of(one)
        if ref is not None:
            asked[str(ref)] = None
            continue
        path = Path(one)
        source = location.mount_of(path).source
        if repository not in (None, source):
            raise InvalidValue(f"{one} lies in another repository than the paths before it")
        repository = source
        below = list(_below(path))
        if not below:
            raise InvalidValue(f"{one}: nothing was imported of it, so remove it as any other file")
        asked.update(dict.fromkeys(below))
    return repository, list(asked)


def _below(path: Path) -> list[str]:
    """Return the filesets of a file, or of all files below a directory."""
    if path.is_symlink():
        return []
    if not path.is_dir():
        found = attributes.read(path, "fileset")
        return [] if found is None else [found]
    return [one for name in sorted(os.listdir(path)) for one in _below(path / name)]


def _about(told: dict[str, Any]) -> str:
    number, images, files = told["fileset"], _count(told["images"], "image"), _count(told["files"], "file")
    whole = f"{told['asked']} is in {number}, which goes whole: " if told["asked"] != number else f"{number}: "
    return f"{whole}{files}, {images}, of {cell(told['owner'])}, in {cell(told['import_directory'])}"


def _where(told: dict[str, Any], *, done: bool) -> str:
    outside = "".join(f"; {_OUTSIDE[name]}" for name in told["transfers"] if name in _OUTSIDE)
    if not told["days"]:
        freed = told["freed"] if done else told["size"]
        return f"gone for good: {human_bytes(freed)} {'are' if done else 'would be'} free again{outside}"
    until = f"in the trash until {told['until']}" if done else f"to the trash for {told['days']:g} days"
    return f"{until}, and frees {human_bytes(told['size'])} when that is emptied{outside}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
