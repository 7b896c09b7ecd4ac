"""The array of a table as omero2pandas and OMERO Plus have it, looked into and given another token.

Format: a sparse TileDB array of one dimension, `__tiledb_rows` (int64, from 0), with an attribute for each column, as
`tiledb.from_pandas(sparse=True, full_domain=True)` makes it; its metadata are `__version` = '3', `__initialized`
(seconds since the epoch) and `SecretToken` (omero2pandas 0.4.2, remote.py).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import tiledb

from repofs.errors import AccessDenied, InvalidValue, NotFound
from repofs.table import MOST_TOKEN_BYTES, Column, Examined, Secret
from repofs.tables.rows import ROWS, count

VERSION = "3"
TOKEN_KEY, VERSION_KEY, INITIALIZED_KEY = "SecretToken", "__version", "__initialized"
MOST_FRAGMENTS = 40_000  # omero2pandas makes one of each 1000 rows
MOST_COLUMNS = 10_000

_OBJECTS = {  # columns of these names, in any case, hold ids of objects (omero2pandas 0.4.2, upload.py)
    "roi": "Roi", "image": "Image", "dataset": "Dataset", "well": "Well", "field": "Image", "wellsample": "Image",
    "plate": "Plate",
}  # fmt: skip
_KINDS = {"i": "Long", "u": "Long", "f": "Double", "b": "Bool", "M": "Time", "m": "Time"}
_HASHED_BYTES = 64 << 20  # of one schema file: all is read for its hash


def context(memory_bytes: int, s3: Mapping[str, str] | None = None) -> tiledb.Ctx:
    """Return a context that keeps to *memory_bytes*; *s3* are TileDB's settings ``vfs.s3.…``. One for each process."""
    return tiledb.Ctx(
        {
            "sm.mem.total_budget": str(memory_bytes // 4),
            "sm.consolidation.total_buffer_size": str(64 << 20),
            "sm.compute_concurrency_level": "2",
            "sm.io_concurrency_level": "2",
            "py.init_buffer_bytes": str(8 << 20),
            **(s3 or {}),
        }
    )


@contextmanager
def opened(uri: str, ctx: tiledb.Ctx) -> Iterator[tiledb.SparseArray]:
    """Open the table at *uri* for reading.

    Raises NotFound when nothing is there; InvalidValue when it is no array, or one that is no table; AccessDenied when
    its files are closed.
    """
    with told(uri):
        if "://" not in uri:
            _require_files(uri)  # to TileDB what is closed is no array, and it would wait for the writer of a FIFO
        if tiledb.object_type(uri, ctx=ctx) != "array":
            raise InvalidValue("this is no TileDB array")
        with tiledb.open(uri, ctx=ctx) as array:
            domain = array.schema.domain
            rows = domain.dim(0)
            if not (array.schema.sparse and domain.ndim == 1 and rows.name == ROWS and rows.dtype.kind in "iu"):
                raise InvalidValue(f"this array is no table: one is sparse, with the one dimension {ROWS} of integers")
            yield array


def _require_files(directory: str, levels: int = 3) -> None:
    """Refuse (InvalidValue) an array with anything but files and directories. Raises OSError."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if levels:
                    _require_files(entry.path, levels - 1)
            elif not entry.is_file(follow_symlinks=False):
                raise InvalidValue("the array has something that is neither a file nor a directory")


@contextmanager
def told(uri: str) -> Iterator[None]:
    """Let TileDB's errors be InvalidValue, without the path by which the array was opened."""
    try:
        yield
    except PermissionError:
        raise AccessDenied("the array cannot be read: its files are closed to you") from None
    except FileNotFoundError:
        raise NotFound("there is no such array") from None
    except NotADirectoryError:
        raise InvalidValue("this is no TileDB array") from None
    except (tiledb.TileDBError, UnicodeError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).replace(f"file://{uri}", "").replace(uri, "").split())
        kind = AccessDenied if "Permission denied" in reason else InvalidValue
        raise kind(f"the array cannot be read: {reason[:300]}") from None


def examine(uri: str, ctx: tiledb.Ctx) -> Examined:
    """Return what the array at *uri* is, at its latest state. Raises InvalidValue."""
    with opened(uri, ctx) as array:
        return Examined(_token(array), count(array), columns(array.schema), _manifest(uri, ctx))


def _token(array: tiledb.SparseArray) -> Secret | None:
    try:
        token = array.meta[TOKEN_KEY]
    except KeyError:
        return None
    raw = token.encode() if isinstance(token, str) else token
    if not isinstance(raw, bytes) or not 0 < len(raw) <= MOST_TOKEN_BYTES:
        raise InvalidValue(f"the array's {TOKEN_KEY} is no text of 1 to {MOST_TOKEN_BYTES} bytes")
    return Secret(raw)


def columns(schema: tiledb.ArraySchema) -> tuple[Column, ...]:
    """Return the columns of a table in their order. Raises InvalidValue when there are more than MOST_COLUMNS."""
    if schema.nattr > MOST_COLUMNS:
        raise InvalidValue(f"the array has {schema.nattr} columns: {MOST_COLUMNS} are allowed")
    return tuple(_column(schema.attr(number)) for number in range(schema.nattr))


def _column(attribute: tiledb.Attr) -> Column:
    kind = attribute.dtype.kind
    if kind in "iu" and attribute.name.lower() in _OBJECTS:
        type_ = _OBJECTS[attribute.name.lower()]
    else:
        type_ = _KINDS.get(kind, "String")
    dtype = "string" if kind in "USO" else attribute.dtype.name
    return Column(attribute.name, type_, dtype, bool(attribute.isnullable))


def _manifest(uri: str, ctx: tiledb.Ctx) -> str:
    """Return as JSON by what a later look tells whether the array is the same: each fragment with its bytes, the hash
    of the schema's files, and of the names of the commits.

    The metadata are not in it: the token has a state of its own.
    """
    vfs = tiledb.VFS(ctx=ctx)
    there = fragments(uri, ctx)
    if len(there) > MOST_FRAGMENTS:
        raise InvalidValue(f"the array has {len(there)} fragments, {MOST_FRAGMENTS} are allowed: consolidate it")
    return json.dumps(
        {
            "fragments": {_name(fragment): vfs.dir_size(fragment) for fragment in there},
            "schema": _hash(_content(vfs, file) for file in _files(vfs, f"{uri}/__schema")),
            "commits": _hash(_name(file).encode() for file in _files(vfs, f"{uri}/__commits")),
        },
        sort_keys=True,
    )


def fragments(uri: str, ctx: tiledb.Ctx) -> list[str]:
    """Return the URIs of the array's fragments, by name; those that were consolidated and not yet removed too."""
    vfs = tiledb.VFS(ctx=ctx)
    return sorted(vfs.ls(f"{uri}/__fragments")) if vfs.is_dir(f"{uri}/__fragments") else []


def _files(vfs: tiledb.VFS, directory: str) -> list[str]:
    return sorted(path for path in vfs.ls(directory) if vfs.is_file(path)) if vfs.is_dir(directory) else []


def _content(vfs: tiledb.VFS, path: str) -> bytes:
    size = vfs.file_size(path)
    if size > _HASHED_BYTES:
        raise InvalidValue("the array's schema is too large")
    with vfs.open(path, "rb") as file:
        content: bytes = file.read(size)
    return _name(path).encode() + content


def _hash(parts: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def _name(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


def rotate(uri: str, token: Secret, ctx: tiledb.Ctx) -> None:
    """Give the array another token, and take the one before out of its history. Raises InvalidValue.

    A later time stamp alone does not: who opens the array as it was a moment ago reads the metadata of then, until they
    are consolidated and vacuumed.
    """
    with opened(uri, ctx), told(uri):
        with tiledb.open(uri, "w", ctx=ctx) as array:
            array.meta[TOKEN_KEY] = token.reveal().decode()
        for mode, act in (("consolidation", tiledb.consolidate), ("vacuum", tiledb.vacuum)):
            settings: dict[str, Any] = {f"sm.{mode}.mode": "array_meta"}
            act(uri, config=tiledb.Config({**ctx.config().dict(), **settings}), ctx=ctx)
