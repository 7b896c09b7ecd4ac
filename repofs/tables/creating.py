"""Making the array of a table of a data frame or a file: all of it or nothing.

It is made beside its place under a name that begins with a dot, and has its place when it is whole.

Memory: a few times the largest chunk, as pandas and as TileDB have it. A chunk has at most `frames.CHUNK_VALUES` values
(2 million, unless a table has more than 200 columns: then 10,000 rows), so 16 MB of numbers, or of texts about
(60 + length) bytes each; see ``python -m benchmarks.tables``.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import tiledb

from repofs.errors import AlreadyExists, NotFound
from repofs.table import Secret
from repofs.tables import array, frames
from repofs.tables.fragments import append
from repofs.tables.frames import Source, Types, Widened
from repofs.tables.rows import ROWS

TILE_ROWS = 10_000
MEMORY_BYTES = 512 << 20
_DOMAIN = (-(2**63), 2**63 - 1 - TILE_ROWS)  # all of int64 that a tile fits in, as tiledb.from_pandas has it

Progress = Callable[[int, int | None], None]


def create(
    source: pd.DataFrame | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    chunk_size: int | None = None,
    progress: Progress | None = None,
    token: Secret | None = None,
) -> Secret:
    """Make the array *path* of *source*, and return its token: *token*, or a new one.

    *progress* is called after each chunk, with the rows that are done and those in all, if that is known.
    Raises AlreadyExists, NotFound for a source or a directory that is not there, InvalidValue for a source that is
    damaged or has what an array cannot hold. Whatever is raised, nothing is left behind.
    """
    target = Path(path)
    if os.path.lexists(target):
        raise AlreadyExists(f"{target} is there already: write another name")
    if not target.parent.is_dir():
        raise NotFound(f"{target.parent} is no directory: make it first")
    token = token or Secret(secrets.token_urlsafe().encode())
    sibling = target.with_name(f".{target.name[:80]}.{secrets.token_hex(4)}")
    try:
        _make(frames.opened(source, chunk_size), sibling, progress or (lambda done, of: None))
        _sign(sibling, token)
        _sync(sibling)
        _rename(sibling, target)
    finally:
        shutil.rmtree(sibling, ignore_errors=True)  # when it has its place there is none
    return token


def _make(source: Source, path: Path, progress: Progress) -> None:
    try:
        _write(source, source.types(), path, progress)
    except Widened:
        shutil.rmtree(path, ignore_errors=True)
        _write(source, source.settled(), path, progress)


def _write(source: Source, types: Types, path: Path, progress: Progress) -> None:
    """Write all rows of *source*: a fragment a chunk."""
    ctx = array.context(MEMORY_BYTES)
    with array.told(str(path)):
        tiledb.Array.create(str(path), _schema(types, ctx), ctx=ctx)
    done = 0
    with tiledb.open(str(path), "w", ctx=ctx) as made:
        made.meta["__pandas_index_dims"] = json.dumps({ROWS: "int64"})
        if of_pandas := {name: one.repr for name, one in types.items() if one.repr}:
            made.meta["__pandas_attribute_repr"] = json.dumps(of_pandas)
        for chunk in source.chunks(types):
            if chunk.empty:  # of a file that has only a header
                continue
            with array.told(str(path)):
                append(made, chunk, types, done)
            done += len(chunk)
            progress(done, source.rows)


def _schema(types: Types, ctx: tiledb.Ctx) -> tiledb.ArraySchema:
    """As tiledb.from_pandas(sparse=True, full_domain=True, tile=10000, allows_duplicates=False) has it."""
    filters = tiledb.FilterList([tiledb.ZstdFilter(ctx=ctx)])
    rows = tiledb.Dim(name=ROWS, domain=_DOMAIN, tile=TILE_ROWS, dtype=np.int64, filters=filters, ctx=ctx)
    return tiledb.ArraySchema(
        domain=tiledb.Domain(rows, ctx=ctx),
        attrs=[one.attribute(name) for name, one in types.items()],
        offsets_filters=filters,
        sparse=True,
        allows_duplicates=False,
        ctx=ctx,
    )


def _sign(path: Path, token: Secret) -> None:
    with tiledb.open(str(path), "w", ctx=array.context(MEMORY_BYTES)) as made:
        made.meta[array.VERSION_KEY] = array.VERSION
        made.meta[array.INITIALIZED_KEY] = time.time()
        made.meta[array.TOKEN_KEY] = token.reveal().decode()


def _sync(path: Path) -> None:
    """Make the names durable; of what is in its files TileDB has taken care."""
    for directory in (path, path.parent):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with suppress(OSError):  # some file systems have no fsync of directories
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _rename(made: Path, target: Path) -> None:
    try:
        os.rename(made, target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):  # it has come meanwhile
            raise AlreadyExists(f"{target} is there already: write another name") from None
        raise
