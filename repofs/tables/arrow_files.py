"""Parquet and Arrow files. Integers and Booleans that are missing somewhere are stored nullable, as Int64 and so on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from repofs.errors import InvalidValue, NotFound
from repofs.tables.columns import TEXT, Stored, nullable
from repofs.tables.frames import Types, Widened, checked_names, rows_of_a_chunk

_UNNAMED_INDEX = "__index_level_"  # how pandas writes an index that has no name; of which nothing is stored


class _File(ABC):
    """What both kinds of files have in common: a schema, and batches."""

    rows: int | None = None

    def __init__(self, path: Path, chunk_size: int | None) -> None:
        self._path = path
        with self._told():
            schema = self._read_schema()
        names = checked_names((name for name in schema.names if not name.startswith(_UNNAMED_INDEX)), path.name)
        self._types = _types(schema, names)
        self._rows_of_a_chunk = rows_of_a_chunk(len(names), chunk_size)

    @abstractmethod
    def _read_schema(self) -> pa.Schema: ...

    @abstractmethod
    def _batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows, at most `_rows_of_a_chunk` at a time."""

    def types(self) -> Types:
        with self._told():
            for batch in self._batches(list(self._types)):
                self._types = _widened(self._types, batch)
                break
        return self._types

    def settled(self) -> Types:
        narrow = [name for name, one in self._types.items() if _widens(one)]
        with self._told():
            for batch in self._batches(narrow):
                self._types = _widened(self._types, batch)
        return self._types

    def chunks(self, types: Types) -> Iterator[pd.DataFrame]:
        with self._told():
            for batch in self._batches(list(types)):
                if _widened(types, batch) != types:
                    raise Widened
                yield pd.DataFrame({name: _series(batch.column(name), one) for name, one in types.items()})

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Let what Arrow says of a damaged file be InvalidValue."""
        try:
            yield
        except FileNotFoundError:
            raise NotFound(f"{self._path}: there is no such file") from None
        except (pa.ArrowException, ValueError) as error:
            raise InvalidValue(f"{self._path.name} cannot be read: {' '.join(str(error).split())[:300]}") from None


class ParquetFile(_File):
    """A Parquet file."""

    def _read_schema(self) -> pa.Schema:
        with pq.ParquetFile(self._path) as file:
            self.rows = file.metadata.num_rows
            return file.schema_arrow

    def _batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(self._path) as file:
            yield from file.iter_batches(self._rows_of_a_chunk, columns=names)


class ArrowFile(_File):
    """A file of Arrow's IPC format, which Feather is too, or a stream of it."""

    def _read_schema(self) -> pa.Schema:
        with pa.OSFile(str(self._path)) as file:
            return self._reader(file).schema

    def _batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        with pa.OSFile(str(self._path)) as file:
            reader = self._reader(file)
            count = getattr(reader, "num_record_batches", None)
            batches = iter(reader) if count is None else map(reader.get_batch, range(count))
            for batch in batches:
                for at in range(0, batch.num_rows, self._rows_of_a_chunk):
                    yield batch.select(names).slice(at, self._rows_of_a_chunk)

    @staticmethod
    def _reader(file: pa.NativeFile) -> Any:
        whole = file.read(6) == b"ARROW1"
        file.seek(0)
        return pa.ipc.open_file(file) if whole else pa.ipc.open_stream(file)


def _types(schema: pa.Schema, names: list[str]) -> Types:
    told = (schema.pandas_metadata or {}).get("columns", [])
    of_pandas = {one.get("field_name"): one.get("numpy_type") for one in told}
    return {name: _stored(schema.field(name), of_pandas.get(name)) for name in names}


def _stored(field: pa.Field, of_pandas: str | None) -> Stored:
    type_ = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return Stored(TEXT, True, "string" if of_pandas == "string" else None)
    if pa.types.is_null(type_):
        return Stored(TEXT, True)
    if pa.types.is_timestamp(type_) and type_.tz is None:
        return Stored(np.dtype(f"M8[{type_.unit}]"))
    if pa.types.is_boolean(type_) or pa.types.is_integer(type_) or type_ in (pa.float32(), pa.float64()):
        dtype = np.dtype(type_.to_pandas_dtype())
        if of_pandas == nullable(dtype).name:
            return Stored(dtype, True, of_pandas)
        return Stored(dtype, repr="bool" if dtype.kind == "b" else None)
    raise InvalidValue(f"column {field.name!r}: values of the type {field.type} cannot be stored: {_instead(type_)}")


def _instead(type_: pa.DataType) -> str:
    if pa.types.is_timestamp(type_):
        return "convert it to UTC without a time zone"
    if pa.types.is_temporal(type_):
        return "convert it to timestamps, or to seconds"
    return (
        "convert it to float64" if pa.types.is_decimal(type_) or pa.types.is_floating(type_) else "convert it to text"
    )


def _widens(one: Stored) -> bool:
    return one.dtype.kind in "iub" and not one.nullable


def _widened(types: Types, batch: pa.RecordBatch) -> Types:
    """Return *types* with those nullable that have something missing in *batch*."""
    missing = {name for name in batch.schema.names if _widens(types[name]) and batch.column(name).null_count}
    return {
        name: Stored(one.dtype, True, nullable(one.dtype).name) if name in missing else one
        for name, one in types.items()
    }


def _series(column: pa.Array, one: Stored) -> pd.Series:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    mapped = nullable(one.dtype) if one.nullable and one.dtype.kind in "iufb" else None
    return column.to_pandas(types_mapper=lambda type_: mapped)
