"""The rows of a table as a file: CSV as pandas writes it, Parquet, or a stream of Arrow's IPC format.

Written batch after batch, so that memory is bounded as `reading` says; CSV is made of `_CSV_ROWS` rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import tiledb

from repofs.table import Form, Selection
from repofs.tables.reading import arrow_schema, batches, frame

_Unit = Literal["D", "s", "ms", "us", "ns"]
_CSV_ROWS = 20_000
_TIME_UNITS: tuple[_Unit, ...] = get_args(_Unit)


def write(uri: str, form: Form, file: BinaryIO, selection: Selection, ctx: tiledb.Ctx) -> None:
    """Write the selected rows of the array at *uri* into *file*, which need not be seekable.

    Raises InvalidValue as `reading.batches` does, and what *file* raises; what was written by then is no whole file.
    """
    schema = arrow_schema(uri, selection, ctx)
    told_to_pandas = pa.Schema.from_pandas(frame(pa.RecordBatch.from_pylist([], schema)), preserve_index=False).metadata
    schema = schema.with_metadata(told_to_pandas)  # by which it reads Int64 as Int64
    _WRITERS[form](uri, schema, file, selection, ctx)


def _write_arrow(uri: str, schema: pa.Schema, file: BinaryIO, selection: Selection, ctx: tiledb.Ctx) -> None:
    """Write nothing before the first batch is read, and the end-of-stream mark only after the last: who asks over HTTPS
    is told what is wrong with a query, and who was cut off sees it."""
    writer = pa.ipc.new_stream(file, schema)  # not by `with`, which writes the mark after an error, too
    for batch in batches(uri, selection, ctx):
        writer.write_batch(batch)
    writer.close()


def _write_parquet(uri: str, schema: pa.Schema, file: BinaryIO, selection: Selection, ctx: tiledb.Ctx) -> None:
    with pq.ParquetWriter(file, schema) as writer:
        for batch in batches(uri, selection, ctx):
            writer.write_batch(batch)


def _write_csv(uri: str, schema: pa.Schema, file: BinaryIO, selection: Selection, ctx: tiledb.Ctx) -> None:
    units = _time_units(uri, schema, selection, ctx)
    header = pd.DataFrame(columns=schema.names).to_csv(index=False)
    file.write(header.encode())
    for batch in batches(uri, selection, ctx):
        for at in range(0, batch.num_rows, _CSV_ROWS):
            rows = frame(batch.slice(at, _CSV_ROWS))
            for name, unit in units.items():
                rows[name] = _times(rows[name], unit)
            file.write(rows.to_csv(index=False, header=False).encode())


def _time_units(uri: str, schema: pa.Schema, selection: Selection, ctx: tiledb.Ctx) -> dict[str, _Unit]:
    """Return the unit that each column of times is written to, the coarsest that tells all its values: pandas chooses
    one for a whole column, so all are looked at before any is written."""
    names = tuple(field.name for field in schema if pa.types.is_timestamp(field.type))
    if not names:
        return {}
    units = dict.fromkeys(names, 0)
    for batch in batches(uri, replace(selection, column_names=names), ctx):
        for name in names:
            times = _values(batch.column(name))
            while _TIME_UNITS[units[name]] != batch.column(name).type.unit and not _tells(times, units[name]):
                units[name] += 1
    return {name: _TIME_UNITS[unit] for name, unit in units.items()}


def _values(column: pa.Array) -> npt.NDArray[np.datetime64]:
    return np.asarray(column.drop_null().to_numpy(zero_copy_only=False))


def _tells(times: npt.NDArray[np.datetime64], unit: int) -> bool:
    return bool((times.astype(f"M8[{_TIME_UNITS[unit]}]") == times).all())


def _times(column: pd.Series, unit: _Unit) -> pd.Series:
    texts = np.char.replace(np.datetime_as_string(column.to_numpy(), unit=unit), "T", " ")
    return pd.Series(texts, dtype=object).where(column.notna().to_numpy(), None)


_Writer = Callable[[str, pa.Schema, BinaryIO, Selection, tiledb.Ctx], None]
_WRITERS: dict[Form, _Writer] = {"csv": _write_csv, "parquet": _write_parquet, "arrow": _write_arrow}
