"""Asking the mount by extended attributes: the kernel tells the daemon who asks, so no right is decided here."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from repofs.xattrs import KINDS, PREFIX, Kind

FACTS = tuple(name for name, kind in KINDS.items() if kind is Kind.FACT)


def read(path: Path, name: str) -> str | None:
    """Return ``user.repofs.NAME`` of *path*; None when the caller can see none. Raises OSError."""
    try:
        return os.getxattr(path, PREFIX + name.encode()).decode("utf-8", "surrogateescape")
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise


def read_json(path: Path, name: str) -> Any:
    """Return the JSON value of ``user.repofs.NAME``; None when there is none. Raises OSError."""
    value = read(path, name)
    return None if value is None else json.loads(value)


def facts(path: Path) -> dict[str, object]:
    """Return the facts that *path* bears: the names without ``user.repofs.``; images as a list. Raises OSError."""
    values: dict[str, object] = {name: value for name in FACTS if (value := read(path, name)) is not None}
    if "images" in values:
        values["images"] = str(values["images"]).split(",")
    return values


_WRITERS = "only who may write a file may set its attributes: chmod u+w first, or name its directory"
_TABLE_OWNERS = "only who may write the array may do this: ask the owner of the table, or an administrator"


def command(path: Path, name: str, value: str) -> None:
    """Set the command ``user.repofs.NAME`` of *path*. Raises OSError, in the daemon's words where it has left some."""
    try:
        os.setxattr(path, PREFIX + name.encode(), value.encode())
    except OSError as error:
        told = error.errno in (errno.EINVAL, errno.EBUSY) or name.startswith("table.")
        words = read(path, "error") if told else None
        if error.errno == errno.EACCES and words is None:
            words = _TABLE_OWNERS if name.startswith("table.") else _WRITERS
        raise OSError(error.errno, words or error.strerror, str(path)) from error
