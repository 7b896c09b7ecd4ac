"""The rows of a table, as Arrow batches: what is selected and no more is read, in the order of the rows.

Memory: TileDB's budget (`array.context`), one set of its buffers (`BUFFERS_BYTES` for all columns together), and the
batches that the caller holds. A single value that is larger than its buffer makes the buffers larger, up to
`MOST_BUFFERS_BYTES`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tiledb

from repofs.errors import InvalidValue
from repofs.table import Selection
from repofs.tables import query
from repofs.tables.array import opened, told
from repofs.tables.rows import ROWS, Integers, Runs, runs

BUFFERS_BYTES = 64 << 20
MOST_BUFFERS_BYTES = 1 << 30
_BUFFER_BYTES = 8 << 20  # of one column at most: what is larger is no faster
_LEAST_BUFFER_BYTES = 64 << 10
_POINTS = 10_000  # rows that are asked for one by one in one query
_NOT_A_TIME = np.iinfo(np.int64).min


def arrow_schema(uri: str, selection: Selection, ctx: tiledb.Ctx) -> pa.Schema:
    """Return the schema of the batches. Raises InvalidValue for a column that is not there."""
    with opened(uri, ctx) as array:
        return _schema(array, selection)


def batches(uri: str, selection: Selection, ctx: tiledb.Ctx) -> Iterator[pa.RecordBatch]:
    """Read the selected rows in their order, those of `selection.rows` each once.

    Raises InvalidValue: a column or row that is not there, a query that cannot be, an array that cannot be read.
    """
    for _, batch in _read(uri, selection, ctx, numbered=False):
        yield batch


def numbered(uri: str, selection: Selection, ctx: tiledb.Ctx) -> Iterator[tuple[Integers, pa.RecordBatch]]:
    """Read as `batches` does, with the number of each row."""
    for numbers, batch in _read(uri, selection, ctx, numbered=True):
        assert numbers is not None
        yield numbers, batch


def _read(
    uri: str, selection: Selection, ctx: tiledb.Ctx, *, numbered: bool
) -> Iterator[tuple[Integers | None, pa.RecordBatch]]:
    checked(selection)
    with opened(uri, ctx) as array:
        schema = _schema(array, selection)
        condition = None
        if selection.query is not None:
            condition = query.compiled(selection.query, selection.variables, array)
        picked = any(part is not None for part in (selection.rows, selection.start, selection.stop))
        lie = runs(array, ctx) if picked or numbered else None
    reader = _Reader(uri, ctx, schema.names, condition)
    for table in _tables(reader, selection, lie):
        numbers = lie.numbers(_coordinates(table)) if numbered and lie is not None else None
        yield numbers, _typed(table, schema)


def checked(selection: Selection) -> None:
    """Refuse, as InvalidValue, what says two things at once, as omero2pandas does."""
    ranged = selection.start is not None or selection.stop is not None
    if selection.rows is not None and (ranged or selection.query is not None):
        raise InvalidValue("rows are picked by their numbers, by a range or by a query: give one of them")


def _schema(array: tiledb.SparseArray, selection: Selection) -> pa.Schema:
    there = [array.schema.attr(number).name for number in range(array.schema.nattr)]
    names = selection.column_names or tuple(there)
    if missing := [name for name in names if name not in there]:
        raise InvalidValue(f"no column {missing[0]!r}: there are {', '.join(there)[:1000]}")
    if len(set(names)) != len(names):
        raise InvalidValue("a column is named twice")
    return pa.schema([_field(array, name) for name in names])


def _field(array: tiledb.SparseArray, name: str) -> pa.Field:
    attribute = array.attr(name)
    dtype = attribute.dtype if attribute.enum_label is None else array.enum(attribute.enum_label).dtype
    if dtype.kind == "U" or attribute.isascii:
        type_ = pa.large_string()
    elif dtype.kind == "S":
        type_ = pa.large_binary()
    elif dtype.kind in "iufbM" and not attribute.isvar:
        type_ = pa.from_numpy_dtype(dtype)
    else:
        raise InvalidValue(f"column {name!r}: values of the type {dtype} are not read: leave it out")
    return pa.field(name, type_, nullable=attribute.isnullable or dtype.kind == "M")


class _Reader:
    """Reads ranges of coordinates of one array, in buffers that fit its columns and values."""

    def __init__(self, uri: str, ctx: tiledb.Ctx, names: list[str], condition: tiledb.QueryCondition | None) -> None:
        self._uri, self._names, self._condition = uri, names, condition
        self._settings = ctx.config().dict()
        self._buffers = max(_LEAST_BUFFER_BYTES, min(_BUFFER_BYTES, BUFFERS_BYTES // (len(names) + 1)))

    def tables(self, coordinates: slice | list[slice], order: str) -> Iterator[pa.Table]:
        """Yield what lies at *coordinates*: ascending, for a slice in the order "G"."""


def _coordinates(table: pa.Table) -> Integers:
    return np.asarray(table.column(ROWS).to_numpy(), dtype=np.int64)
