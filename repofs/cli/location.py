"""Which repository, which mount: from ``-C``, else REPOFS_REPOSITORY, else the mount that a path lies in."""

from __future__ import annotations

from pathlib import Path

import typer

from repofs import mounts
from repofs.errors import DaemonUnreachable, InvalidValue, NotARepository
from repofs.mounts import Mount


def repository(context: typer.Context) -> Path:
    """Return the directory of the repository that this command is about. Raises NotARepository when none is named."""
    named: Path | None = context.find_root().obj
    if named is not None:
        return named.absolute()
    mount = mounts.containing(Path("."))
    if mount is None:
        raise NotARepository(
            "no repository is named: write repofs -C DIR …, set REPOFS_REPOSITORY, or stand in a directory of its mount"
        )
    return mount.source


def mount(context: typer.Context) -> Mount:
    """Return the mount of the repository that this command is about.

    Raises DaemonUnreachable without one, NotARepository for a directory that is none.
    """
    from repofs.repository.layout import Layout

    directory = repository(context)
    found = mounts.of_repository(directory)
    if found is None:
        Layout.open(directory)  # says so if it is none
        raise DaemonUnreachable(f"{directory} is not mounted: repofs mount {directory} MOUNTPOINT mounts it")
    return found


def mount_of(path: Path) -> Mount:
    """Return the mount that *path* lies in. Raises InvalidValue outside every mount, OSError without *path*."""
    found = mounts.containing(path)
    if found is None:
        raise InvalidValue(f"{path} lies in no repofs mount")
    return found
