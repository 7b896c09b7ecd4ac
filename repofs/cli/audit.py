"""repofs audit: who did what to which object or file, when, and what was refused; needs no daemon."""

from __future__ import annotations

import os
import re
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repofs import mounts
from repofs.administration import unix
from repofs.cli.output import AsJson, cell, print_json
from repofs.errors import InvalidValue
from repofs.model import ObjectRef

if TYPE_CHECKING:
    from repofs.catalog.audit import Entry


def audit(
    context: typer.Context,
    user: Annotated[str | None, typer.Option(metavar="NAME|UID", help="Only what this Unix account did.")] = None,
    object: Annotated[
        str | None, typer.Option(metavar="KIND:ID|PATH", help="Only what was done to this, or below this directory.")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only from then on: ISO 8601, local time.")] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Only what was refused.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell who did or was refused what, oldest first."""
    from repofs.catalog.audit import entries
    from repofs.cli.repository import opened

    uid = None if user is None else int(user) if user.isdecimal() else unix.uid_of(user)
    target = object_of(object)
    begin = None if since is None else _utc(since)
    with opened(context, read_only=True) as repository:
        path = None if object is None or target is not None else below_mount(object, repository.layout.root)
        found = entries(repository.connection, actor_uid=uid, target=target, path=path, since=begin, refused=refused)
        for one in found:
            if as_json:
                print_json({**asdict(one), "actor": unix.name_of(one.actor_uid), "path": _shown(one.path)})
            else:  # no columns, as for originals: a trail may be long
                print("  ".join(cell(part) for part in _line(one)))


def _line(one: Entry) -> list[str]:
    """Return what a person reads: time, who, act, what, and as far as there are, details, count and refusal."""
    name = unix.name_of(one.actor_uid)
    path = None if one.path is None else _shown(one.path) or "/"
    return [
        f"{datetime.fromisoformat(one.time).astimezone():%Y-%m-%d %H:%M:%S}",
        f"uid {one.actor_uid}" if name is None else f"{name} ({one.actor_uid})",
        one.act,
        " ".join(what for what in (one.target, path) if what is not None) or "-",
        *([" ".join(f"{key}={value}" for key, value in one.detail.items())] if one.detail else []),
        *([f"{one.times:,} times"] if one.times > 1 else []),
        *([f"refused: {one.refusal}"] if one.refusal is not None else []),
    ]


def _shown(path: bytes | None) -> str | None:
    from repofs.catalog.forms import shown

    return None if path is None else shown(path)


def object_of(text: str | None) -> ObjectRef | None:
    """Read ``Kind:id``; None for a path. Raises InvalidValue for what was meant as an object and is none."""
    if text is None or not re.match(r"[A-Z][A-Za-z]*:[^/]*$", text):
        return None
    return ObjectRef.parse(text)


def below_mount(text: str, root: Path) -> bytes:
    """Return the path in the mount of the repository *root* that *text* means; the file may be there no more.

    A relative one may be below the current directory in the mount, or else below the mount. Raises InvalidValue.
    """
    mount = mounts.of_repository(root)
    parent, name = os.path.split(os.path.abspath(text))
    absolute = Path(os.path.realpath(parent), name)  # the last name as it is: a link in the mount is meant itself
    if mount is not None and absolute.is_relative_to(mount.mountpoint):
        below = absolute.relative_to(mount.mountpoint)
    elif os.path.isabs(text):
        raise InvalidValue(f"{text} lies in no mount of {root}: write the path below the mount, as in alice_2/scan.tif")
    else:
        below = Path(os.path.normpath(text))
    return b"" if below == Path(".") else os.fsencode(below)


def _utc(text: str) -> str:
    """Return *text* as the catalogue writes times. Raises InvalidValue."""
    from repofs.catalog.forms import iso

    try:
        return iso(datetime.fromisoformat(text).astimezone())
    except ValueError:
        raise InvalidValue(f"{text!r} is no time: write for example 2026-11-22 or 2026-11-22T21:15") from None
