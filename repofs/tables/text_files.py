"""CSV and TSV files, whose columns have the types that `pandas.read_csv(file, low_memory=False)` finds in all of them.

Two exceptions: True and False with missing ones among them are pandas' `boolean`, not objects; and what is missing
among integers of which some are beyond int64 is missing, not an empty text.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pandas as pd
from pandas.api import types as pd_types

from repofs.errors import InvalidValue, NotFound
from repofs.tables.columns import TEXT, Stored
from repofs.tables.frames import Types, Widened, checked_names, rows_of_a_chunk

_MORE = "\0"  # no name of a column
_EXACT = 2**53  # integers up to this are the same as float64

Facts = frozenset[str]
"""Of missing, bool, integer, negative, unsigned (beyond int64), beyond (any 64 bits, which only decimals hold), decimal
and text."""


class TextFile:
    """A CSV file, or one with tabs: .tsv, .tab, .txt; with .gz compressed."""

    rows: int | None = None

    def __init__(self, path: Path, chunk_size: int | None) -> None:
        self._path = path
        self._suffix = Path(path.name.lower().removesuffix(".gz")).suffix
        self._separator = "," if self._suffix == ".csv" else "\t"
        self._names = checked_names(self._header(), path.name)
        self._blank = self._blank_lines()
        self._rows_of_a_chunk = rows_of_a_chunk(len(self._names), chunk_size)
        self._facts: dict[str, Facts] = dict.fromkeys(self._names, frozenset())
        self._settled = False

    def types(self) -> Types:
        for chunk in self._parsed({}):
            self._learn(chunk)
            break
        return self._types()

    def settled(self) -> Types:
        for chunk in self._parsed(self._texts()):
            self._learn(chunk)
        self._settled = True
        return self._types()

    def chunks(self, types: Types) -> Iterator[pd.DataFrame]:
        as_settled: dict[str, type] = {
            name: object if one.dtype == TEXT else float for name, one in types.items() if one.dtype.kind in "Uf"
        }
        for chunk in self._parsed(as_settled if self._settled else self._texts()):
            if not self._settled:
                self._learn(chunk)
                if self._types() != types or not all(_fits(chunk[name], one) for name, one in types.items()):
                    raise Widened
            yield chunk

    def _texts(self) -> dict[str, type]:
        """What is text already is not to be read as numbers first: 01 is not 1."""
        return {name: object for name, facts in self._facts.items() if "text" in facts}

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

    def _blank_lines(self) -> int:
        """Return how many lines without anything come before the first: pandas counts them when it skips."""
        blank = b" \t\r\n".replace(self._separator.encode(), b"")
        with self._told(), self._open() as file:
            return sum(1 for _ in takewhile(lambda line: not line.strip(blank), file))

    def _parsed(self, parsed_as: dict[str, type]) -> Iterator[pd.DataFrame]:
        """Yield the rows. A column more than there are is asked for: what pandas reads in chunks has the fields
        too many of the first line of each chunk cut off in silence."""
        with self._told(), self._open() as file:
            chunks = pd.read_csv(
                file, sep=self._separator, header=None, skiprows=self._blank + 1, names=[*self._names, _MORE],
                dtype=parsed_as, chunksize=self._rows_of_a_chunk, low_memory=False,
            )  # fmt: skip
            for chunk in chunks:
                if not isinstance(chunk.index, pd.RangeIndex) or chunk.pop(_MORE).notna().any():
                    raise InvalidValue(f"{self._path.name}: a row has more fields than the first line has names")
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


def _facts(column: pd.Series) -> Facts:
    kind = column.dtype.kind
    if kind == "O":
        if pd_types.infer_dtype(column, skipna=True) == "boolean":
            return frozenset({"bool", "missing"})
        return frozenset({"beyond" if _is_numbers(column) else "text"})
    if kind == "f":
        missing = column.isna()
        return frozenset(({"missing"} if missing.any() else set()) | (set() if missing.all() else {"decimal"}))
    if kind == "i":
        return frozenset({"integer", "negative"} if len(column) and column.min() < 0 else {"integer"})
    return frozenset({"unsigned" if kind == "u" else "bool"})


def _is_numbers(column: pd.Series) -> bool:
    """Whether texts are numbers. Those beyond 64 bits are text to pandas, unless decimals are among them."""
    try:
        pd.to_numeric(column.dropna())
    except (ValueError, TypeError):
        return False
    return True


def _type(facts: Facts) -> Stored:
    """Return what pandas makes of a whole column of which *facts* are known."""
    if "text" in facts or ("bool" in facts and facts - {"bool", "missing"}) or not facts:
        return Stored(TEXT, nullable=True)
    if "bool" in facts:
        missing = "missing" in facts
        return Stored(np.dtype(bool), missing, "boolean" if missing else "bool")
    if "decimal" in facts:
        return Stored(np.dtype(np.float64))
    if "beyond" in facts or facts >= {"unsigned", "negative"} or facts >= {"unsigned", "missing"}:
        return Stored(TEXT, nullable=True)
    if "unsigned" in facts:
        return Stored(np.dtype(np.uint64))
    return Stored(np.dtype(np.float64 if "missing" in facts else np.int64))


def _fits(column: pd.Series, stored: Stored) -> bool:
    """Whether *column* as it was read is what it would be if it were read as *stored*."""
    if stored.dtype == TEXT:
        return column.dtype.kind == "O" or bool(column.isna().all())
    if stored.dtype.kind == "f" and column.dtype.kind == "i" and len(column):
        return bool(column.abs().max() <= _EXACT)
    return True
