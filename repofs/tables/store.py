"""Files of a store, by TileDB's own S3 client, and what its errors mean to who reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import tiledb

from repofs.errors import InvalidValue, NotFound, RepofsError, Unreachable
from repofs.tables.exchange import File

MOST_FILES = 100_000  # below a directory that is listed

_STATUS = re.compile(r"HTTP Response Code: (-?\d+)")


@contextmanager
def told(uri: str) -> Iterator[None]:
    """Let errors that come from the store, and not from what lies in it, be NotFound or Unreachable."""
    try:
        yield
    except (tiledb.TileDBError, InvalidValue) as error:
        status = _STATUS.search(str(error))
        if status is None:
            raise
        raise _meant(uri, int(status[1]), str(error)) from None


def _meant(uri: str, status: int, reason: str) -> RepofsError:
    bucket = "/".join(uri.split("/")[:3])
    match status:
        case -1:
            return Unreachable(f"the store of {bucket} does not answer")
        case 401 | 403:
            return Unreachable(f"the store of {bucket} refuses the key of its credentials_file, or that there is none")
        case 404 if "NoSuchBucket" in reason:
            return Unreachable(f"the store has no {bucket}")
        case 404:
            return NotFound(f"{uri} is not there")
        case _:
            return Unreachable(f"the store of {bucket} answers with the HTTP status {status}")


def require_directory(uri: str, ctx: tiledb.Ctx) -> None:
    """Raise NotFound when nothing lies below *uri*: TileDB calls that, and whatever else, no array."""
    if not tiledb.VFS(ctx=ctx).is_dir(uri):
        raise NotFound(f"{uri} is not there")


def require_array(uri: str, settings: dict[str, str]) -> None:
    """Raise NotFound when nothing is left of the array *uri*, Unreachable when its store does not answer."""
    with told(uri):
        require_directory(uri, tiledb.Ctx(settings))


def entries(uri: str, ctx: tiledb.Ctx) -> tuple[File, ...]:
    """Return what lies in the directory *uri*, by name.

    One request for each thousand files below: sizes come with no other list of TileDB's. Raises NotFound for what is
    no directory, InvalidValue when there are more than MOST_FILES.
    """
    prefix = f"{uri.rstrip('/')}/"
    found: dict[str, File] = {}
    seen = 0

    def take(path: str, size: int) -> bool:
        nonlocal seen
        seen += 1
        name, below, _ = path.removeprefix(prefix).partition("/")
        if name:  # "": an empty object that some clients make for a directory
            found[name] = File(name.encode(), bool(below), 0 if below else size)
        return seen <= MOST_FILES

    tiledb.VFS(ctx=ctx).ls_recursive(prefix, take)
    if seen > MOST_FILES:
        raise InvalidValue(f"more than {MOST_FILES} files lie below {uri}")
    if not seen:
        raise NotFound(f"{uri} is not there")
    return tuple(found[name] for name in sorted(found))


def read(uri: str, offset: int, size: int, ctx: tiledb.Ctx) -> bytes:
    """Return up to *size* bytes of the file *uri* from *offset* on. Raises NotFound."""
    vfs = tiledb.VFS(ctx=ctx)
    size = min(size, vfs.file_size(uri) - offset)
    if size <= 0:
        return b""
    with vfs.open(uri, "rb") as file:
        file.seek(offset)
        content: bytes = file.read(size)
    return content
