"""How a column of pandas lies in an array, and what comes back.

    pandas                                      in the array             comes back as
    int8 … int64, uint8 … uint64, float32/64    the same                 the same
    bool                                        the same                 the same
    datetime64[s], [ms], [us], [ns]             the same                 the same; NaT is kept
    object of str, or str and None or NaN       text, nullable           object of str, None or NaN
    object of bool and None or NaN              bool, nullable           boolean
    Int8 … UInt64, Float32/64, boolean, string  the same, nullable       the same
    …[pyarrow] of these                         the same, nullable       Int8 …, boolean, string, datetime64
    category                                    its values               as its values would

The rest, such as bytes, complex, float16, timedelta64, period, interval, times with a time zone, decimals and lists, is
refused: TileDB does not hold it, or its readers do not read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import tiledb
from pandas.api import types as pd_types

from repofs.errors import InvalidValue

TEXT = np.dtype("U")

_TEXT_INSTEAD = "convert it by .astype(str)"
_INSTEAD = {  # by NumPy's kind, pandas' type or what objects are found to be
    "c": "make two columns of its real and its imaginary part",
    "m": "convert it to seconds by .dt.total_seconds()",
    "f": "convert it by .astype('float32') or .astype('float64')",
    "M": "convert it by .dt.as_unit('ns')",
    "DatetimeTZDtype": "convert it by .dt.tz_convert('UTC').dt.tz_localize(None)",
    "PeriodDtype": "convert it by .dt.to_timestamp()",
    "IntervalDtype": "make two columns of .array.left and .array.right",
    "SparseDtype": "convert it by .sparse.to_dense()",
    **dict.fromkeys(
        ("integer", "floating", "mixed-integer-float", "decimal"), "convert it by pandas.to_numeric"
    ),
    "bytes": "convert it by .str.decode('utf-8')",
    **dict.fromkeys(("datetime", "datetime64", "date"), "convert it by pandas.to_datetime"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stored:
    """How a column lies in an array."""

    dtype: np.dtype[Any]
    nullable: bool = False
    repr: str | None = None  # what pandas is to make of it, as tiledb.from_pandas writes it; None: what NumPy has

    def attribute(self, name: str) -> tiledb.Attr:
        """Return the attribute of the array; compressed by TileDB's own choice, as omero2pandas has it."""
        text = self.dtype == TEXT
        dtype = "<U0" if text else self.dtype
        return tiledb.Attr(name=name, dtype=dtype, var=text, nullable=self.nullable, filters=tiledb.FilterList())


def plain(column: pd.Series) -> pd.Series:
    """Return *column* without what only wraps its type: categories, Arrow's types. Raises InvalidValue."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = _of_categories(column)
    if isinstance(column.dtype, pd.ArrowDtype):
        column = _of_arrow(column)
    return column


def _of_categories(column: pd.Series) -> pd.Series:
    dtype = column.dtype.categories.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iub" and column.isna().any():
        dtype = nullable(dtype)
    return column.astype(dtype)


def nullable(dtype: np.dtype[Any]) -> Any:
    """Return pandas' type that holds what *dtype* does and a missing value."""
    return pd.array(np.zeros(0, dtype=dtype)).dtype  # Int64 for int64, boolean for bool


def _of_arrow(column: pd.Series) -> pd.Series:
    type_ = column.dtype.pyarrow_dtype
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
        column = column.astype(pd.ArrowDtype(type_))
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return column.astype("string")
    if pa.types.is_timestamp(type_) and type_.tz is None:
        return column.astype(f"datetime64[{type_.unit}]")
    if pa.types.is_boolean(type_) or pa.types.is_integer(type_) or pa.types.is_floating(type_):
        dtype = np.dtype(type_.to_pandas_dtype())
        if dtype != np.float16:
            return column.astype(nullable(dtype))
    raise InvalidValue(f"column {column.name!r}: values of the type {column.dtype} cannot be stored: {_TEXT_INSTEAD}")


def stored(column: pd.Series) -> Stored:
    """Return how *column*, which is `plain`, is stored. Raises InvalidValue for one that cannot be."""
    dtype = column.dtype
    if isinstance(dtype, pd.StringDtype):
        return Stored(TEXT, True, "string")
    if isinstance(dtype, pd.api.extensions.ExtensionDtype):
        if not hasattr(dtype, "numpy_dtype") or dtype.numpy_dtype.kind not in "iufb":
            raise _refused(column, type(dtype).__name__, dtype)
        return Stored(dtype.numpy_dtype, True, dtype.name)
    if dtype.kind == "O":
        return _stored_objects(column)
    if dtype.kind == "b":
        return Stored(dtype, repr="bool")
    if dtype.kind in "iu" or dtype in (np.float32, np.float64) or dtype.kind == "M":
        return Stored(dtype)
    raise _refused(column, dtype.kind, dtype)


def _stored_objects(column: pd.Series) -> Stored:
    found = pd_types.infer_dtype(column, skipna=True)
    if found in ("string", "empty"):
        return Stored(TEXT, True)
    if found == "boolean":
        return Stored(np.dtype(bool), True, "boolean")
    raise _refused(column, found, f"object ({found})")


def _refused(column: pd.Series, key: str, what: object) -> InvalidValue:
    return InvalidValue(f"column {column.name!r} of {what} cannot be stored: {_INSTEAD.get(key, _TEXT_INSTEAD)}")
