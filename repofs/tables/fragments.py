"""A chunk of rows, written into an array as one fragment of it.

TileDB's own ``array[…] = values`` makes texts that may be missing as wide as the widest: a text of a megabyte among
200,000 rows would ask for 800 GB, and zero bytes at the end of a text are lost. So the query is made here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import tiledb
from tiledb import libtiledb

from repofs.errors import InvalidValue
from repofs.tables.columns import TEXT, Stored
from repofs.tables.frames import Types
from repofs.tables.rows import ROWS

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Buffers:
    """What TileDB writes of a column."""

    data: Array  # of texts their UTF-8, one after another
    offsets: npt.NDArray[np.uint64] | None = None  # of texts: where in *data* each begins, in bytes
    validity: npt.NDArray[np.uint8] | None = None  # of what may be missing: 1 where there is a value, 0 where not


def append(array: tiledb.SparseArray, chunk: pd.DataFrame, types: Types, first: int) -> None:
    """Write *chunk*, at least one row, from the coordinate *first*. Raises InvalidValue if it does not fit *types*."""
    columns = {name: _checked(name, chunk[name], one) for name, one in types.items()}
    columns[ROWS] = _Buffers(np.arange(first, first + len(chunk), dtype=np.int64))
    query = libtiledb.Query(libtiledb.Context(array.ctx), array.array, libtiledb.QueryType.WRITE)
    query.layout = libtiledb.LayoutType.UNORDERED
    for name, buffers in columns.items():
        query.set_data_buffer(name, buffers.data, np.uint64(len(buffers.data)))
        if buffers.offsets is not None:
            query.set_offsets_buffer(name, buffers.offsets, len(buffers.offsets))
        if buffers.validity is not None:
            query.set_validity_buffer(name, buffers.validity, len(buffers.validity))
    query._submit()
    query.finalize()


def _checked(name: str, column: pd.Series, stored: Stored) -> _Buffers:
    try:
        return _text(column) if stored.dtype == TEXT else _values(column, stored)
    except UnicodeEncodeError:
        raise InvalidValue(f"column {name!r} has half of a surrogate pair, which is not Unicode: replace it") from None
    except (ValueError, TypeError, pa.ArrowException):
        raise InvalidValue(f"column {name!r} has values of several types: convert it by .astype(str)") from None


def _text(column: pd.Series) -> _Buffers:
    texts = pa.array(column.to_numpy(dtype=object), type=pa.large_string(), from_pandas=True)
    _, offsets, data = texts.buffers()
    starts = np.frombuffer(offsets, dtype=np.uint64, count=len(texts))
    utf8 = np.frombuffer(data, dtype=np.uint8) if data is not None else np.zeros(0, dtype=np.uint8)
    end = int(np.frombuffer(offsets, dtype=np.uint64, count=len(texts) + 1)[-1])
    return _Buffers(utf8[:end], starts, texts.is_valid().to_numpy(zero_copy_only=False).astype(np.uint8))


def _values(column: pd.Series, stored: Stored) -> _Buffers:
    if not stored.nullable:
        return _Buffers(np.ascontiguousarray(column.to_numpy(dtype=stored.dtype)))
    missing = column.isna().to_numpy()
    nothing = stored.dtype.type()
    if isinstance(column.dtype, np.dtype):  # objects: True, False and None
        data = np.where(missing, nothing, column.to_numpy()).astype(stored.dtype)
    else:
        data = column.to_numpy(dtype=stored.dtype, na_value=nothing)
    return _Buffers(np.ascontiguousarray(data), validity=(~missing).astype(np.uint8))
