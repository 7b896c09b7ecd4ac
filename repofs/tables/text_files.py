"""CSV and TSV files, whose columns have the types that `pandas.read_csv(file, low_memory=False)` finds in all of them.

One exception: True and False with missing ones among them are pandas' `boolean`, not objects.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pandas as pd
from pandas.api import types as pd_types

from repofs.errors import InvalidValue, NotFound
from repofs.tables.columns import TEXT, Stored
from repofs.tables.frames import Types, Widened, checked_names, rows_of_a_chunk

_EXACT = 2**53  # integers up to this are the same as float64

Facts = frozenset[str]  # of: missing, bool, integer, negative, unsigned (beyond int64), decimal, text


class TextFile:
    """A CSV file, or one with tabs: .tsv, .tab, .txt; with .gz compressed."""

    rows: int | None = None

    def __init__(self, path: Path, chunk_size: int | None) -> None:
        self._path = path
        self._suffix = Path(path.name.lower().removesuffix(".gz")).suffix
        self._separator = "," if self._suffix == ".csv" else "\t"
        self._names = checked_names(self._header(), path.name)
        self._rows_of_a_chunk = rows_of_a_chunk(len(self._names), chunk_size)
        self._facts: dict[str, Facts] = dict.fromkeys(self._names, frozenset())
        self._settled = False

    def types(self) -> Types:
        for chunk in self._parsed({}):
            self._learn(chunk)
            break
        return self._types()

    def settled(self) -> Types:
        for chunk in self._parsed(_texts(self._types())):
            self._learn(chunk)
        self._settled = True
        return self._types()

    def chunks(self, types: Types) -> Iterator[pd.DataFrame]:
        parsed_as: dict[str, type] = _texts(types)
        if self._settled:  # what pandas makes of 9007199254740993 as a decimal is not what it makes of the integer
            parsed_as |= {name: float for name, one in types.items() if one.dtype.kind == "f"}
        for chunk in self._parsed(parsed_as):
            if not self._settled:
                self._learn(chunk)
                if self._types() != types or not all(_exact(chunk[name], one) for name, one in types.items()):
                    raise Widened
            yield chunk

    def _learn(self, chunk: pd.DataFrame) -> None:
        for name in self._names:
            if "text" not in self._facts[name]:
                self._facts[name] |= _facts(chunk[name])

    def _types(self) -> Types:
        return {name: _type(facts) for name, facts in self._facts.items()}

    def _header(self) -> list[str]:
        with self._told(), self._open() as file:
            first = pd.read_csv(
                file, sep=self._separator, header=None, nrows=1, dtype=str, keep_default_na=False, encoding="utf-8"
            )
        names = first.iloc[0].tolist()
        if self._suffix == ".txt" and len(names) < 2:
            raise InvalidValue(f"{self._path.name}: there is no tab in its first line: name it .csv if it has commas")
        return [name or f"Unnamed: {number}" for number, name in enumerate(names)]  # as pandas calls them

    def _parsed(self, parsed_as: dict[str, type]) -> Iterator[pd.DataFrame]:
        with self._told(), self._open() as file:
            chunks = pd.read_csv(
                file, sep=self._separator, dtype=parsed_as, chunksize=self._rows_of_a_chunk, low_memory=False
            )
            for chunk in chunks:
                if list(chunk.columns) != self._names or not isinstance(chunk.index, pd.RangeIndex):
                    raise InvalidValue(f"{self._path.name}: its rows have more fields than its first line has names")
                yield chunk

    def _open(self) -> BinaryIO:
        try:
            file = open(self._path, "rb")  # noqa: SIM115 - whoever asked for it closes it
        except FileNotFoundError:
            raise NotFound(f"{self._path}: there is no such file") from None
        return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if self._path.suffix.lower() == ".gz" else file

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Let what pandas and zlib say of a damaged file be InvalidValue."""
        try:
            yield
        except pd.errors.EmptyDataError:
            raise InvalidValue(f"{self._path.name} is empty: write a line with the names of the columns") from None
        except UnicodeDecodeError:
            raise InvalidValue(f"{self._path.name} is not UTF-8 text: save it with that encoding") from None
        except (ValueError, OverflowError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InvalidValue(f"{self._path.name} cannot be read: {' '.join(str(error).split())[:300]}") from None


def _texts(types: Types) -> dict[str, type]:
    """What is text already is not to be read as numbers first: 01 is not 1."""
    return {name: object for name, one in types.items() if one.dtype == TEXT}


def _facts(column: pd.Series) -> Facts:
    kind = column.dtype.kind
    if kind == "O":
        return frozenset({"bool", "missing"} if pd_types.infer_dtype(column, skipna=True) == "boolean" else {"text"})
    if kind == "f":
        missing = column.isna()
        return frozenset(({"missing"} if missing.any() else set()) | (set() if missing.all() else {"decimal"}))
    if kind == "i":
        return frozenset({"integer", "negative"} if len(column) and column.min() < 0 else {"integer"})
    return frozenset({"unsigned" if kind == "u" else "bool"})


def _type(facts: Facts) -> Stored:
    """Return what pandas makes of a whole column of which *facts* are known."""
    if "text" in facts or ("bool" in facts and facts & {"integer", "unsigned", "decimal"}) or not facts:
        return Stored(TEXT, nullable=True)
    if "bool" in facts:
        missing = "missing" in facts
        return Stored(np.dtype(bool), missing, "boolean" if missing else "bool")
    if "decimal" in facts:
        return Stored(np.dtype(np.float64))
    if "unsigned" in facts:
        return Stored(TEXT, nullable=True) if facts & {"negative", "missing"} else Stored(np.dtype(np.uint64))
    return Stored(np.dtype(np.float64 if "missing" in facts else np.int64))


def _exact(column: pd.Series, stored: Stored) -> bool:
    """Whether integers of *column* are the same as decimals, if they are stored so."""
    if stored.dtype.kind != "f" or column.dtype.kind != "i" or not len(column):
        return True
    return bool(column.abs().max() <= _EXACT)
