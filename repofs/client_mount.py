"""What Python programs ask of the mount by extended attributes: where a table is, and to register one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from repofs import mounts
from repofs.errors import InvalidValue, NotFound, told
from repofs.table import Secret
from repofs.xattrs import PREFIX

VARIABLE = "REPOFS_MOUNT"


def find(mount: str | os.PathLike[str] | None) -> Path:
    """Return the mountpoint that is meant: *mount*, what REPOFS_MOUNT says, the mount that the current directory lies
    in, else the only one of this machine. Raises InvalidValue."""
    named = mount or os.environ.get(VARIABLE)
    if named is not None:
        found = mounts.at(Path(named).absolute())
        if found is None:
            raise InvalidValue(f"{os.fspath(named)} is no repofs mount")
        return found.mountpoint
    here = mounts.containing(Path("."))
    if here is not None:
        return here.mountpoint
    there = [one.mountpoint for one in mounts.all_mounts() if one.is_repofs]
    if not there:
        raise InvalidValue("no repofs is mounted on this machine: mount one, or read over HTTPS by server=")
    if len(there) > 1:
        names = ", ".join(map(str, there))
        raise InvalidValue(f"several repofs are mounted: name one by {VARIABLE}, in Python also by mount=: {names}")
    return there[0]


def own_directory(mountpoint: Path) -> Path:
    """Return the caller's own user directory. Raises NotFound."""
    for entry in os.scandir(mountpoint):
        if not entry.name.startswith(".") and entry.stat(follow_symlinks=False).st_uid == os.geteuid():
            return Path(entry.path)
    raise NotFound(f"uid {os.geteuid()} has no directory in {mountpoint}: an administrator adds one by repofs user add")


def table_path(mountpoint: Path, number: int) -> Path:
    """Return the path in the mount of ``FileAnnotation:number``. Raises NotFound."""
    table = _read_json(mountpoint, f"FileAnnotation:{number}")
    if table is None:
        raise NotFound(f"there is no table FileAnnotation:{number} that you may see")
    return mountpoint.joinpath(table["path"])


def table_path_of_image(mountpoint: Path, number: int) -> Path:
    """Return the path in the mount of the only table on the image itself, not on what it is in.

    Raises NotFound, InvalidValue for one of several.
    """
    image = _read_json(mountpoint, f"Image:{number}")
    if image is None:
        raise NotFound(f"there is no Image:{number} that you may see")
    tables = [table for table in image["tables"] if f"Image:{number}" in table["on"]]
    if not tables:
        raise NotFound(f"Image:{number} has no table")
    if len(tables) > 1:
        names = ", ".join(f"{table['object']} ({table['name']})" for table in tables)
        raise InvalidValue(f"Image:{number} has {len(tables)} tables, name one by its annotation: {names}")
    return mountpoint.joinpath(tables[0]["path"])


def register(mountpoint: Path, uri: str, name: str, targets: list[str], token: Secret) -> int:
    """Register the array at *uri* as the caller's own table; return its annotation's id.

    Raises the RepofsError that the mount refuses it with.
    """
    home = own_directory(mountpoint)
    asked = {"uri": uri, "name": name, "targets": targets, "token": token.reveal().decode()}
    try:
        os.setxattr(home, PREFIX + b"table.register", json.dumps(asked).encode())
    except OSError as error:
        reason = _read(home, "error")
        raise told(error.errno or 0, reason or os.strerror(error.errno or 0)) from None
    for table in _read_json(home, "tables") or []:  # the newest first
        if table["uri"] == uri:
            return int(table["object"].partition(":")[2])
    raise NotFound(f"{uri} was registered, and somebody has taken it away again")


def _read(path: Path, name: str) -> str | None:
    try:
        return os.fsdecode(os.getxattr(path, PREFIX + name.encode()))
    except OSError:  # there is none: what was asked for has no answer
        return None


def _read_json(path: Path, name: str) -> Any:
    value = _read(path, name)
    return None if value is None else json.loads(value)
