"""repofs audit: who changed people and groups, when; needs no daemon."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from repofs.cli import accounts
from repofs.cli.output import AsJson, cell, print_json
from repofs.errors import InvalidValue
from repofs.model import ObjectRef


def audit(
    context: typer.Context,
    user: Annotated[str | None, typer.Option(metavar="NAME|UID", help="Only what this Unix account did.")] = None,
    object: Annotated[str | None, typer.Option(metavar="KIND:ID", help="Only what was done to this object.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only from then on: ISO 8601, local time.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell who changed people and groups, oldest first."""
    from repofs.catalog.audit import entries
    from repofs.cli.repository import opened

    uid = None if user is None else int(user) if user.isdecimal() else accounts.uid_of(user)
    target = None if object is None else ObjectRef.parse(object)
    begin = None if since is None else _utc(since)
    with opened(context, read_only=True) as repository:
        for one in entries(repository.connection, actor_uid=uid, target=target, since=begin):
            if as_json:
                print_json(asdict(one))
            else:  # no columns, as for originals: a trail may be long
                detail = " ".join(f"{key}={value}" for key, value in one.detail.items())
                print("  ".join(cell(part) for part in (one.time, f"uid {one.actor_uid}", one.act, one.target, detail)))


def _utc(text: str) -> str:
    """Return *text* as the catalogue writes times. Raises InvalidValue."""
    from repofs.catalog.forms import iso

    try:
        return iso(datetime.fromisoformat(text).astimezone())
    except ValueError:
        raise InvalidValue(f"{text!r} is no time: write for example 2026-11-22 or 2026-11-22T21:15") from None
