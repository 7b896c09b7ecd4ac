"""Tables for Python programs: uploaded, read and downloaded, with the arguments of omero2pandas.

A table is named by its path (an array, be it in the mount or not), by the id of its annotation or by an image that it
is the only table of. The last two are asked of the mount, which knows the caller by her uid: there is no password.
Where there is no mount they are asked of *server*, ``https://HOST[:PORT][/PREFIX]``, with the key of a *session*.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from repofs import client_mount
from repofs.client_https import Server
from repofs.errors import AlreadyExists, InvalidValue, NotFound, TokenMissing
from repofs.table import Form, Secret, Selection, checked_name

if TYPE_CHECKING:
    import pandas

MEMORY_BYTES = 4 << 30

Link = tuple[str, int]
Scalar = str | int | float | bool
Progress = Callable[[int, int | None], None]
"""Told how many rows are written, and of how many; None: nobody knows yet."""

_FORMS: Mapping[str, Form] = {
    "": "csv",
    ".csv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
}


def upload_table(
    source: str | os.PathLike[str] | pandas.DataFrame,
    table_name: str,
    parent_id: int | None = None,
    parent_type: str = "Image",
    links: Sequence[Link] | Link | None = None,
    chunk_size: int | None = None,
    local_path: str | os.PathLike[str] | None = None,
    remote_path: str | os.PathLike[str] | None = None,
    *,
    mount: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> int:
    """Make *source* (a DataFrame; a CSV, TSV, Parquet or Arrow file) an array, register it, return its annotation's id.

    *links* are (kind, id) of the objects that it is about, beside the parent. The array is made at *local_path* (a
    directory, or the array itself; left out: the caller's directory in the mount), which the repository sees as
    *remote_path*. *chunk_size* is in rows.

    Raises InvalidValue for what cannot be a table, AlreadyExists, and what registering raises: NotFound, OtherGroup,
    AccessDenied. The array is whole or not there; refused, it stays, unregistered.
    """
    targets = [f"{kind}:{number}" for kind, number in _links(parent_id, parent_type, links)]
    there = client_mount.find(mount)
    path = array_path(local_path if local_path is not None else client_mount.own_directory(there), table_name)
    token = make_array(source, path, chunk_size=chunk_size, progress=progress)
    return client_mount.register(there, remote_uri(remote_path, path), table_name, targets, token)


def make_array(
    source: str | os.PathLike[str] | pandas.DataFrame,
    path: Path,
    *,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Secret:
    """Make *source* an array at *path*, without registering it; return its token. Raises as `upload_table`."""
    from repofs.tables import creating

    token: Secret = creating.create(source, str(path), chunk_size=chunk_size, progress=progress)
    return token


def token_of(uri: str) -> Secret:
    """Return the SecretToken of an array that the caller can read. Raises InvalidValue, AccessDenied, TokenMissing."""
    from repofs.tables import array

    token = array.examine(uri, array.context(MEMORY_BYTES)).token
    if token is None:
        raise TokenMissing(f"{uri} has no SecretToken")
    return token


def array_path(place: str | os.PathLike[str], table_name: str) -> Path:
    """Return where the array of a table is made: *place*, or in it if that is a directory. Dotted names stay whole."""
    path = Path(place).absolute()
    if path.suffix == ".tiledb":
        return path
    return path / f"{checked_name(table_name, 'table')}.tiledb"


def remote_uri(remote_path: str | os.PathLike[str] | None, path: Path) -> str:
    """Return how the repository calls the array at *path*: itself, or *remote_path*, of it or of its directory."""
    if remote_path is None:
        return str(path)
    place = os.fspath(remote_path)
    if place.endswith(".tiledb"):
        return place
    separator = "\\" if "\\" in place and "/" not in place else "/"
    return place.rstrip("/\\") + separator + path.name


def _links(parent_id: int | None, parent_type: str, links: Any) -> list[Link]:
    """Return all links, each once; one pair alone is a link too."""
    pairs = [links] if links and isinstance(links[0], str) else list(links or ())
    if parent_id is not None:
        pairs.append((parent_type, parent_id))
    if not pairs:
        raise InvalidValue("no object is named that the table is about: give parent_id or links")
    return list(dict.fromkeys((kind[:1].upper() + kind[1:], int(number)) for kind, number in pairs))


def read_table(
    path: str | os.PathLike[str] | None = None,
    annotation_id: int | None = None,
    column_names: Iterable[str] = (),
    rows: Iterable[int] | None = None,
    chunk_size: int | None = None,
    query: str | None = None,
    variables: Mapping[str, Scalar] | None = None,
    *,
    image_id: int | None = None,
    mount: str | os.PathLike[str] | None = None,
    server: str | None = None,
    session: str | None = None,
) -> pandas.DataFrame:
    """Return a table, or what is selected of it, as a DataFrame whose index are the numbers of the rows.

    Rows come in the order of the table, those of *rows* in theirs, one that is named twice twice.
    *query* is as PyTables and OMERO have it, ``"(area > 50) & (name == who)"``, its *variables* by name; what it
    leaves out is not read. *rows* and *query* exclude each other. *chunk_size* is taken for omero2pandas' sake: what
    is read at a time is bounded in bytes.

    Raises NotFound, InvalidValue (no table; unknown columns; a query that is none), AccessDenied.
    """
    chosen = selection(column_names, rows, query, variables)
    if server is not None:
        return _read_from(Server(server, session), path, annotation_id, image_id, chosen)
    return _read(locate(path, annotation_id, image_id, mount), chosen)


def _read(uri: str, chosen: Selection) -> pandas.DataFrame:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from repofs.tables import array, reading

    ctx = array.context(MEMORY_BYTES)
    parts = [(numbers, reading.frame(batch)) for numbers, batch in reading.numbered(uri, chosen, ctx)]
    if not parts:
        return reading.frame(pa.RecordBatch.from_pylist([], schema=reading.arrow_schema(uri, chosen, ctx)))
    whole = pd.concat([part for _, part in parts], ignore_index=True)
    whole.index = pd.Index(np.concatenate([numbers for numbers, _ in parts]))
    return whole if chosen.rows is None else whole.loc[list(chosen.rows)]


def _read_from(
    server: Server, path: object, annotation_id: int | None, image_id: int | None, chosen: Selection
) -> pandas.DataFrame:
    """Read over HTTPS. Rows that were picked one by one come as the range that they lie in; the index of what a query
    finds counts from 0, as the numbers of the rows are not told."""
    import pandas as pd
    import pyarrow as pa

    from repofs.tables import reading

    picked = chosen.rows
    if picked is not None:
        chosen = replace(chosen, rows=None, start=min(picked, default=0), stop=max(picked, default=-1) + 1)
    with server.rows(_annotation(server, path, annotation_id, image_id), chosen) as reader:
        parts = [reading.frame(batch) for batch in reader]
        whole = (
            pd.concat(parts, ignore_index=True)
            if parts
            else reading.frame(pa.RecordBatch.from_pylist([], schema=reader.schema))
        )
    whole.index += chosen.start or 0
    return whole if picked is None else whole.loc[list(picked)]


def _annotation(server: Server, path: object, annotation_id: int | None, image_id: int | None) -> int:
    if path is not None or (annotation_id is None) == (image_id is None):
        raise InvalidValue("a server is asked for a table by exactly one of annotation_id and image_id")
    return annotation_id if annotation_id is not None else server.table_of_image(image_id or 0)


def get_table_columns(
    path: str | os.PathLike[str] | None = None,
    annotation_id: int | None = None,
    *,
    image_id: int | None = None,
    mount: str | os.PathLike[str] | None = None,
    server: str | None = None,
    session: str | None = None,
) -> tuple[str, ...]:
    """Return the names of the columns of a table. Raises as `read_table`."""
    if server is not None:
        asked = Server(server, session)
        return asked.columns(_annotation(asked, path, annotation_id, image_id))
    from repofs.tables import array

    with array.opened(locate(path, annotation_id, image_id, mount), array.context(MEMORY_BYTES)) as opened:
        return tuple(column.name for column in array.columns(opened.schema))


def get_table_size(
    path: str | os.PathLike[str] | None = None,
    annotation_id: int | None = None,
    *,
    image_id: int | None = None,
    mount: str | os.PathLike[str] | None = None,
    server: str | None = None,
    session: str | None = None,
) -> tuple[int, int]:
    """Return how many rows and columns a table has. Raises as `read_table`."""
    if server is not None:
        asked = Server(server, session)
        return asked.size(_annotation(asked, path, annotation_id, image_id))
    from repofs.tables import array
    from repofs.tables.rows import count

    with array.opened(locate(path, annotation_id, image_id, mount), array.context(MEMORY_BYTES)) as opened:
        return count(opened), opened.schema.nattr


def download_table(
    target_path: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    annotation_id: int | None = None,
    column_names: Iterable[str] = (),
    rows: Iterable[int] | None = None,
    chunk_size: int | None = None,
    query: str | None = None,
    variables: Mapping[str, Scalar] | None = None,
    *,
    image_id: int | None = None,
    mount: str | os.PathLike[str] | None = None,
) -> None:
    """Write a table, or what is selected of it, to *target_path*: CSV, by its suffix Parquet or a stream of Arrow.

    The file appears when it is whole, and replaces none. Raises as `read_table`, AlreadyExists, InvalidValue for
    another suffix.
    """
    from repofs.tables import array, exporting

    target = Path(target_path).absolute()
    form = _FORMS.get(target.suffix.lower())
    if form is None:
        raise InvalidValue(f"{target}: tables are written as {' '.join(filter(None, _FORMS))}, by the suffix")
    if os.path.lexists(target):  # before all is read, and once more when it appears
        raise AlreadyExists(f"{target} exists: write another name")
    chosen = selection(column_names, rows, query, variables)
    uri = locate(path, annotation_id, image_id, mount)
    with _appearing(target) as file:
        exporting.write(uri, form, file, chosen, array.context(MEMORY_BYTES))


@contextmanager
def _appearing(target: Path) -> Iterator[BinaryIO]:
    """Yield a file that becomes *target* when it is whole, and replaces none (AlreadyExists)."""
    descriptor, hidden = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(descriptor, "wb") as file:
            yield file
            os.fchmod(file.fileno(), 0o666 & ~_umask())
        try:
            os.link(hidden, target)
        except FileExistsError:
            raise AlreadyExists(f"{target} exists: write another name") from None
    finally:
        os.unlink(hidden)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def locate(
    path: str | os.PathLike[str] | None,
    annotation_id: int | None,
    image_id: int | None,
    mount: str | os.PathLike[str] | None,
) -> str:
    """Return the path or URI of the array that one of the three names.

    Raises NotFound, InvalidValue for none or several.
    """
    given = [one for one in (path, annotation_id, image_id) if one is not None]
    if len(given) != 1:
        raise InvalidValue("name the table by exactly one of path, annotation_id and image_id")
    if path is not None:
        uri = os.fspath(path)
        if "://" not in uri and not os.path.lexists(uri):
            raise NotFound(f"{uri}: there is no such array")
        return uri
    there = client_mount.find(mount)
    if annotation_id is not None:
        return str(client_mount.table_path(there, int(annotation_id)))
    assert image_id is not None
    return str(client_mount.table_path_of_image(there, int(image_id)))


def selection(
    column_names: Iterable[str],
    rows: Iterable[int] | None,
    query: str | None,
    variables: Mapping[str, Scalar] | None,
) -> Selection:
    """Return what is to be read. Raises InvalidValue for rows and a query together."""
    if rows is not None and query is not None:
        raise InvalidValue("a query chooses rows itself: give rows or query")
    names = tuple(column_names)
    if isinstance(rows, range) and rows.step == 1 and rows.start >= 0:
        return Selection(names, start=rows.start, stop=max(rows.start, rows.stop))
    numbers = None if rows is None else tuple(int(row) for row in rows)
    return Selection(names, rows=numbers, query=query, variables=dict(variables or {}))
