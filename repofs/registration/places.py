"""Where an array lies: what a path or URI means, which is decided by its text alone, and opening what is there.

Nothing outside the mount, the declared sources and the declared stores is ever looked at: a request names no host, and
no file that the settings do not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import trio

from repofs.config import Settings, Store
from repofs.errors import AccessDenied, InvalidValue, NotFound
from repofs.registration.path_maps import PathMaps
from repofs.registration.processes import At
from repofs.repository import as_user
from repofs.repository.arrays import open_array
from repofs.repository.as_user import Caller
from repofs.repository.layout import Layout
from repofs.repository.outside import open_beneath
from repofs.repository.sources import Sources
from repofs.table import Place, Table
from repofs.threads import in_thread

_AT_A_TIME = 16  # a store that hangs holds these threads up, and no others
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # of two letters or more: J: is a drive
_S3 = re.compile(r"s3:/+", re.IGNORECASE)  # omero2pandas makes s3:/bucket of s3://bucket
_KEY = re.compile(r"[^\0?#%\\]+")


class Places:
    """The places of one repository where arrays may lie."""

    def __init__(self, layout: Layout, settings: Settings, sources: Sources, mountpoint: Path) -> None:
        self._managed = layout.managed
        self._maps = PathMaps(settings.tables.paths)
        self._stores: Mapping[str, Store] = {store.name: store for store in settings.stores}
        self._sources = sources
        self._mountpoint = os.path.abspath(mountpoint)
        self._limiter = trio.CapacityLimiter(_AT_A_TIME)

    def locate(self, uri: str, base: bytes | None = None) -> Place:
        """Return the place that *uri* means; a relative path is one below *base*, a directory in the mount.

        Raises InvalidValue for what is in no place where arrays may lie.
        """
        if _S3.match(uri):
            return self._in_store(uri)
        if _SCHEME.match(uri):
            raise InvalidValue(f"uri={uri!r}: write a path, or s3://BUCKET/… in a declared store")
        path = self._maps.local(uri)
        if not path.startswith("/"):
            if base is None:
                raise InvalidValue(f"uri={uri!r}: write a path that starts with /")
            return _in_mount(os.path.join(os.fsdecode(base), path))
        path = os.path.normpath(path)  # it has no ".."
        if path.startswith(self._mountpoint + "/"):
            return _in_mount(path.removeprefix(self._mountpoint + "/"))
        found = self._sources.locate(os.fsencode(path))
        if found is None:
            raise InvalidValue(f"uri={uri!r} lies neither in the mount nor in a declared source")
        return Place("source", *found)

    def _in_store(self, uri: str) -> Place:
        path = _S3.sub("s3://", uri, count=1).rstrip("/")
        for store in sorted(self._stores.values(), key=lambda one: -len(one.uri)):
            prefix = store.uri.rstrip("/") + "/"
            if path.startswith(prefix):
                key = path.removeprefix(prefix)
                if _KEY.fullmatch(key) is None or any(part in ("", ".", "..") for part in key.split("/")):
                    raise InvalidValue(f"uri={uri!r}: write the key of the array without .. // ? # % and \\")
                return Place("store", store.name, key.encode())
        raise InvalidValue(f"uri={uri!r} lies in no declared store")

    def open(self, place: Place, who: Caller | None) -> At:
        """Open the array at *place*, outside with the rights of *who*. Blocking. In the mount the daemon opens it, and
        whether she may see it is for the caller to decide.

        Raises NotFound, AccessDenied, InvalidValue for what leads over a symlink; OSError.
        """
        match place.kind:
            case "mount":
                managed = os.open(self._managed, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    directory = open_array(managed, place.path)
                finally:
                    os.close(managed)
                status = os.fstat(directory)
                return At(directory, None, b"", Caller(status.st_uid, status.st_gid, ()))
            case "source":
                with self._sources.root(place.root) as root:
                    directory = open_beneath(root, place.path, who, directory=True).fd
                return At(directory, None, b"", who)
            case "store":
                if place.root not in self._stores:
                    raise NotFound(f"{place.root} is no declared store")
                return At(None, self._stores[place.root], place.path, None)

    def open_table(self, table: Table) -> At:
        """Open the array of a registered table, for whoever may see that; outside, with the rights of the table's owner
        from the root of the source on, where others may have moved what is not hers to read. Blocking.

        Raises as `open`.
        """
        if table.place.kind != "source":
            return self.open(table.place, None)
        if table.owner_uid is None:
            raise AccessDenied("the array lies outside, and nobody is left by whose rights it could be read")
        return self.open(table.place, as_user.by_account(table.owner_uid))

    async def in_thread(self, opening: Callable[..., At], *arguments: object) -> At:
        """Return what *opening* opens, `open` or what is built on it, in one of the few threads for that."""
        return await in_thread(opening, *arguments, limiter=self._limiter)


def _in_mount(path: str) -> Place:
    parts = path.split("/")
    if ".." in parts or "." in parts or "" in parts:
        raise InvalidValue(f"uri={path!r}: write it without . .. and //")
    return Place("mount", "", os.fsencode(path))
