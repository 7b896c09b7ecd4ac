"""Requests about people and groups: to the daemon if one has the repository, else to the catalogue itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from repofs.cli import location
from repofs.errors import DaemonUnreachable

if TYPE_CHECKING:
    from repofs.administration.requests import Request
    from repofs.control.protocol import CreateSession
    from repofs.importer.requests import TrashRequest
    from repofs.repository.layout import Layout


def ask(context: typer.Context, request: Request) -> Any:
    """Return what was done, or what was asked for, as JSON has it.

    A daemon lets everybody ask for what she may; without one the catalogue is open to root and the owner of the
    repository only. Raises NotARepository, AccessDenied, and RepofsErrors that say what is wrong.
    """
    from repofs.administration.requests import checked
    from repofs.control import client
    from repofs.control.protocol import Call
    from repofs.repository.layout import Layout

    checked(request)
    layout = Layout.open(location.repository(context))
    audit_uid = _audit_uid()
    answered, result = client.ask(layout, Call(request, audit_uid))
    return result if answered else _without_daemon(layout, request, audit_uid)


def ask_daemon(context: typer.Context, request: CreateSession | TrashRequest, repository: Path | None = None) -> Any:
    """Return the answer to what only a daemon can see to; of *repository*, else of the one that the command is about.

    Raises DaemonUnreachable when none has the repository.
    """
    from repofs.control import client
    from repofs.control.protocol import Call
    from repofs.repository.layout import Layout

    layout = Layout.open(repository or location.repository(context))
    answered, result = client.ask(layout, Call(request, _audit_uid()))
    if not answered:
        raise DaemonUnreachable(f"no daemon has {layout.root}: mount it first")
    return result


def _without_daemon(layout: Layout, request: Request, audit_uid: int) -> Any:
    from repofs.administration.office import Office
    from repofs.administration.requests import Change
    from repofs.cli.repository import catalogue
    from repofs.config import load

    with catalogue(layout, read_only=not isinstance(request, Change)) as engine:
        office = Office(layout, load(layout.root), writing=engine, reading=engine)
        return office.see_to(request, os.getuid(), audit_uid)


def _audit_uid() -> int:
    """Return the uid to be named in the audit trail: under sudo, who called it."""
    called = os.environ.get("SUDO_UID", "")
    return int(called) if os.getuid() == 0 and called.isdecimal() else os.getuid()
