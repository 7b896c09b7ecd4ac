"""What tables are made of: data frames, and files of CSV, TSV, Parquet and Arrow (Feather), read chunk by chunk.

The types of a file's columns are those of its first chunk until a later one has what they do not hold, such as a
decimal in a column of integers. Then the file is read to its end for its types, and once more for its rows.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import pandas as pd

from repofs.errors import InvalidValue
from repofs.tables.columns import Stored, plain, stored

CHUNK_VALUES = 2_000_000
CHUNK_ROWS = (10_000, 200_000)  # least and most: a fragment of the array for each chunk, which all are opened at once
MOST_COLUMNS = 10_000

Types = dict[str, Stored]


class Widened(Exception):
    """A chunk has what the types that were believed do not hold."""


class Source(Protocol):
    """Rows of columns that have names and types."""

    rows: int | None  # None: not known before the end

    def types(self) -> Types:
        """Return the columns in their order, with types that hold at least the first chunk. Raises InvalidValue."""

    def chunks(self, types: Types) -> Iterator[pd.DataFrame]:
        """Yield the rows, from the first. Raises Widened before a chunk that does not fit *types*, InvalidValue."""

    def settled(self) -> Types:
        """Return the types that hold every chunk. Raises InvalidValue."""


def opened(source: pd.DataFrame | str | os.PathLike[str], chunk_size: int | None = None) -> Source:
    """Return *source*, which is a data frame or the path of a file, to be read *chunk_size* rows at a time.

    Raises InvalidValue for a file whose name ends with none of the known suffixes, and for columns that cannot be.
    """
    from repofs.tables import arrow_files, text_files

    if isinstance(source, pd.DataFrame):
        return Frame(source, chunk_size)
    path = Path(source)
    name = path.name.lower()
    if name.removesuffix(".gz").endswith((".csv", ".tsv", ".tab", ".txt")):
        return text_files.TextFile(path, chunk_size)
    if name.endswith((".parquet", ".pq")):
        return arrow_files.ParquetFile(path, chunk_size)
    if name.endswith((".arrow", ".feather", ".ipc", ".arrows")):
        return arrow_files.ArrowFile(path, chunk_size)
    raise InvalidValue(f"{path.name}: tables are made of .csv .tsv .tab .txt (also with .gz) .parquet .arrow .feather")


def rows_of_a_chunk(columns: int, asked: int | None) -> int:
    """Return how many rows a chunk has. Raises InvalidValue if less than one is *asked* for."""
    if asked is None:
        least, most = CHUNK_ROWS
        return max(least, min(most, CHUNK_VALUES // max(1, columns)))
    if asked < 1:
        raise InvalidValue(f"chunk_size={asked}: write a number of rows from 1")
    return asked


def checked_names(names: Iterable[str], where: str) -> list[str]:
    """Return the *names* of columns. Raises InvalidValue for those that an array cannot have."""
    found = list(names)
    if not found:
        raise InvalidValue(f"{where} has no columns")
    if len(found) > MOST_COLUMNS:
        raise InvalidValue(f"{where} has {len(found)} columns: {MOST_COLUMNS} are allowed")
    twice = [name for name, times in Counter(found).items() if times > 1]
    if twice:
        raise InvalidValue(f"{where}: the column {twice[0]!r} is there twice: give each a name of its own")
    for name in found:
        if not name or name.startswith("__") or "\0" in name or not _is_text(name):
            raise InvalidValue(f"{where}: {name!r} cannot be a column: write a name that does not start with __")
    return found


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


class Frame:
    """A data frame; of its index nothing is stored, as with ``to_csv(index=False)``."""

    def __init__(self, frame: pd.DataFrame, chunk_size: int | None) -> None:
        if frame.columns.nlevels > 1:
            raise InvalidValue("the data frame has columns of several levels: give each one name")
        if any(name is not None for name in frame.index.names):
            raise InvalidValue(f"the index {list(frame.index.names)} is not stored: make it columns by .reset_index()")
        names = checked_names(map(str, frame.columns), "the data frame")
        self._columns = {name: plain(frame.iloc[:, number].rename(name)) for number, name in enumerate(names)}
        self.rows: int | None = len(frame)
        self._rows_of_a_chunk = rows_of_a_chunk(len(names), chunk_size)

    def types(self) -> Types:
        return {name: stored(column) for name, column in self._columns.items()}

    settled = types

    def chunks(self, types: Types) -> Iterator[pd.DataFrame]:
        for at in range(0, self.rows or 0, self._rows_of_a_chunk):
            yield pd.DataFrame({name: one.iloc[at : at + self._rows_of_a_chunk] for name, one in self._columns.items()})
