"""The rows of a table, as Arrow batches: what is selected and no more is read, in the order of the rows.

Memory: TileDB's budget (`array.context`), one set of its buffers (`BUFFERS_BYTES` for all columns together), and the
batches that the caller holds. A single value that is larger than its buffer makes the buffers larger, up to
`MOST_BUFFERS_BYTES`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import tiledb

from repofs.errors import InvalidValue
from repofs.table import Selection
from repofs.tables import query
from repofs.tables.array import fragments, opened, told
from repofs.tables.rows import ROWS, Integers, Runs, runs

BUFFERS_BYTES = 64 << 20
MOST_BUFFERS_BYTES = 1 << 30
_BUFFER_BYTES = 8 << 20  # of one column at most: what is larger is no faster
_LEAST_BUFFER_BYTES = 64 << 10
FEW_FRAGMENTS = 500  # TileDB without its merge of tiles has one of each fragment in memory: 80 KB of coordinates
_POINTS = 10_000  # rows that are asked for one by one in one query
_NULLABLE: dict[pa.DataType, Any] = {
    pa.bool_(): pd.BooleanDtype(),
    **{pa.from_numpy_dtype(dtype.type): dtype for dtype in (
        pd.Int8Dtype(), pd.Int16Dtype(), pd.Int32Dtype(), pd.Int64Dtype(),
        pd.UInt8Dtype(), pd.UInt16Dtype(), pd.UInt32Dtype(), pd.UInt64Dtype(),
        pd.Float32Dtype(), pd.Float64Dtype(),
    )},
}  # fmt: skip
_NOTED = "__pandas_attribute_repr"
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
        condition = None if selection.query is None else query.compiled(selection.query, selection.variables, array)
        picked = any(part is not None for part in (selection.rows, selection.start, selection.stop))
        lie = runs(array) if picked or numbered else None
        reader = _Reader(array, ctx, schema.names, condition)
    for table in _tables(reader, selection, lie):
        numbers = lie.numbers(_coordinates(table)) if numbered and lie is not None else None
        yield numbers, _typed(table, schema)


def frame(batch: pa.RecordBatch) -> pd.DataFrame:
    """Return *batch* for pandas: as NumPy has it, but integers and Booleans that may be missing as Int64, boolean and
    so on; texts as objects, None where one is missing, or as `string` if they were so when they were stored."""
    columns = {}
    for field, column in zip(batch.schema, batch.columns, strict=True):
        mapped = pd.StringDtype() if field.metadata else _NULLABLE.get(field.type) if field.nullable else None
        columns[field.name] = column.to_pandas(types_mapper={field.type: mapped}.get)
    return pd.DataFrame(columns, columns=batch.schema.names)


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
    of_pandas = _of_pandas(array)
    return pa.schema([_field(array, name, of_pandas.get(name)) for name in names])


def _of_pandas(array: tiledb.SparseArray) -> dict[str, object]:
    """Return the names of pandas' own types that columns have, as tiledb.from_pandas notes them."""
    try:
        noted = json.loads(array.meta[_NOTED])
    except (KeyError, TypeError, ValueError, RecursionError):  # not made by pandas
        return {}
    return noted if isinstance(noted, dict) else {}


def _field(array: tiledb.SparseArray, name: str, of_pandas: object) -> pa.Field:
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
    noted = {_NOTED: "string"} if of_pandas == "string" and dtype.kind == "U" else None
    return pa.field(name, type_, attribute.isnullable or dtype.kind == "M", noted)


def _tables(reader: _Reader, selection: Selection, lie: Runs | None) -> Iterator[pa.Table]:
    if lie is None:
        yield from reader.range(None, None)
    elif selection.rows is not None:
        numbers = _numbers(selection.rows, lie.count)
        for at in range(0, len(numbers), _POINTS):
            yield reader.points(lie.coordinates(numbers[at : at + _POINTS]))
    else:
        first, stop, _ = slice(selection.start, selection.stop).indices(lie.count)
        if first < stop:
            ends = lie.coordinates(np.array([first, stop - 1]))
            yield from reader.range(int(ends[0]), int(ends[1]))


def _numbers(rows: tuple[int, ...], count: int) -> Integers:
    if rows and not 0 <= min(rows) <= max(rows) < count:
        wrong = next(row for row in rows if not 0 <= row < count)
        raise InvalidValue(f"no row {wrong}: the table has {count} rows, from 0")
    return np.unique(np.array(rows, dtype=np.int64))


class _Reader:
    """Reads the rows of one array, as it was when it was opened, in buffers that fit its columns and values."""

    def __init__(self, array: tiledb.SparseArray, ctx: tiledb.Ctx, names: list[str], condition: str | None) -> None:
        self._uri, self._timestamp = array.uri, array.timestamp_range
        self._settings = ctx.config().dict()
        if len(fragments(array.uri, ctx)) <= FEW_FRAGMENTS:
            # That merge frees memory too early, so that once in some thousand reads the process dies, or its heap is
            # damaged (TileDB 2.30; mended by https://github.com/TileDB-Inc/TileDB/pull/5723).
            self._settings["sm.query.sparse_global_order.preprocess_tile_merge"] = "0"
        self._names, self._condition = names, condition
        self._buffer_bytes = max(_LEAST_BUFFER_BYTES, min(_BUFFER_BYTES, BUFFERS_BYTES // (len(names) + 1)))

    def range(self, first: int | None, last: int | None) -> Iterator[pa.Table]:
        """Yield the rows at the coordinates from *first* to *last*, ascending; None: from, to the end."""
        while True:
            for table, stuck in self._submitted(slice(first, last), "G"):
                if table.num_rows:
                    first = int(_coordinates(table)[-1]) + 1
                    yield table
                elif stuck:
                    break
            else:
                return
            self._enlarge()

    def points(self, coordinates: Integers) -> pa.Table:
        """Return the rows at *coordinates*, ascending."""
        breaks = np.flatnonzero(np.diff(coordinates) != 1) + 1
        asked = [slice(int(part[0]), int(part[-1])) for part in np.split(coordinates, breaks)]
        while True:
            tables = []
            for table, stuck in self._submitted(asked, "U"):
                tables.append(table)
                if stuck and not table.num_rows:
                    break
            else:
                return pa.concat_tables(tables).sort_by(ROWS)
            self._enlarge()

    def _submitted(self, coordinates: slice | list[slice], order: str) -> Iterator[tuple[pa.Table, bool]]:
        """Yield what fits the buffers, and whether more is to come. An empty table of which more is to come would be
        followed by such without end: a value is larger than its buffer."""
        ctx = tiledb.Ctx({**self._settings, "py.init_buffer_bytes": str(self._buffer_bytes)})
        with told(self._uri), tiledb.open(self._uri, ctx=ctx, timestamp=self._timestamp) as array:
            indexer = array.query(
                attrs=self._names, cond=self._condition, return_arrow=True, return_incomplete=True, order=order
            ).df[coordinates]
            for table in indexer:
                yield table, indexer.pyquery is not None and indexer.pyquery.is_incomplete

    def _enlarge(self) -> None:
        self._buffer_bytes *= 8
        if self._buffer_bytes * (len(self._names) + 1) > MOST_BUFFERS_BYTES:
            raise InvalidValue("a value of the table is too large to be read: select other columns")


def _typed(table: pa.Table, schema: pa.Schema) -> pa.RecordBatch:
    columns = [_column(table.column(field.name).combine_chunks(), field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _column(column: Any, type_: pa.DataType) -> pa.Array:
    """Return *column* as what it means: TileDB gives Booleans as bytes, and says by a number that there is no time."""
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_timestamp(type_):
        none = pc.equal(column.view(pa.int64()), _NOT_A_TIME)
        return pc.if_else(none, pa.scalar(None, type_), column)
    return column.cast(type_)


def _coordinates(table: pa.Table) -> Integers:
    return np.asarray(table.column(ROWS).to_numpy(), dtype=np.int64)
